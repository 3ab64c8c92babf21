"""Members hear of each other over others, prove what they hold, and take what lacks hosts."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest

from node.core import effects as fx
from node.core.peers import peer_of
from node.membership import membership, saved
from node.membership.audits import Auditor, draw_blocks
from node.membership.care import Care
from node.net.channel import FrameChannel
from node.net.port import Stream
from node.policy.model import Rule
from node.replication import neighbours
from node.store.memory import MemoryStore
from protocol.audit import PROOF_BYTES
from protocol.cid import Cid
from protocol.member_messages import AUDIT_PROTOCOL, Challenge, Proofs
from protocol.site_filter import SiteFilter
from protocol.statement import Statement, Takes, sign_statement
from tests.unit.membership.kit import key_of, members, node_id
from tests.unit.replication.kit import DEADLINE_S, MemoryNode, TreeSite, connect, put, until


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds that take seconds."""
    monkeypatch.setattr(membership, "SPREAD_EVERY_S", 0.05)
    monkeypatch.setattr(neighbours, "ROUND_S", 0.1)


def knows(node: MemoryNode, number: int) -> bool:
    return node.replicator.context.core.keeping.members.get(node_id(number)) is not None


async def test_members_hear_of_those_they_are_not_connected_with(tmp_path: Path) -> None:
    async with members(4, tmp_path) as nodes:
        for one, other in itertools.pairwise(nodes):
            await connect(one, other)
        await until(lambda: all(knows(node, number) for node in nodes for number in range(4)))
        assert nodes[0].network.known_addresses(peer_of(node_id(3)))


async def test_who_holds_a_site_proves_it_and_who_lost_it_does_not(tmp_path: Path) -> None:
    site = TreeSite({"index.html": b"hello" * 1000, "a.txt": b"a"})
    async with members(2, tmp_path) as nodes:
        nodes[0].host(site)
        await connect(nodes[0], nodes[1])
        await until(lambda: nodes[1].holds(site))
        auditor = Auditor(nodes[0].replicator.context, node_id(0))
        peer = peer_of(node_id(1))
        assert await auditor.audit(peer, [site.signed.site]) == {site.signed.site: "proved"}
        nodes[1].store.drop_site(site.signed.site)
        assert await auditor.audit(peer, [site.signed.site]) == {site.signed.site: "lacking"}


async def test_to_be_audited_is_a_sign_of_life_of_the_auditor(tmp_path: Path) -> None:
    site = TreeSite({"index.html": b"hello"})
    async with members(2, tmp_path) as nodes:
        nodes[0].host(site)
        await connect(nodes[0], nodes[1])
        await until(lambda: nodes[1].holds(site) and knows(nodes[1], 0))
        core = nodes[1].replicator.context.core
        core.keeping.copies.unreached(0.0, node_id(0))
        assert core.is_silent(peer_of(node_id(0)))
        await Auditor(nodes[0].replicator.context, node_id(0)).audit(peer_of(node_id(1)), [site.signed.site])
        assert not core.is_silent(peer_of(node_id(0)))


async def test_what_policy_gives_to_nobody_is_not_proved(tmp_path: Path) -> None:
    site = TreeSite({"index.html": b"hello"})
    async with members(2, tmp_path) as nodes:
        nodes[0].host(site)
        await connect(nodes[0], nodes[1])
        await until(lambda: nodes[1].holds(site))
        nodes[1].set_rules(Rule(site.signed.site, "quarantine", "policy", "no", 1))
        auditor = Auditor(nodes[0].replicator.context, node_id(0))
        assert await auditor.audit(peer_of(node_id(1)), [site.signed.site]) == {site.signed.site: "lacking"}


async def test_who_has_only_a_filter_that_errs_is_no_liar_and_who_makes_proofs_up_is(tmp_path: Path) -> None:
    site = TreeSite({"index.html": b"hello"})
    async with members(2, tmp_path) as nodes:
        await connect(nodes[0], nodes[1])
        await until(lambda: knows(nodes[0], 1))
        nodes[1].set_rules(Rule(site.signed.site, "refuse", "policy", "no", 1))
        nodes[0].host(site)
        faults, peer = nodes[0].replicator.context.standing.faults, peer_of(node_id(1))
        care = nodes[0].replicator.care
        assert care is not None
        audit = fx.Audit(node_id(1), (site.signed.site,))
        await care.carry_out(audit)
        assert faults(peer) == {}
        nodes[1].network.serve(AUDIT_PROTOCOL, make_proofs_up)
        await care.carry_out(audit)
        assert faults(peer) == {"audit-failed": 1}


