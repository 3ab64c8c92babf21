"""fednode's network against libp2p as it comes: its Yamux, multistream, identify, ping and Kademlia, both ways."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import pytest
import trio

from node.net.opening import open_network
from node.net.port import NetSettings, Network, Stream
from tests.integration.net_kit import NodeProcess

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def theirs() -> Iterator[NodeProcess]:
    with NodeProcess(module="tests.integration.libp2p_node") as started:
        yield started


@pytest.fixture
async def ours() -> AsyncIterator[Network]:
    with trio.fail_after(90):
        async with open_network(NetSettings(("/ip4/127.0.0.1/tcp/0",), os.urandom(32), join="public")) as network:
            network.serve("/echo/1", echo)
            yield network


async def echo(stream: Stream) -> None:
    while data := await stream.receive_some():
        await stream.send_all(data)


async def ask(theirs: NodeProcess, command: str) -> object:
    return await trio.to_thread.run_sync(theirs.ask, command)


async def echoed(network: Network, peer: str, sent: bytes) -> bytes:
    stream = await network.open(peer, "/echo/1", deadline_s=20)
    received = b""
    async with trio.open_nursery() as nursery:

        async def send() -> None:
            await stream.send_all(sent)
            await stream.send_eof()

        nursery.start_soon(send)
        while data := await stream.receive_some():
            received += data
    await stream.aclose()
    return received


async def test_we_dial_and_a_megabyte_comes_back(ours: Network, theirs: NodeProcess) -> None:
    peer = await ours.connect(theirs.addresses[0], deadline_s=20)
    sent = os.urandom(1_500_000)
    assert await echoed(ours, peer, sent) == sent


async def test_they_dial_and_a_megabyte_comes_back(ours: Network, theirs: NodeProcess) -> None:
    peer = await ask(theirs, f"connect {ours.addresses()[0]}")
    assert await ask(theirs, f"echo {peer} 1500000")


async def test_many_streams_both_ways_at_once(ours: Network, theirs: NodeProcess) -> None:
    peer = await ask(theirs, f"connect {ours.addresses()[0]}")

    async def talk(number: int) -> None:
        sent = bytes([number]) * 10_000
        assert await echoed(ours, theirs.peer, sent) == sent

    async with trio.open_nursery() as nursery:
        for number in range(30):
            nursery.start_soon(talk, number)
        assert await ask(theirs, f"many {peer}")


async def test_their_reset_and_ours(ours: Network, theirs: NodeProcess) -> None:
    reset_seen = trio.Event()

    async def wait_for_reset(stream: Stream) -> None:
        await stream.send_all(b"here")
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()
        reset_seen.set()

    ours.serve("/wait/1", wait_for_reset)
    peer = await ask(theirs, f"connect {ours.addresses()[0]}")
    await ask(theirs, f"reset {peer}")
    await reset_seen.wait()
    stream = await ours.open(theirs.peer, "/reset/1", deadline_s=20)
    await stream.send_all(b"go")
    with pytest.raises(trio.BrokenResourceError):
        await stream.receive_some()
    aborted = await ours.open(theirs.peer, "/echo/1", deadline_s=20)
    await aborted.send_all(b"half a message")
    aborted.reset()
    assert await echoed(ours, theirs.peer, b"and on") == b"and on"


async def test_ping_and_identify(ours: Network, theirs: NodeProcess) -> None:
    peer = await ask(theirs, f"connect {ours.addresses()[0]}")
    assert await ask(theirs, f"ping {peer}") == 3
    known = await ask(theirs, f"protocols {peer}")
    assert isinstance(known, list)
    assert {"/echo/1", "/fednode/kad/1.0.0", "/ipfs/kad/1.0.0", "/ipfs/ping/1.0.0", "/ipfs/id/1.0.0"} <= set(known)


async def test_providers_are_found_both_ways(ours: Network, theirs: NodeProcess) -> None:
    mine, other = os.urandom(34), os.urandom(34)
    await ask(theirs, f"connect {ours.addresses()[0]}")
    assert await ours.provide(mine, deadline_s=20) == 1
    plain = ours.addresses()[0].partition("/p2p/")[0]
    assert await ask(theirs, f"find {mine.hex()}") == [[ours.local_peer, [plain]]]
    assert await ask(theirs, f"provide {other.hex()}")
    assert await ours.find_providers(other, limit=3, deadline_s=20) == [(theirs.peer, theirs.addresses)]
