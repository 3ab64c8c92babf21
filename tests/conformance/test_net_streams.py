"""What `node.net.port` promises of streams, over libp2p on loopback and over the in-memory twin."""

from __future__ import annotations

import os

import pytest
import trio
import trio.testing

from node.net.port import NetLimits, ProtocolUnsupported, Stream
from tests.conformance.net_kit import DEADLINE_S, Opener, echo, open_to, receive_all, two


async def test_bytes_go_both_ways_and_end(opener: Opener) -> None:
    async with two(opener) as (one, other):
        other.serve("/echo/1", echo)
        assert await one.connect(other.addresses()[0], deadline_s=DEADLINE_S) == other.local_peer
        stream = await one.open(other.local_peer, "/echo/1", deadline_s=DEADLINE_S)
        assert stream.peer == other.local_peer
        sent = os.urandom(700_000)
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                await stream.send_all(sent)
                await stream.send_eof()

            nursery.start_soon(send)
            assert await receive_all(stream) == sent
        await stream.aclose()


async def test_handler_knows_the_proved_peer(opener: Opener) -> None:
    async with two(opener) as (one, other):
        seen: list[str] = []
        done = trio.Event()

        async def handler(stream: Stream) -> None:
            seen.extend((stream.peer, stream.protocol))
            done.set()

        other.serve("/who/1", handler)
        await one.connect(other.addresses()[0], deadline_s=DEADLINE_S)
        await (await one.open(other.local_peer, "/who/1", deadline_s=DEADLINE_S)).aclose()
        await done.wait()
        assert seen == [one.local_peer, "/who/1"]


async def test_unknown_protocol_is_said_so(opener: Opener) -> None:
    async with two(opener) as (one, other):
        await one.connect(other.addresses()[0], deadline_s=DEADLINE_S)
        with pytest.raises(ProtocolUnsupported):
            await one.open(other.local_peer, "/nobody/1", deadline_s=DEADLINE_S)


async def test_reset_is_seen_by_the_peer(opener: Opener) -> None:
    async with two(opener) as (one, other):
        broken = trio.Event()

        async def handler(stream: Stream) -> None:
            await stream.send_all(b"hello")
            with pytest.raises(trio.BrokenResourceError):
                await receive_all(stream)
            broken.set()

        other.serve("/wait/1", handler)
        await one.connect(other.addresses()[0], deadline_s=DEADLINE_S)
        stream = await one.open(other.local_peer, "/wait/1", deadline_s=DEADLINE_S)
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
        await one.connect(other.addresses()[0], deadline_s=DEADLINE_S)
        stream = await one.open(other.local_peer, "/fail/1", deadline_s=DEADLINE_S)
        await stream.send_all(b"now")
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()
        good = await one.open(other.local_peer, "/echo/1", deadline_s=DEADLINE_S)
        await good.send_all(b"still there")
        assert await good.receive_some() == b"still there"
        assert other.health().handler_errors == 1


async def test_receive_after_the_end_stays_the_end(opener: Opener) -> None:
    async with two(opener) as (one, other):
        other.serve("/echo/1", echo)
        stream = await open_to(one, other, "/echo/1")
        await stream.send_eof()
        assert [await stream.receive_some() for _ in range(3)] == [b"", b"", b""]
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(b"after our own end")


async def test_peer_may_send_after_our_end(opener: Opener) -> None:
    async with two(opener) as (one, other):

        async def answer(stream: Stream) -> None:
            await stream.send_all(b"you said " + await receive_all(stream))

        other.serve("/answer/1", answer)
        stream = await open_to(one, other, "/answer/1")
        await stream.send_all(b"hello")
        await stream.send_eof()
        assert await receive_all(stream) == b"you said hello"


async def test_receive_some_gives_at_most_what_was_asked(opener: Opener) -> None:
    async with two(opener) as (one, other):
        other.serve("/echo/1", echo)
        stream = await open_to(one, other, "/echo/1")
        await stream.send_all(b"abcdef")
        received = b""
        while len(received) < 6:
            part = await stream.receive_some(2)
            assert 0 < len(part) <= 2
            received += part
        assert received == b"abcdef"
        with pytest.raises(ValueError):
            await stream.receive_some(0)


