"""Readers of a site that other nodes host get the newest release that can be had."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.core.inputs import HeadSeen
from node.gateway.backend import Unavailable
from node.net.memory_stream import MemoryStream
from node.replication import reading
from node.replication.offers import HOSTS_MAX, PASSED_OVER_S, RELEASES_MAX, Offers
from node.replication.ondemand import OnDemand
from tests.unit.replication.hosts import Host
from tests.unit.replication.kit import DEADLINE_S, MemoryNode, TreeSite, connect, ring

KEY = Ed25519PrivateKey.from_private_bytes(bytes(31) + b"\x07")


def release(seq: int, content: bytes | None = None) -> TreeSite:
    return TreeSite({"index.html": content or b"release %d" % seq}, seq=seq, key=KEY)


@asynccontextmanager
async def reader_of(*hosts: Host) -> AsyncIterator[tuple[MemoryNode, OnDemand]]:
    """A node that has room for nothing and is connected with all of the hosts."""
    async with ring(1 + len(hosts), quota_bytes=1) as (_, (reader, *others)):
        for host, node in zip(hosts, others, strict=True):
            host.on(node)
            await connect(reader, node)
        with trio.fail_after(2 * DEADLINE_S):
            yield reader, OnDemand(reader.replicator.context, any_site=True)


async def test_a_release_whose_hosts_lack_it_leaves_the_one_before_it() -> None:
    old, new = release(1), release(2)
    async with reader_of(Host(new, lacking=frozenset(new.blocks)), Host(old)) as (reader, on_demand):
        site = old.signed.site
        assert await on_demand.resolve(site) == new.signed
        root = new.signed.release.root
        assert root is not None
        with pytest.raises(Unavailable):
            await on_demand.fetch_block(site, root)
        assert await on_demand.resolve(site, 2) == old.signed
        assert await on_demand.resolve(site) == old.signed, "for a while readers get it at once"
        for cid in old.blocks:
            await on_demand.fetch_block(site, cid)
            assert reader.store.get_block(cid) == old.blocks[cid]
        with pytest.raises(Unavailable, match="no host"):
            await on_demand.resolve(site, 1)


async def test_a_head_that_nobody_gives_is_not_sought_for_each_reader() -> None:
    old, new = release(1), release(2)
    host = Host(old)
    async with reader_of(host) as (reader, on_demand):
        site = old.signed.site
        assert await on_demand.resolve(site) == old.signed
        asked = host.asked
        assert await on_demand.resolve(site) == old.signed
        assert host.asked == asked
        reader.replicator.tell(HeadSeen(reader.network.peers()[0].peer, new.signed))
        state = reader.replicator.context.core.state_of(site)
        assert state is not None
        assert state.head == new.signed
        for _ in range(3):
            assert await on_demand.resolve(site) == old.signed
        assert host.asked <= asked + 2, "one for the reader, and the core may look itself"


async def test_who_comes_while_a_reading_ends_gets_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    site = release(1)
    first, second = site.blocks
    close, closing, may_close = MemoryStream.aclose, trio.Event(), trio.Event()

    async def close_slowly(stream: MemoryStream) -> None:
        closing.set()
        with trio.CancelScope(shield=True):
            await may_close.wait()
        await close(stream)

    async with reader_of(Host(site)) as (reader, on_demand):
        await on_demand.fetch_block(site.signed.site, first)
        monkeypatch.setattr(reading, "IDLE_S", 0.0)
        monkeypatch.setattr(MemoryStream, "aclose", close_slowly)
        await closing.wait()
        monkeypatch.setattr(reading, "IDLE_S", DEADLINE_S)
        try:
            await on_demand.fetch_block(site.signed.site, second)
        finally:
            may_close.set()
        assert reader.store.get_block(second) == site.blocks[second]


def test_of_a_release_no_more_hosts_are_remembered_than_are_asked() -> None:
    offers, signed = Offers(), release(1).signed
    for number in range(3 * HOSTS_MAX):
        offers.take(str(number), signed)
    offers.looked_at_s = 1.0
    offers.take("new", signed)
    offers.take(str(3 * HOSTS_MAX - 1), signed)
    found = offers.hosts_of(signed)
    assert len(found) == len(set(found)) == HOSTS_MAX
    assert found[:3] == ["new", str(3 * HOSTS_MAX - 1), str(2 * HOSTS_MAX + 1)], (
        "the last look first, each in its order"
    )


def test_what_is_passed_over_and_for_how_long() -> None:
    offers = Offers()
    assert (offers.best(0), offers.newest, offers.instead_of(5)) == (None, None, None)
    sites = [release(seq).signed for seq in range(1, 4)]
    for signed in sites:
        offers.take("a", signed)
    assert offers.best(0) == sites[2]
    offers.pass_over(3, 0)
    assert (offers.best(1), offers.newest) == (sites[1], sites[2])
    offers.pass_over(2, 1)
    assert (offers.best(2), offers.instead_of(2)) == (sites[0], sites[0])
    offers.pass_over(1, 2)
    assert offers.best(3) == sites[2], "the newest is as good as any that cannot be had"
    assert offers.best(PASSED_OVER_S + 0.5) == sites[2]
    offers.take("a", release(4).signed)
    assert offers.best(3) == release(4).signed, "what is new is tried at once"


def test_few_releases_are_remembered_and_one_of_each_number() -> None:
    offers = Offers()
    for seq in range(1, 10):
        offers.take("a", release(seq).signed)
    assert offers.instead_of(9 - RELEASES_MAX + 1) is None
    one, other = sorted((release(9, b"x").signed, release(9).signed), key=lambda signed: signed.rank)
    offers.take("b", other)
    offers.take("c", one)
    offers.take("d", other)
    offers.take("d", other)
    assert offers.newest == other
    assert offers.hosts_of(one) == []
    assert set(offers.hosts_of(other)) >= {"b", "d"}
    assert len(offers.hosts_of(other)) == len(set(offers.hosts_of(other)))
