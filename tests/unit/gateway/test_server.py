"""The server over real sockets: good readers, slow ones, hostile ones, too many of them."""

from __future__ import annotations

import logging
import os
import resource
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import pytest
import trio

from node.gateway.failures import bad_request
from node.gateway.http1 import BadRequest, Request
from node.gateway.limits import Limits
from node.gateway.pages import Self
from node.gateway.proxies import TrustedProxies
from node.gateway.rates import address_key
from node.gateway.response import BodyCut, Response
from node.gateway.server import AtHand, HttpServer
from tests.unit.gateway.http_client import Client, connect, fetch

MIB = 1024 * 1024


class Pieces:
    """A body of given pieces; BodyCut where `fails`, and never an end where `hangs`."""

    def __init__(self, pieces: list[bytes], length: int | None = None, *, hangs: bool = False) -> None:
        self.length = sum(map(len, pieces)) if length is None else length
        self._pieces = list(pieces)
        self._hangs = hangs
        self.abort: Callable[[], None] = lambda: None

    async def next_piece(self) -> bytes:
        if self._pieces:
            return self._pieces.pop(0)
        if self._hangs:
            await trio.sleep_forever()
        raise BodyCut("no more")

    def on_abort(self, abort: Callable[[], None]) -> None:
        self.abort = abort


async def echo(request: Request) -> Response:
    return Response(200, [("Content-Type", "text/plain")], f"{request.method} {request.target}".encode())


def error_page(error: BadRequest) -> Response:
    return bad_request(error, Self("test", ""))


@dataclass
class Running:
    port: int
    server: HttpServer
    stopped: trio.Event


@asynccontextmanager
async def serving(
    handler: Callable[[Request], Awaitable[Response]] = echo,
    limits: Limits | None = None,
    proxies: TrustedProxies | None = None,
    at_hand: AtHand | None = None,
) -> AsyncIterator[Running]:
    listener = trio.socket.socket()
    await listener.bind(("127.0.0.1", 0))
    listener.listen(100)
    server = HttpServer(handler, error_page, limits or Limits(), proxies=proxies, at_hand=at_hand)
    running = Running(listener.getsockname()[1], server, trio.Event())

    async def run(*, task_status: trio.TaskStatus[None]) -> None:
        await server.serve([listener], task_status=task_status)
        running.stopped.set()

    with listener:
        async with trio.open_nursery() as nursery:
            await nursery.start(run)
            yield running
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def connected(running: Running) -> AsyncIterator[Client]:
    client = await connect(running.port)
    with client.sock:
        yield client


GET = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"


async def test_a_connection_serves_many_requests() -> None:
    async with serving() as running, connected(running) as client:
        for _ in range(3):
            answer = await client.ask("/x", "a")
            assert (answer.status, answer.body) == (200, b"GET /x")
            assert "connection" not in answer.headers
            assert "date" in answer.headers
        head = await client.ask("/x", "a", method="HEAD")
        assert (head.headers["content-length"], head.body) == ("7", b"")
        assert running.server.stats.requests == 4
        assert running.server.stats.connections == 1


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with serving() as running, connected(running) as client:
        await client.send(b"".join(GET % n for n in range(50)))
        for n in range(50):
            assert (await client.answer()).body == b"GET /%d" % n


async def test_a_request_in_single_bytes() -> None:
    async with serving() as running, connected(running) as client:
        for at in range(len(GET % 1)):
            await client.send((GET % 1)[at : at + 1])
        assert (await client.answer()).body == b"GET /1"


async def test_close_is_answered_and_done() -> None:
    for raw in (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"):
        async with serving() as running, connected(running) as client:
            await client.send(raw + GET % 2)
            answer = await client.answer()
            assert answer.headers["connection"] == "close"
            assert await client.ends() == b""


async def test_a_reader_that_closes_its_side_still_gets_its_answer() -> None:
    async with serving() as running, connected(running) as client:
        await client.send(GET % 1)
        client.sock.shutdown(socket.SHUT_WR)
        assert (await client.answer()).body == b"GET /1"
        assert await client.ends() == b""


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"\x16\x03\x01\x00\x00\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody", 413),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody", 405),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 3000, 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 101 + b"\r\n", 431),
        (b"GET / HTTP/3.0\r\n\r\n", 505),
    ],
)
async def test_what_is_no_request_is_told_so_and_closed(raw: bytes, status: int) -> None:
    async with serving() as running, connected(running) as client:
        await client.send(GET % 1 + raw)
        assert (await client.answer()).status == 200
        answer = await client.answer()
        assert answer.status == status
        assert answer.headers["connection"] == "close"
        if status == 405:
            assert answer.headers["allow"] == "GET, HEAD"
        assert await client.ends() == b""


