"""Blocks of others' trees for readers: from peers into the cache, past the gate."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from node.bitswap import reading
from node.bitswap.reading import TreeReadings
from node.gateway.backend import Unavailable
from node.policy.decide import Policy
from node.policy.model import Hosting, Rule
from node.routing.routers import Routers
from protocol import dagpb
from protocol.cid import DAG_PB, Cid
from protocol.denylist import CidPath
from tests.unit.bitswap.test_client import Peer, peers, root_of
from tests.unit.replication.kit import DEADLINE_S, TreeSite, connect, until

FILES = {"a.txt": b"a", "large.bin": os.urandom(3_000_000)}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOOK_S", "SEARCH_AGAIN_S", "STUCK_S"):
        monkeypatch.setattr(reading, name, 0.02)


@asynccontextmanager
async def reader_of(site: TreeSite) -> AsyncIterator[tuple[Peer, Peer, TreeReadings]]:
    """A host that has the site, a node that is connected to it and has nothing, and what that node's readers use."""
    async with peers(2) as (_, (host, guest)):
        await connect(guest.node, host.node)
        host.node.host(site)
        yield host, guest, TreeReadings(guest.node.replicator.context, guest.server.client, Routers(()))


async def read(readings: TreeReadings, peer: Peer, root: Cid, cid: Cid) -> bytes:
    with trio.fail_after(DEADLINE_S):
        await readings.fetch_block(root, cid)
    return peer.node.store.get_block(cid)


def parts_of(site: TreeSite) -> tuple[Cid, list[Cid]]:
    """The root of large.bin, and its leaves."""
    for cid, data in site.blocks.items():
        if cid.codec == DAG_PB and all(not link.name for link in dagpb.decode(data).links):
            return cid, [link.cid for link in dagpb.decode(data).links]
    raise AssertionError("no file of several blocks")


async def test_blocks_come_into_the_cache_and_are_given_to_nobody() -> None:
    site = TreeSite(FILES)
    async with reader_of(site) as (host, guest, readings):
        root = root_of(site)
        assert await read(readings, guest, root, root) == site.blocks[root]
        file, leaves = parts_of(site)
        await read(readings, guest, root, file)
        async with trio.open_nursery() as nursery:
            for leaf in (*leaves, leaves[0]):
                nursery.start_soon(read, readings, guest, root, leaf)
        usage = guest.node.store.usage()
        assert (usage.used_bytes, usage.cache_bytes > 2_900_000) == (0, True)
        assert guest.server.client.received_blocks == 2 + len(leaves)
        with pytest.raises(Unavailable):
            await TreeReadings(host.node.replicator.context, host.server.client, Routers(())).fetch_block(
                root, Cid.of(DAG_PB, b"")
            )
        assert guest.server.sent_blocks == 0


async def test_what_comes_next_in_a_file_is_fetched_ahead() -> None:
    site = TreeSite(FILES)
    async with reader_of(site) as (_, guest, readings):
        root, (file, leaves) = root_of(site), parts_of(site)
        await read(readings, guest, root, file)
        await read(readings, guest, root, leaves[0])
        await until(lambda: len(guest.node.store.has_blocks(leaves)) == len(leaves))


async def test_rules_hold_before_and_while_blocks_are_fetched() -> None:
    site = TreeSite(FILES)
    async with reader_of(site) as (_, guest, readings):
        root, (file, _) = root_of(site), parts_of(site)
        gate = guest.node.replicator.context.gate
        for refused, asked in ((root, file), (file, file)):
            rule = Rule(CidPath(refused.multihash, "", False), "refuse", "policy", "no", 1)
            gate.policy = Policy([rule], Hosting("none"))
            with pytest.raises(Unavailable) as caught:
                await read(readings, guest, root, asked)
            assert (caught.value.kind, caught.value.reason) == ("refused", "no")
        assert await read(readings, guest, root, root) == site.blocks[root]
        assert guest.server.client.received_blocks == 1


async def test_what_nobody_has_is_said_soon_and_looked_for_again() -> None:
    site, other = TreeSite(FILES), TreeSite({"b.txt": b"b"})
    async with reader_of(site) as (host, guest, readings):
        for _ in range(2):
            with pytest.raises(Unavailable, match="nobody"):
                await read(readings, guest, root_of(other), root_of(other))
        host.node.host(other)
        fresh = TreeReadings(guest.node.replicator.context, guest.server.client, Routers(()))
        assert await read(fresh, guest, root_of(other), root_of(other)) == other.blocks[root_of(other)]


async def test_codecs_that_no_reader_could_use_are_not_asked_for() -> None:
    async with reader_of(TreeSite(FILES)) as (_, _, readings):
        strange = Cid.of(0x78, b"git")
        with pytest.raises(Unavailable) as caught:
            await readings.fetch_block(strange, strange)
        assert caught.value.kind == "not-found"


async def test_a_reading_ends_when_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "IDLE_S", 0.1)
    site = TreeSite(FILES)
    async with reader_of(site) as (_, guest, readings):
        await read(readings, guest, root_of(site), root_of(site))
        await until(lambda: not guest.server.client.fetches)
        file, _ = parts_of(site)
        assert await read(readings, guest, root_of(site), file) == site.blocks[file]