async def test_stalled_writer_fails_by_its_deadline_and_the_peer_sees_a_reset(opener: Opener) -> None:
    reset_seen = trio.Event()

    async def sleepy(stream: Stream) -> None:
        await go_on.wait()
        with pytest.raises(trio.BrokenResourceError):
            await receive_all(stream)
        reset_seen.set()

    go_on = trio.Event()
    async with two(opener, NetLimits(write_stall_s=0.2)) as (one, other):
        other.serve("/sleepy/1", sleepy)
        stream = await open_to(one, other, "/sleepy/1")
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(bytes(5_000_000))
        go_on.set()
        await reset_seen.wait()


async def test_cancelled_send_breaks_its_stream_only(opener: Opener) -> None:
    ends: list[str] = []
    done = trio.Event()

    async def slow(stream: Stream) -> None:
        await done.wait()
        try:
            await receive_all(stream)
            ends.append("end")
        except trio.BrokenResourceError:
            ends.append("reset")
        finally:
            seen.set()

    seen = trio.Event()
    async with two(opener) as (one, other):
        other.serve("/slow/1", slow)
        other.serve("/echo/1", echo)
        stream = await open_to(one, other, "/slow/1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, bytes(5_000_000))
            await trio.testing.wait_all_tasks_blocked(0.05)  # it has begun, and cannot end
            nursery.cancel_scope.cancel()
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(b"more")
        await stream.aclose()
        done.set()
        await seen.wait()
        assert ends == ["reset"]  # never an orderly end of what was cut off
        good = await one.open(other.local_peer, "/echo/1", deadline_s=DEADLINE_S)
        await good.send_all(b"fine")
        assert await good.receive_some() == b"fine"
        assert one.health().connections == 1


async def test_cancelled_receive_loses_nothing(opener: Opener) -> None:
    async with two(opener) as (one, other):
        other.serve("/echo/1", echo)
        stream = await open_to(one, other, "/echo/1")
        for _ in range(3):
            with trio.move_on_after(0.01):
                await stream.receive_some()
        await stream.send_all(b"all here")
        assert await stream.receive_some() == b"all here"


async def test_closed_stream_is_closed_here_and_ended_there(opener: Opener) -> None:
    heard: list[bytes] = []
    done = trio.Event()

    async def listen(stream: Stream) -> None:
        heard.append(await receive_all(stream))
        done.set()

    async with two(opener) as (one, other):
        other.serve("/listen/1", listen)
        stream = await open_to(one, other, "/listen/1")
        await stream.send_all(b"all of it")
        await stream.aclose()
        await stream.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await stream.receive_some()
        with pytest.raises(trio.ClosedResourceError):
            await stream.send_all(b"x")
        await done.wait()
        assert heard == [b"all of it"]


async def test_close_wakes_a_waiting_task(opener: Opener) -> None:
    async with two(opener) as (one, other):
        other.serve("/echo/1", echo)
        stream = await open_to(one, other, "/echo/1")
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await stream.receive_some()

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            await stream.aclose()


async def test_two_tasks_in_one_direction_are_refused(opener: Opener) -> None:
    async with two(opener) as (one, other):
        other.serve("/echo/1", echo)
        stream = await open_to(one, other, "/echo/1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.receive_some)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await stream.receive_some()
            nursery.cancel_scope.cancel()


async def test_lost_connection_breaks_streams_on_both_sides(opener: Opener) -> None:
    broken = trio.Event()

    async def listen(stream: Stream) -> None:
        await stream.send_all(b"here")
        with pytest.raises(trio.BrokenResourceError):
            await receive_all(stream)
        broken.set()

    async with two(opener) as (one, other):
        other.serve("/listen/1", listen)
        stream = await open_to(one, other, "/listen/1")
        assert await stream.receive_some() == b"here"
        await one.disconnect(other.local_peer)
        with pytest.raises(trio.BrokenResourceError):
            await receive_all(stream)
        await broken.wait()
        again = await open_to(one, other, "/listen/1")
        assert await again.receive_some() == b"here"


async def test_many_streams_at_once(opener: Opener) -> None:
    async with two(opener) as (one, other):
        other.serve("/echo/1", echo)
        await one.connect(other.addresses()[0], deadline_s=DEADLINE_S)

        async def talk(number: int) -> None:
            stream = await one.open(other.local_peer, "/echo/1", deadline_s=DEADLINE_S)
            sent = bytes([number]) * 10_000
            await stream.send_all(sent)
            await stream.send_eof()
            assert await receive_all(stream) == sent
            await stream.aclose()

        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(talk, number)
        assert one.health().streams == 0