async def test_an_error_that_the_handler_finds_has_no_body_for_head() -> None:
    async def refuse(_: Request) -> Response:
        raise BadRequest(400, "no such path")

    async with serving(refuse) as running, connected(running) as client:
        answer = await client.ask("/x", "a", method="HEAD")
        assert (answer.status, answer.headers["connection"]) == (400, "close")
        assert await client.ends() == b""


async def test_a_refused_body_does_not_swallow_the_answer() -> None:
    async with serving() as running, connected(running) as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n")
        await client.send(bytes(60000))
        assert (await client.answer()).status == 405


async def test_a_head_that_does_not_come_is_told_so() -> None:
    async with serving(limits=Limits(head_s=0.1)) as running, connected(running) as client:
        await client.send(b"GET / HTTP/1.1\r\nHo")
        with trio.fail_after(5):
            assert (await client.answer()).status == 408
            assert await client.ends() == b""


async def test_dripping_does_not_stretch_the_deadline_of_a_head() -> None:
    async with (
        serving(limits=Limits(head_s=0.3)) as running,
        connected(running) as client,
        trio.open_nursery() as nursery,
    ):

        async def drip() -> None:
            with suppress(OSError):
                while True:
                    await client.send(b"X")
                    await trio.sleep(0.05)

        nursery.start_soon(drip)
        with trio.fail_after(5):
            assert (await client.answer()).status == 408
        nursery.cancel_scope.cancel()


async def test_idle_connections_are_closed_without_a_word() -> None:
    limits = Limits(idle_s=0.1)
    async with serving(limits=limits) as running, connected(running) as silent, connected(running) as done:
        await done.ask("/", "a")
        with trio.fail_after(5):
            assert await silent.ends() == b""
            assert await done.ends() == b""


async def big(_: Request) -> Response:
    return Response(200, [], Pieces([bytes(MIB)] * 64))


async def is_reset(client: Client) -> bool:
    """Reads to the end: True for a reset, False for a close."""
    try:
        await client.ends()
    except ConnectionResetError:
        return True
    return False


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(5):
        while True:
            if condition():
                return
            await trio.sleep(0.01)


async def test_a_reader_that_stops_reading_is_reset() -> None:
    async with serving(big, Limits(stall_s=0.2)) as running, connected(running) as client:
        await client.send(GET % 1)
        stats = running.server.stats
        await until(lambda: stats.requests == 1 and stats.connections == 0)
        assert await is_reset(client)


async def test_a_reader_that_takes_a_bite_now_and_then_is_reset_in_the_end() -> None:
    limits = Limits(stall_s=5, total_s=0.5, slowest_bytes_per_s=10**12)
    async with serving(big, limits) as running, connected(running) as client:
        await client.send(GET % 1)
        stats = running.server.stats
        with trio.fail_after(5):
            while True:
                assert await client.sock.recv(100)
                if stats.requests == 1 and stats.connections == 0:
                    break
                await trio.sleep(0.02)
        assert await is_reset(client)


@pytest.mark.parametrize("pieces", [[b"begin"], [b"begin", b""], [b"x" * 11], [bytes(MIB)]])
async def test_a_body_that_cannot_be_completed_ends_in_a_reset(pieces: list[bytes]) -> None:
    async def cut(_: Request) -> Response:
        return Response(200, [], Pieces(pieces, length=10 if len(pieces[0]) < MIB else 2 * MIB))

    async with serving(cut) as running, connected(running) as client:
        await client.send(GET % 1)
        assert await is_reset(client)


async def test_a_body_may_be_aborted_while_it_is_sent() -> None:
    body = Pieces([b"begin"], length=10, hangs=True)

    async def hanging(_: Request) -> Response:
        return Response(200, [], body)

    async with serving(hanging) as running, connected(running) as client:
        await client.send(GET % 1)
        assert (await client.sock.recv(1000)).startswith(b"HTTP/1.1 200")
        body.abort()
        with trio.fail_after(5):
            assert await is_reset(client)


async def test_a_handler_that_hangs_is_given_up() -> None:
    async def hang(_: Request) -> Response:
        await trio.sleep_forever()
        raise AssertionError

    async with serving(hang, Limits(answer_s=0.1)) as running, connected(running) as client:
        with trio.fail_after(5):
            assert (await client.ask("/", "a")).status == 504


async def test_a_bug_costs_one_answer(caplog: pytest.LogCaptureFixture) -> None:
    async def buggy(request: Request) -> Response:
        if request.target == "/bug":
            raise KeyError("oops")
        if request.target == "/header":
            return Response(200, [("X", "a\r\nY: b")])
        return await echo(request)

    async with serving(buggy) as running:
        async with connected(running) as client:
            assert (await client.ask("/bug", "a")).status == 500
            assert (await client.ask("/", "a")).status == 200
        async with connected(running) as client:
            with pytest.raises((EOFError, ConnectionResetError)):
                await client.ask("/header", "a")
        assert running.server.stats.failed == 2
    assert "oops" in caplog.text
    assert "127.0.0.1" not in caplog.text


