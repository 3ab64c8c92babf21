from __future__ import annotations

import pytest
import trio
import trio.lowlevel
import trio.testing

from node.net.channel import FrameChannel, PeerGone, PeerTimeout
from protocol.cid import RAW, Cid
from protocol.errors import DecodeError, Truncated
from protocol.messages import Block, End, Message, Missing

DATA = bytes(range(256)) * 4096
BLOCK = Block(Cid.of(RAW, DATA), DATA)
SMALL = Missing(BLOCK.cid)


def pair(idle_s: float = 5, write_s: float = 5) -> tuple[FrameChannel, FrameChannel]:
    one, other = trio.testing.memory_stream_pair()
    return (
        FrameChannel(one, idle_s=idle_s, write_s=write_s),
        FrameChannel(other, idle_s=idle_s, write_s=write_s),
    )


async def test_messages_arrive_in_order_and_then_the_end() -> None:
    one, other = pair()
    said: list[Message] = [SMALL, BLOCK, SMALL, End()]
    for message in said:
        await one.send(message)
    await one.send_eof()
    assert [await other.receive() for _ in range(6)] == [*said, None, None]


async def test_silence_beyond_the_deadline(autojump_clock: trio.testing.MockClock) -> None:
    _, other = pair(idle_s=3)
    with pytest.raises(PeerTimeout):
        await other.receive()
    assert trio.current_time() >= 3


async def test_peer_that_takes_nothing(autojump_clock: trio.testing.MockClock) -> None:
    one, _ = trio.testing.lockstep_stream_pair()
    with pytest.raises(PeerTimeout):
        await FrameChannel(one, idle_s=1, write_s=2).send(BLOCK)


async def test_lost_stream_both_ways() -> None:
    one, other = pair()
    await other.aclose()
    with pytest.raises(PeerGone):
        await one.send(SMALL)
    await one.aclose()
    with pytest.raises(PeerGone):
        await one.receive()


async def test_end_within_a_frame() -> None:
    stream, end = trio.testing.memory_stream_pair()
    await stream.send_all(b"\x00\x00\x00\x10\x00abc")
    await stream.send_eof()
    with pytest.raises(Truncated):
        await FrameChannel(end, idle_s=1, write_s=1).receive()


async def test_garbage() -> None:
    stream, end = trio.testing.memory_stream_pair()
    await stream.send_all(b"\xff" * 20)
    async with FrameChannel(end, idle_s=1, write_s=1) as channel:
        with pytest.raises(DecodeError):
            await channel.receive()
    with pytest.raises(PeerGone):
        await channel.send(SMALL)


async def test_messages_that_came_at_once_let_others_run_in_between() -> None:
    one, other = pair()
    for _ in range(50):
        await one.send(SMALL)
    turns = 0

    async def somebody_else() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(somebody_else)
        for _ in range(50):
            await other.receive()
        nursery.cancel_scope.cancel()
    assert turns >= 40
