"""One fetch from several hosts at once: who is fast sends most, who is bad is dropped, and what came counts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from node.net.peer_ids import peer_id_of_seed
from node.replication import drawing, driver, slots, sources
from protocol.cid import Cid
from tests.unit.replication.hosts import Host
from tests.unit.replication.kit import MemoryNode, TreeSite, connect, ring, until

FILES = {f"{number}.bin": b"%d " % number * 500 for number in range(90)}


@pytest.fixture
def site() -> TreeSite:
    return TreeSite(FILES)


@asynccontextmanager
async def fetching_from(*hosts: Host) -> AsyncIterator[MemoryNode]:
    """A node that has begun to fetch from the first host and then got to know the others."""
    async with ring(len(hosts) + 1) as (_, (reader, *nodes)):
        for host, node in zip(hosts, nodes, strict=True):
            host.on(node)
            await connect(reader, node)
            await until(lambda host=host, node=node: knows(reader, host, node))  # type: ignore[misc]
        yield reader


def knows(reader: MemoryNode, host: Host, node: MemoryNode) -> bool:
    if reader.holds(host.site):
        return True
    state = reader.replicator.context.core.state_of(host.site.signed.site)
    return state is not None and node.network.local_peer in state.sources


def leaves(site: TreeSite) -> list[Cid]:
    return [cid for cid in site.blocks if cid != site.signed.release.root]


def faults(reader: MemoryNode, number: int) -> dict[str, int]:
    """Of the host of this number."""
    return reader.replicator.context.standing.faults(peer_id_of_seed(bytes([number + 2]) * 32))


async def test_equal_hosts_share_the_work(site: TreeSite) -> None:
    go = trio.Event()
    hosts = [Host(site, pace_s=0.02, may_send=go) for _ in range(3)]
    async with fetching_from(*hosts) as reader:
        await until(lambda: all(host.opened for host in hosts))
        go.set()
        await until(lambda: reader.holds(site))
    sent = [len(host.sent) for host in hosts]
    assert min(sent) > len(site.blocks) / 6
    assert sum(sent) < 1.3 * len(site.blocks)


async def test_the_faster_a_host_the_more_it_sends(site: TreeSite) -> None:
    go = trio.Event()
    slow, fast = Host(site, pace_s=0.2, may_send=go), Host(site, pace_s=0.005, may_send=go)
    async with fetching_from(slow, fast) as reader:
        await until(lambda: bool(slow.opened and fast.opened))
        go.set()
        await until(lambda: reader.holds(site))  # the slow one alone would take longer than this waits
    assert len(slow.sent) < len(fast.sent) / 4


async def test_a_small_site_is_not_sent_by_all() -> None:
    site = TreeSite({"index.html": b"home"})
    hosts = [Host(site) for _ in range(3)]
    async with fetching_from(*hosts) as reader:
        await until(lambda: reader.holds(site))
    assert sum(len(host.sent) for host in hosts) < 2 * len(site.blocks)


async def test_wrong_blocks_cost_their_sender_its_part_and_nothing_else(site: TreeSite) -> None:
    liar = Host(site, pace_s=0.005, wrong=frozenset(leaves(site)[10::3]))
    honest = Host(site, pace_s=0.005)
    async with fetching_from(liar, honest) as reader:
        await until(lambda: reader.holds(site))
        assert faults(reader, 0) == {"hash-mismatch": 1}
        assert not faults(reader, 1)
        assert all(reader.store.get_block(cid) == block for cid, block in site.blocks.items())


async def test_a_host_that_lies_about_the_tree_is_dropped_at_once(site: TreeSite) -> None:
    go = trio.Event()
    liar = Host(site, pace_s=0.05, wrong=frozenset(site.blocks))
    async with fetching_from(liar, Host(site, may_send=go)) as reader:
        await until(lambda: faults(reader, 0) == {"hash-mismatch": 1})
        go.set()
        await until(lambda: reader.holds(site))
    assert len(liar.sent) == 1


async def test_a_host_that_stalls_holds_up_nothing(site: TreeSite) -> None:
    stalled = Host(site, stall_after=7)
    other = Host(site)
    async with fetching_from(stalled, other) as reader:
        await until(lambda: reader.holds(site))  # long before the host's time is over
    assert not set(stalled.sent) & set(other.sent)


async def test_who_stalls_is_counted_when_others_are_there(site: TreeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "STALL_S", 0.5)
    async with fetching_from(Host(site, stall_after=7), Host(site, pace_s=0.02)) as reader:
        await until(lambda: reader.holds(site))
        assert faults(reader, 0) == {"peer-timeout": 1}


async def test_hosts_that_have_a_part_each_have_it_all_together(site: TreeSite) -> None:
    cids = leaves(site)
    one = Host(site, pace_s=0.002, lacking=frozenset(cids[0::8]))
    two = Host(site, pace_s=0.002, lacking=frozenset(cids[1::8]))
    async with fetching_from(one, two) as reader:
        await until(lambda: reader.holds(site))


async def test_what_no_host_has_ends_the_fetch(site: TreeSite) -> None:
    lacking = frozenset(leaves(site)[3:5])
    hosts = [Host(site, pace_s=0.002, lacking=lacking) for _ in range(2)]
    async with fetching_from(*hosts) as reader:
        await until(lambda: not reader.replicator.fetching())
        assert not reader.holds(site)
        (hold,) = reader.store.holds()
        assert hold.done_blocks == len(site.blocks) - len(lacking)


async def test_a_host_that_has_forgotten_the_release_is_left(site: TreeSite) -> None:
    forgetful, other = Host(site, pace_s=0.05, forgotten=True), Host(site)
    async with fetching_from(forgetful, other) as reader:
        await until(lambda: reader.holds(site))
        assert not faults(reader, 0)


async def test_a_host_that_vanishes_costs_what_was_on_its_way(site: TreeSite) -> None:
    async with ring(3) as (air, (reader, one, two)):
        first = Host(site, pace_s=0.05).on(one)
        await connect(reader, one)
        await until(lambda: len(first.sent) > 10)
        second = Host(site, pace_s=0.01).on(two)
        await connect(reader, two)
        await until(lambda: len(second.sent) > 5)
        air.cut(reader.network.local_peer, one.network.local_peer)
        await until(lambda: reader.holds(site))
    assert len(set(first.sent) & set(second.sent)) < 10


async def test_a_laggard_makes_room_for_another_host(site: TreeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "SOURCES_MAX", 2)
    monkeypatch.setattr("node.replication.assignment.LAGGING_S", 0.2)
    hosts = [Host(site, pace_s=0.3), Host(site, pace_s=0.015), Host(site, pace_s=0.015)]
    async with fetching_from(*hosts) as reader:
        await until(lambda: reader.holds(site))
    assert len(hosts[2].sent) > 5


async def test_slow_fetches_let_others_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "LOOK_S", 0.2)
    stuck = [TreeSite({"a": b"%d" % number, "b": b"b"}) for number in range(driver.FETCHES_MAX)]
    quick = TreeSite(FILES)
    async with ring(len(stuck) + 2) as (_, (reader, *nodes)):
        for site, node in zip(stuck, nodes, strict=False):
            Host(site, stall_after=1).on(node)
            await connect(reader, node)
        await until(lambda: len(reader.replicator.fetching()) == len(stuck))
        Host(quick).on(nodes[-1])
        await connect(reader, nodes[-1])
        await until(lambda: reader.holds(quick))
        await until(lambda: len(reader.replicator.fetching()) == len(stuck))


async def test_of_too_many_slow_fetches_the_first_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "LOOK_S", 0.2)
    places = slots.FetchSlots(1, 1)
    ended: list[int] = []

    async def crawl(number: int) -> None:
        async with places.slot() as slot:
            with slot.scope:
                while True:
                    slot.look(0)
                    await trio.sleep(0.05)
            ended.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(crawl, number)
            await trio.sleep(0.01)
        await until(lambda: ended == [0])
        nursery.cancel_scope.cancel()
