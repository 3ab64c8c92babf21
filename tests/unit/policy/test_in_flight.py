"""A rule that comes while something is under way: fetches stop, answers are cut, announcements are withdrawn."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trio

from node.bitswap.tree_fetch import check_policy
from node.core.peers import key_of as node_of
from node.membership import membership
from node.policy.model import CidPath, NamePath, Rule, Target
from node.replication.gate import Refused
from node.replication.lookup import dht_key
from protocol import ipns
from protocol.cid import RAW, Cid
from protocol.site_id import SiteId
from tests.unit.gateway.nodes import Node, new_key, running_node
from tests.unit.gateway.sites import Built, build, sign
from tests.unit.gateway.test_server import is_reset
from tests.unit.gateway.test_trees import keep
from tests.unit.membership.kit import members
from tests.unit.replication.kit import DEADLINE_S, TreeSite, connect, ring, until
from tests.unit.replication.test_replication import FILES, served_wants

MIB = 1024 * 1024


def rule(target: Target, verdict: str = "quarantine") -> Rule:
    return Rule(target, "refuse" if verdict == "refuse" else "quarantine", "policy", "no", 1)


def on(cid: Cid) -> CidPath:
    return CidPath(cid.multihash, "", False)


def root_of(site: TreeSite) -> Cid:
    root = site.signed.release.root
    assert root is not None
    return root


@pytest.mark.parametrize(
    "made",
    [
        lambda site: rule(site.signed.site),
        lambda site: rule(on(root_of(site))),
    ],
    ids=["site", "root"],
)
async def test_a_fetch_stops(made: Callable[[TreeSite], Rule]) -> None:
    site = TreeSite(FILES)
    async with ring(2) as (_, nodes):
        wanted = served_wants(nodes[0], site, stall_after=3)
        await connect(nodes[1], nodes[0])
        await until(lambda: len(wanted) == 3)
        nodes[1].set_rules(made(site))
        served_wants(nodes[0], site)
        await until(lambda: not nodes[1].replicator.fetching())
        assert not nodes[1].holds(site)


async def test_a_refused_block_does_not_come_in_because_it_is_here() -> None:
    """It is kept for a site that is refused now; another site that has it is not taken."""
    mine, theirs = TreeSite({"a.txt": b"shared", "b.txt": b"b"}), TreeSite({"a.txt": b"shared", "c.txt": b"c"})
    async with ring(2) as (_, nodes):
        nodes[1].host(mine)
        nodes[1].set_rules(rule(on(Cid.of(RAW, b"shared")), "refuse"))
        nodes[0].host(theirs)
        wanted = served_wants(nodes[0], theirs)
        await connect(nodes[1], nodes[0])
        await until(lambda: bool(wanted))
        await until(lambda: not nodes[1].replicator.fetching())
        assert not nodes[1].holds(theirs)


async def test_the_dht_does_not_tell_what_was_announced_before() -> None:
    site = TreeSite({"index.html": b"hello"})
    async with ring(2) as (_, nodes):
        await connect(nodes[0], nodes[1])
        nodes[0].host(site)
        keys = (dht_key(site.signed.site), root_of(site).multihash)

        async def told() -> int:
            return sum([await nodes[1].network.count_provided(key, deadline_s=DEADLINE_S) for key in keys])

        for key in keys:
            assert await nodes[1].network.provide(key) == 1
        assert await told() == 2
        nodes[0].set_rules(rule(site.signed.site))
        assert await told() == 0
        nodes[0].set_rules()
        assert await told() == 2


async def test_a_node_does_not_state_that_it_hosts_what_it_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(membership, "RESTATE_S", 0.05)
    monkeypatch.setattr(membership, "SPREAD_EVERY_S", 0.05)
    site = TreeSite({"index.html": b"hello"})
    async with members(2, tmp_path) as nodes:
        nodes[0].host(site)
        await connect(nodes[0], nodes[1])
        me = node_of(nodes[0].network.local_peer)
        assert me is not None

        def stated() -> int:
            known = nodes[1].replicator.context.core.keeping.members.get(me)
            return known.signed.statement.sites if known is not None else -1

        await until(lambda: stated() == 1)
        nodes[0].set_rules(rule(site.signed.site))
        await until(lambda: stated() == 0)


async def test_a_tree_under_a_quarantined_root_is_not_fetched() -> None:
    root, block = Cid.of(RAW, b"root"), Cid.of(RAW, b"block")
    async with ring(1) as (_, (node,)):
        context = node.replicator.context
        check_policy(context, root, [root, block])
        node.set_rules(rule(on(block)))
        check_policy(context, root, [root, block])  # a single block is kept, and given to nobody
        node.set_rules(rule(on(root)))
        with pytest.raises(Refused):
            check_policy(context, root, [block])


# --- readers -----------------------------------------------------------------------------------------------

DOMAIN = "blog.example.org"


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with running_node(tmp_path) as running:
        yield running


@pytest.mark.parametrize(
    "target",
    [
        lambda site, built: site,
        lambda site, built: on(built.root),
        lambda site, built: NamePath(DOMAIN, "", False),
        lambda site, built: CidPath(built.root.multihash, "big.bin", False),
        lambda site, built: CidPath(built.root.multihash, "b", True),
        lambda site, built: NamePath(site, "big.bin", False),
        lambda site, built: on(built.cids["big.bin"]),
    ],
    ids=["site", "root", "domain", "path", "prefix", "path in a site", "file"],
)
async def test_an_answer_is_cut(node: Node, target: Callable[[SiteId, Built], Target]) -> None:
    content = b"".join(bytes([n]) * MIB for n in range(16))
    site, built = node.publish(new_key(), {"big.bin": content}, domains=(DOMAIN,))
    client = await node.connect()
    with client.sock:
        await client.send(f"GET /big.bin HTTP/1.1\r\nHost: {node.origin(site)}\r\n\r\n".encode())
        assert await client.sock.recv(1, socket.MSG_PEEK)
        await node.app.apply_new_rules()
        node.block(target(site, built))
        await node.app.apply_new_rules()
        with trio.fail_after(10):
            assert await is_reset(client)
    assert (await node.get(site, "/big.bin")).status == 410


async def test_a_rule_on_a_domain_of_a_site_that_is_hosted_elsewhere(node: Node) -> None:
    built = build({"index.html": b"home"})
    signed = sign(new_key(), built, domains=(DOMAIN,))
    node.backend.heads[signed.site] = signed
    node.backend.blocks.update(built.blocks)
    assert (await node.get(signed.site, "/")).status == 200
    node.block(NamePath(DOMAIN, "", False))
    assert (await node.get(signed.site, "/")).status == 410


@pytest.mark.parametrize("path", ["docs/index.html", "docs/"])
async def test_a_rule_below_a_name_of_somebody_else(node: Node, path: str) -> None:
    built = build({"docs": {"index.html": b"docs"}})
    keep(node, built)
    key = new_key()
    record = ipns.create(
        key, value=f"/ipfs/{built.root}".encode(), sequence=1, validity_s=int(time.time()) + 600, ttl_s=60
    )
    node.store.save_name(SiteId.of(key).cid.multihash, record, kept=True)
    host = f"{SiteId.of(key)}.ipns.localhost:1"
    assert (await node.ask("GET", host, f"/{path}")).body == b"docs"
    node.block(NamePath(SiteId.of(key), "docs/index.html", False))
    assert (await node.ask("GET", host, f"/{path}")).status == 410


async def test_a_site_with_a_refused_root_is_not_on_the_front_page(tmp_path: Path) -> None:
    async with running_node(tmp_path, list_sites=True) as node:
        site, built = node.publish(new_key(), {"index.html": b"home"})
        assert str(site) in (await node.ask("GET", "127.0.0.1", "/")).text
        node.block(built.root)
        assert str(site) not in (await node.ask("GET", "127.0.0.1", "/")).text