async def test_addresses_of_readers_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving(limits=Limits(head_s=0.1)) as running:
        for raw in (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"nonsense\r\n\r\n", b"GET"):
            async with connected(running) as client:
                await client.send(raw)
                await client.answer()
        client = await connect(running.port)
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.sock.close()
        await fetch(running.port, "/", "a")
    assert "127.0.0.1" not in caplog.text


async def test_when_full_the_longest_idle_makes_room() -> None:
    limits = Limits(connections_max=2, address_connections_max=2)
    async with serving(limits=limits) as running, connected(running) as first, connected(running) as second:
        await second.ask("/", "a")
        await first.ask("/", "a")
        assert (await fetch(running.port, "/new", "a")).status == 200
        assert await second.ends() == b""
        assert (await first.ask("/", "a")).status == 200


async def test_when_all_are_busy_the_next_is_told_so() -> None:
    started, release = trio.Event(), trio.Event()

    async def slow(request: Request) -> Response:
        started.set()
        await release.wait()
        return await echo(request)

    limits = Limits(connections_max=1, address_connections_max=1)
    async with serving(slow, limits) as running, connected(running) as busy:
        await busy.send(GET % 1)
        await started.wait()
        answer = await fetch(running.port, "/", "a")
        assert answer.status == 503
        assert answer.headers["retry-after"]
        release.set()
        assert (await busy.answer()).status == 200
        assert running.server.stats.rejected == 1


async def test_one_address_cannot_take_all_connections() -> None:
    limits = Limits(address_connections_max=2, limit_loopback=True)
    async with serving(limits=limits) as running:
        async with connected(running) as one, connected(running) as two:
            await one.ask("/", "a")
            await two.ask("/", "a")
            assert (await fetch(running.port, "/", "a")).status == 429
        await until(lambda: running.server.stats.connections == 0)
        assert (await fetch(running.port, "/", "a")).status == 200


async def test_silent_strangers_beyond_the_limit_are_not_kept() -> None:
    limits = Limits(address_connections_max=1, limit_loopback=True, rejects_max=1)
    async with serving(limits=limits) as running, connected(running) as one:
        await one.ask("/", "a")
        async with connected(running) as first, connected(running) as second:
            with trio.fail_after(5):
                assert await second.ends() == b""
                assert await first.ends() == b""


def test_readers_are_counted_by_address() -> None:
    assert address_key("192.0.2.1") == "192.0.2.1"
    assert address_key("::ffff:192.0.2.1") == "192.0.2.1"
    assert address_key("2001:db8:1:2::1") == address_key("2001:db8:1:2:ffff::9")
    assert address_key("2001:db8:1:2::1") != address_key("2001:db8:1:3::1")
    assert address_key("fe80::1%eth0") == address_key("fe80::2")


async def test_stop_lets_answers_end() -> None:
    started, release = trio.Event(), trio.Event()

    async def slow(request: Request) -> Response:
        started.set()
        await release.wait()
        return await echo(request)

    async with serving(slow, Limits(linger_s=0.1)) as running, connected(running) as idle, connected(running) as busy:
        await busy.send(GET % 1)
        await started.wait()
        running.server.stop()
        assert await idle.ends() == b""
        release.set()
        answer = await busy.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        with trio.fail_after(5):
            await running.stopped.wait()


async def test_stop_does_not_wait_for_readers_that_do_not_read() -> None:
    async with (
        serving(big, Limits(stop_grace_s=0.2)) as running,
        connected(running) as stalled,
        connected(running) as silent,
    ):
        await stalled.send(GET % 1)
        assert await stalled.sock.recv(10)
        await silent.send(b"GET /")
        running.server.stop()
        with trio.fail_after(5):
            await running.stopped.wait()
        assert await is_reset(stalled)
        assert await silent.ends() == b""


async def test_running_out_of_descriptors_is_waited_out(caplog: pytest.LogCaptureFixture) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    late = trio.socket.socket()
    async with serving() as running, connected(running) as early:
        await early.ask("/", "a")
        with late:
            lowest_free = os.dup(0)
            os.close(lowest_free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
            try:
                await late.connect(("127.0.0.1", running.port))
                await until(lambda: "cannot accept" in caplog.text)
                assert (await early.ask("/", "a")).status == 200
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert (await Client(late).ask("/", "a")).status == 200
    assert caplog.text.count("cannot accept") == 1
