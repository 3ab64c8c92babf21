"""What `node.net.port` promises, over libp2p on loopback and over the in-memory twin."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import pytest
import trio

from node.net import (
    BadAddress,
    NetSettings,
    Network,
    PeerConnected,
    PeerDisconnected,
    PeerUnreachable,
    ProtocolUnsupported,
    Stream,
    open_network,
    peer_id_of_seed,
)

LISTEN = ("/ip4/127.0.0.1/tcp/0",)
Opener = Callable[[NetSettings], AbstractAsyncContextManager[Network]]


@pytest.fixture(params=["libp2p"])
def opener(request: pytest.FixtureRequest) -> Opener:
    return open_network


def settings(listen: tuple[str, ...] = LISTEN) -> NetSettings:
    return NetSettings(listen, os.urandom(32), dht=False)


@asynccontextmanager
async def two(opener: Opener) -> AsyncIterator[tuple[Network, Network]]:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(opener(settings()))
        second = await stack.enter_async_context(opener(settings()))
        with trio.fail_after(10):
            yield first, second


async def echo(stream: Stream) -> None:
    while data := await stream.receive_some():
        await stream.send_all(data)


async def receive_all(stream: Stream) -> bytes:
    data = b""
    while more := await stream.receive_some():
        data += more
    return data


async def test_local_peer_is_that_of_the_key(opener: Opener) -> None:
    mine = settings()
    async with opener(mine) as network:
        assert network.local_peer == peer_id_of_seed(mine.private_key)
        assert network.addresses()[0].endswith(f"/p2p/{network.local_peer}")


async def test_bytes_go_both_ways_and_end(opener: Opener) -> None:
    async with two(opener) as (one, other):
        other.serve("/echo/1", echo)
        assert await one.connect(other.addresses()[0], deadline_s=5) == other.local_peer
        stream = await one.open(other.local_peer, "/echo/1", deadline_s=5)
        assert stream.peer == other.local_peer
        sent = os.urandom(700_000)
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                await stream.send_all(sent)
                await stream.send_eof()

            nursery.start_soon(send)
            assert await receive_all(stream) == sent
        await stream.aclose()


async def test_open_dials_a_remembered_address(opener: Opener) -> None:
    async with two(opener) as (one, other):
        other.serve("/echo/1", echo)
        one.remember(other.local_peer, ["/ip4/127.0.0.1/tcp/1", "nonsense", *other.addresses()])
        stream = await one.open(other.local_peer, "/echo/1", deadline_s=5)
        await stream.send_eof()
        assert await receive_all(stream) == b""


async def test_handler_knows_the_proved_peer(opener: Opener) -> None:
    async with two(opener) as (one, other):
        seen: list[str] = []
        done = trio.Event()

        async def handler(stream: Stream) -> None:
            seen.extend((stream.peer, stream.protocol))
            done.set()

        other.serve("/who/1", handler)
        await one.connect(other.addresses()[0], deadline_s=5)
        await (await one.open(other.local_peer, "/who/1", deadline_s=5)).aclose()
        await done.wait()
        assert seen == [one.local_peer, "/who/1"]


async def test_unknown_protocol_is_said_so(opener: Opener) -> None:
    async with two(opener) as (one, other):
        await one.connect(other.addresses()[0], deadline_s=5)
        with pytest.raises(ProtocolUnsupported):
            await one.open(other.local_peer, "/nobody/1", deadline_s=5)


async def test_unknown_peer_is_unreachable(opener: Opener) -> None:
    async with opener(settings()) as network:
        with pytest.raises(PeerUnreachable):
            await network.open(peer_id_of_seed(os.urandom(32)), "/echo/1", deadline_s=5)


async def test_another_key_at_the_address_is_unreachable(opener: Opener) -> None:
    async with two(opener) as (one, other):
        address = other.addresses()[0].replace(other.local_peer, peer_id_of_seed(os.urandom(32)))
        with pytest.raises(PeerUnreachable):
            await one.connect(address, deadline_s=5)
        assert one.peers() == []


async def test_never_dials_itself(opener: Opener) -> None:
    async with opener(settings()) as network:
        with pytest.raises(BadAddress):
            await network.connect(network.addresses()[0], deadline_s=5)
        with pytest.raises(BadAddress):
            await network.open(network.local_peer, "/echo/1", deadline_s=5)


@pytest.mark.parametrize("address", ["", "127.0.0.1:4101", "/ip4/127.0.0.1/tcp/4101", "/ip4/1.2.3/tcp/1/p2p/Qm"])
async def test_bad_addresses_are_named_so(opener: Opener, address: str) -> None:
    async with opener(settings(())) as network:
        with pytest.raises(BadAddress):
            await network.connect(address, deadline_s=5)


async def test_peers_and_events_on_both_sides(opener: Opener) -> None:
    async with two(opener) as (one, other):
        mine, theirs = one.events(), other.events()
        await one.connect(other.addresses()[0], deadline_s=5)
        assert await mine.receive() == PeerConnected(other.local_peer, inbound=False)
        assert await theirs.receive() == PeerConnected(one.local_peer, inbound=True)
        assert [(peer.peer, peer.inbound) for peer in one.peers()] == [(other.local_peer, False)]
        assert [(peer.peer, peer.inbound) for peer in other.peers()] == [(one.local_peer, True)]
        assert one.health().connections == other.health().connections == 1
        await one.disconnect(other.local_peer)
        assert await mine.receive() == PeerDisconnected(other.local_peer)
        assert await theirs.receive() == PeerDisconnected(one.local_peer)
        assert one.peers() == other.peers() == []


async def test_reset_is_seen_by_the_peer(opener: Opener) -> None:
    async with two(opener) as (one, other):
        broken = trio.Event()

        async def handler(stream: Stream) -> None:
            await stream.send_all(b"hello")
            with pytest.raises(trio.BrokenResourceError):
                await receive_all(stream)
            broken.set()

        other.serve("/wait/1", handler)
        await one.connect(other.addresses()[0], deadline_s=5)
        stream = await one.open(other.local_peer, "/wait/1", deadline_s=5)
        assert await stream.receive_some() == b"hello"
        stream.reset()
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()
        await broken.wait()


async def test_failing_handler_resets_its_stream_and_nothing_else(opener: Opener) -> None:
    async with two(opener) as (one, other):

        async def handler(stream: Stream) -> None:
            await stream.receive_some()
            raise ZeroDivisionError

        other.serve("/fail/1", handler)
        other.serve("/echo/1", echo)
        await one.connect(other.addresses()[0], deadline_s=5)
        stream = await one.open(other.local_peer, "/fail/1", deadline_s=5)
        await stream.send_all(b"now")
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()
        good = await one.open(other.local_peer, "/echo/1", deadline_s=5)
        await good.send_all(b"still there")
        assert await good.receive_some() == b"still there"
        assert other.health().handler_errors == 1


async def test_providers_are_found_through_a_third_node(opener: Opener) -> None:
    key = os.urandom(34)
    async with AsyncExitStack() as stack:
        nodes = []
        for _ in range(4):
            mine = NetSettings(LISTEN, os.urandom(32))
            nodes.append(await stack.enter_async_context(opener(mine)))
        dialler = await stack.enter_async_context(opener(NetSettings((), os.urandom(32))))
        hub, *others = nodes
        with trio.fail_after(20):
            for node in [*others, dialler]:
                await node.connect(hub.addresses()[0], deadline_s=5)
            assert await others[0].provide(key) >= 1
            for node in [hub, *others[1:], dialler]:
                found = dict(await node.find_providers(key, limit=5, deadline_s=5))
                assert set(found) == {others[0].local_peer}
                assert others[0].addresses()[0] in found[others[0].local_peer]
            assert await others[0].find_providers(key, limit=5, deadline_s=5) == []
            assert await hub.find_providers(os.urandom(34), limit=5, deadline_s=5) == []
