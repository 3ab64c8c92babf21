"""Trees fetched by bitswap over the in-memory network: from honest peers, from liars, and on after an end."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import trio

from node.bitswap.client import FETCHES_MAX, TooManyFetches
from node.bitswap.server import BitswapServer
from node.bitswap.tree_fetch import NotProvided, Progress, fetch_tree
from node.bitswap.wants import WANTED_MAX
from node.net.memory import Air, open_memory_network
from node.net.port import NetSettings, Network, Stream
from node.policy.model import Hosting, Rule
from node.replication.gate import Refused
from node.routing.routers import Routers
from protocol import bitswap
from protocol.bitswap import BITSWAP_1_2, Message
from protocol.cid import RAW, Cid
from protocol.denylist import CidPath
from tests.unit.replication.kit import DEADLINE_S, MemoryNode, TreeSite, connect, ring, until

FILES = {f"{number}.bin": os.urandom(3000) for number in range(120)} | {"large.bin": os.urandom(900_000)}


@pytest.fixture
def patient_clock(autojump_clock: trio.testing.MockClock) -> trio.testing.MockClock:
    """Jumps only when threads have nothing to do either."""
    autojump_clock.autojump_threshold = 0.1
    return autojump_clock


@dataclass
class Peer:
    node: MemoryNode
    server: BitswapServer

    @property
    def address(self) -> str:
        return self.node.network.addresses()[0]

    async def fetch(self, root: Cid, *addresses: str) -> Progress:
        progress = Progress()
        await fetch_tree(self.node.replicator.context, self.server.client, Routers(()), root, addresses, progress)
        return progress

    def has(self, site: TreeSite) -> bool:
        return all(self.node.store.get_block(cid) == data for cid, data in site.blocks.items())


@asynccontextmanager
async def peers(count: int) -> AsyncIterator[tuple[Air, list[Peer]]]:
    async with ring(count, hosting=Hosting("none")) as (air, nodes), trio.open_nursery() as nursery:
        found = [Peer(node, BitswapServer(node.replicator.context)) for node in nodes]
        for peer in found:
            await nursery.start(peer.server.run)
        yield air, found
        nursery.cancel_scope.cancel()


def root_of(site: TreeSite) -> Cid:
    assert site.signed.release.root is not None
    return site.signed.release.root


Say = Callable[[Message | bytes], Awaitable[None]]
Answer = Callable[[Message, Say], Awaitable[None]]


@asynccontextmanager
async def faulty_peer(air: Air, answer: Answer) -> AsyncIterator[Network]:
    """A peer that answers each message with what `answer` makes of it."""
    settings = NetSettings(listen=("/ip4/127.0.0.1/tcp/0",), private_key=b"\x77" * 32)
    async with open_memory_network(air, settings) as network:

        async def serve(stream: Stream) -> None:
            async with await network.open(stream.peer, BITSWAP_1_2, deadline_s=DEADLINE_S) as back:

                async def say(message: Message | bytes) -> None:
                    body = message if isinstance(message, bytes) else bitswap.encode(message)
                    await back.send_all(bitswap.framed(body))

                while data := bytes(await stream.receive_some(1 << 20)):
                    at = 0
                    while at < len(data):
                        length, start = _varint(data, at)
                        await answer(bitswap.decode(data[start : start + length]), say)
                        at = start + length

        network.serve(BITSWAP_1_2, serve)
        yield network


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


async def test_a_tree_is_fetched_from_the_peers_that_have_it() -> None:
    site = TreeSite(FILES)
    async with peers(3) as (_, (first, second, third)):
        first.node.host(site)
        second.node.host(site)
        await connect(third.node, second.node)
        with trio.fail_after(DEADLINE_S):
            progress = await third.fetch(root_of(site), first.address)
        assert third.has(site)
        assert progress.blocks == progress.received_blocks == len(site.blocks)
        assert progress.size_bytes == progress.received_bytes == site.signed.release.size_bytes
        assert third.node.store.tree(root_of(site)) is not None
        assert first.server.sent_blocks + second.server.sent_blocks == len(site.blocks)
        assert third.server.client.received_bytes == progress.received_bytes


async def test_a_fetch_goes_on_where_the_last_one_ended() -> None:
    site = TreeSite(FILES)
    async with peers(2) as (_, (host, guest)):
        host.node.host(site)
        hold = guest.node.store.begin_tree(root_of(site))
        guest.node.store.put_blocks(hold, list(site.blocks.items())[:100])
        progress = await guest.fetch(root_of(site), host.address)
        assert progress.received_blocks == len(site.blocks) - 100
        assert guest.has(site)
        assert (await guest.fetch(root_of(site))).received_blocks == 0  # it is kept: nobody is asked


async def test_nobody_has_it(patient_clock: trio.testing.MockClock) -> None:
    patient_clock.autojump_threshold = 0.01  # what is cut short is not there either
    site = TreeSite(FILES)
    async with peers(2) as (_, (other, guest)):
        with pytest.raises(NotProvided, match="the tree"):
            await guest.fetch(root_of(site), other.address, "/ip4/127.0.0.1/tcp/9")


async def test_what_the_first_peer_lacks_comes_from_another(patient_clock: trio.testing.MockClock) -> None:
    site = TreeSite(FILES)
    lacking = sorted(site.blocks)[:20]

    async def some(message: Message, say: Say) -> None:
        wants = [want for want in message.wants if not want.cancel]
        await say(
            Message(
                blocks=tuple(
                    (want.cid, site.blocks[want.cid]) for want in wants if not want.have and want.cid not in lacking
                ),
                presences=tuple((want.cid, want.have) for want in wants if want.have or want.cid in lacking),
            )
        )

    async with peers(2) as (air, (host, guest)), faulty_peer(air, some) as partial:
        host.node.host(site)
        progress = await guest.fetch(root_of(site), partial.addresses()[0], host.address)
        assert progress.received_blocks == len(site.blocks)
        assert host.server.sent_blocks >= len(lacking)
        assert guest.has(site)


@pytest.mark.parametrize("lie", ["another block", "garbage", "reset", "silence", "flipped bits"])
async def test_a_liar_costs_nothing_but_time(patient_clock: trio.testing.MockClock, lie: str) -> None:
    site = TreeSite(FILES)
    told = 0

    async def answer(message: Message, say: Say) -> None:
        nonlocal told
        for want in message.wants:
            if want.have:
                await say(Message(presences=((want.cid, True),)))
            elif not want.cancel and lie != "silence":
                told += 1
                data = b"no block of this tree" if lie == "another block" else site.blocks[want.cid]
                if lie == "flipped bits":
                    data = bytes([data[0] ^ 1]) + data[1:]
                await say(Message(blocks=((Cid.of(want.cid.codec, data), data),)))

    async def garble(message: Message, say: Say) -> None:
        await say(b"\x0a\xff\xff\xff")

    async def reset(message: Message, say: Say) -> None:
        raise RuntimeError("the stream is reset in the middle")

    how: Answer = {"garbage": garble, "reset": reset}.get(lie, answer)

    async with peers(2) as (air, (host, guest)):
        async with faulty_peer(air, how) as liar:
            host.node.host(site)
            await guest.node.network.connect(liar.addresses()[0], deadline_s=DEADLINE_S)
            progress = await guest.fetch(root_of(site), liar.addresses()[0], host.address)
        assert guest.has(site)
        assert progress.received_blocks == len(site.blocks)
        if lie in ("another block", "flipped bits"):
            assert 0 < told < len(FILES)
            faults = guest.node.replicator.context.standing.faults(liar.local_peer)
            assert faults["unwanted-block"] >= 1


async def test_policy_is_asked_for_the_root_and_for_each_block() -> None:
    site = TreeSite(FILES)
    for refused in (root_of(site), Cid.of(RAW, FILES["7.bin"])):
        async with peers(2) as (_, (host, guest)):
            host.node.host(site)
            rule = Rule(CidPath(refused.multihash, "", False), "refuse", "policy", "no", 0)
            guest.node.set_rules(rule)
            with pytest.raises(Refused):
                await guest.fetch(root_of(site), host.address)
            assert guest.node.store.tree(root_of(site)) is None
            assert not guest.node.store.has_blocks([refused])


async def test_fetches_are_bounded() -> None:
    async with peers(1) as (_, (peer,)), trio.open_nursery() as nursery:
        for number in range(FETCHES_MAX):
            nursery.start_soon(peer.fetch, Cid.of(RAW, bytes([number])))
        await until(lambda: peer.server.client.fetches == FETCHES_MAX)
        with pytest.raises(TooManyFetches):
            await peer.fetch(Cid.of(RAW, b"one more"))
        nursery.cancel_scope.cancel()
    assert peer.server.client.fetches == 0


async def test_blocks_whose_stream_ends_before_they_are_taken_are_asked_for_again() -> None:
    site = TreeSite({"index.html": b"hello"})
    root = root_of(site)
    async with peers(2) as (_, (reader, other)):
        peer = other.node.network.local_peer
        async with reader.server.client.fetch(root) as fetch:
            fetch.add_peer(peer)
            fetch.want([root])
            with trio.move_on_after(0.05):
                await fetch.take(peer, Message(blocks=((root, site.blocks[root]),)))
            assert fetch.room == WANTED_MAX - 1