async def make_proofs_up(stream: Stream) -> None:
    async with FrameChannel(stream, idle_s=DEADLINE_S, write_s=DEADLINE_S) as channel:
        while isinstance(challenge := await channel.receive(), Challenge):
            await channel.send(Proofs(tuple(bytes(PROOF_BYTES) for _ in challenge.cids)))


async def test_a_clock_that_turns_out_wrong_is_put_right_in_the_statement_too(tmp_path: Path) -> None:
    """Or nobody would take this node's statements for a day."""
    async with members(1, tmp_path) as nodes:
        care, keeping = nodes[0].replicator.care, nodes[0].replicator.context.core.keeping
        assert isinstance(care, Care)
        membership = care._membership
        yesterday_s = time.time() - 24 * 3600
        assert not membership._misdated()
        for number in range(1, 4):
            keeping.clock.heard(node_id(number), time.time(), yesterday_s)
        assert membership._misdated()
        signed = membership._restate()
        assert abs(signed.made_s - yesterday_s) < 60
        assert not membership._misdated()
        known = keeping.members.get(node_id(0))
        assert known is not None
        assert known.signed == signed


async def test_a_member_that_is_asked_takes_the_site(tmp_path: Path) -> None:
    site = TreeSite({"index.html": b"hello"})
    async with members(2, tmp_path) as nodes:
        await connect(nodes[0], nodes[1])
        await until(lambda: knows(nodes[0], 1))
        nodes[0].host(site)
        nodes[0].replicator._carry_out(fx.AskToHost(site.signed.site, node_id(1)))
        await until(lambda: nodes[1].holds(site))
        keeping = nodes[0].replicator.context.core.keeping
        nodes[0].replicator._carry_out(fx.AskToHost(site.signed.site, node_id(1)))
        await until(lambda: keeping.copies.counted(0.0, site.signed.site) == [node_id(1)])


async def test_who_has_no_room_does_not_take_a_site_and_who_is_asked_counts_only_when_it_has_it(tmp_path: Path) -> None:
    site = TreeSite({"index.html": b"hello"})
    async with members(2, tmp_path) as nodes:
        await connect(nodes[0], nodes[1])
        await until(lambda: knows(nodes[0], 1))
        mine, theirs = (node.replicator.context.core.keeping for node in nodes)
        theirs.room_bytes = 4
        nodes[0].host(site)
        assert not theirs.should_take(0.0, site.signed, wanted=True)
        mine.answered(0.0, site.signed.site, node_id(1), "took")
        assert mine.copies.counted(0.0, site.signed.site) == []
        mine.answered(0.0, site.signed.site, node_id(1), "has")
        assert mine.copies.counted(0.0, site.signed.site) == [node_id(1)]


async def test_a_site_that_is_let_go_leaves_its_head(tmp_path: Path) -> None:
    site = TreeSite({"index.html": b"hello"})
    async with members(1, tmp_path) as nodes:
        nodes[0].host(site)
        nodes[0].replicator._carry_out(fx.LetGo(site.signed.site))
        await until(lambda: not nodes[0].holds(site))
        record = nodes[0].store.site(site.signed.site)
        assert record is not None
        assert record.head == site.signed


def test_blocks_are_drawn_from_the_whole_tree() -> None:
    store = MemoryStore(quota_bytes=10**9, cache_bytes=10**8)
    site = TreeSite({f"{number}.txt": b"%d" % number * 100 for number in range(20)})
    put(store, site)
    drawn: set[Cid] = set()
    for _ in range(300):
        found = draw_blocks(store, site.signed.site, 2)
        assert all(store.get_block(cid) == block for cid, block in found.items())
        drawn |= set(found)
    assert drawn == set(site.blocks)


def test_known_members_survive_a_restart_and_a_damaged_file_costs_its_end(tmp_path: Path) -> None:
    statements = [
        sign_statement(Statement(node_id(number), 7, (), Takes.OPEN, 1, 0, SiteFilter()), key_of(number))
        for number in range(3)
    ]
    file = tmp_path / "members"
    assert saved.load(file) == []
    saved.save(file, statements)
    assert saved.load(file) == statements
    file.write_bytes(file.read_bytes()[:-1])
    assert saved.load(file) == statements[:2]
    file.write_bytes(b"\xff" * 100)
    assert saved.load(file) == []


async def test_members_are_dialled_that_nobody_introduced(tmp_path: Path) -> None:
    async with members(3, tmp_path) as nodes:
        await connect(nodes[0], nodes[1])
        await connect(nodes[1], nodes[2])
        await until(lambda: knows(nodes[0], 2))
        await until(lambda: any(info.peer == peer_of(node_id(2)) for info in nodes[0].network.peers()))
