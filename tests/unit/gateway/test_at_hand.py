"""Answers that are at hand: given without a task, with the same order, limits and counts as those that are made."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from functools import partial

import pytest
import trio
import trio.testing

from node.gateway.http1 import BadRequest, Request
from node.gateway.idle_poll import TURNS_MAX, IdlePoll
from node.gateway.limits import Limits
from node.gateway.proxies import TrustedProxies
from node.gateway.response import Response
from tests.unit.gateway.http_client import Client, connect
from tests.unit.gateway.nodes import Node, new_key
from tests.unit.gateway.test_server import Running, connected, serving

MIB = 1024 * 1024


class Hand:
    """Has answers for some targets."""

    def __init__(self, **answers: bytes) -> None:
        self.answers = {f"/{name}": body for name, body in answers.items()}
        self.given = 0

    def begin_round(self) -> None:
        pass

    def answer(self, request: Request) -> Response | None:
        body = self.answers.get(request.target)
        if body is None:
            return None
        self.given += 1
        return Response(200, [("Content-Type", "text/plain")], body)


async def made(request: Request) -> Response:
    return Response(200, [], b"made " + request.target.encode())


async def test_what_is_at_hand_is_not_made_and_what_is_not_is() -> None:
    hand = Hand(a=b"at hand")
    async with serving(made, at_hand=hand) as running, connected(running) as client:
        for _ in range(3):
            assert (await client.ask("/a", "x")).body == b"at hand"
            assert (await client.ask("/b", "x")).body == b"made /b"
        assert hand.given == 3
        assert running.server.stats.requests == 6
        assert running.server.counters.as_flat()["answers_2xx"] == 6


async def test_a_head_in_two_parts_and_pipelined_heads_are_answered_in_order() -> None:
    hand = Hand(a=b"at hand")
    get = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"
    async with serving(made, at_hand=hand) as running, connected(running) as client:
        await client.send(get[:9] % b"a")
        await trio.testing.wait_all_tasks_blocked(0.01)
        await client.send((get % b"a")[8:])
        assert (await client.answer()).body == b"made /a"  # its task has waited for the rest
        await client.send(get % b"a" + get % b"b" + get % b"a")
        bodies = [(await client.answer()).body.removeprefix(b"made ") for _ in range(3)]
        assert [body.replace(b"at hand", b"/a") for body in bodies] == [b"/a", b"/b", b"/a"]
        assert (await client.ask("/a", "x")).body == b"at hand"


@pytest.mark.parametrize("head", [b"GET /a HTTP/1.1\r\n\r\n", b"GET /a\r\n\r\n", b"\0"])
async def test_a_request_that_is_none_gets_its_error(head: bytes) -> None:
    async with serving(made, at_hand=Hand(a=b"at hand")) as running, connected(running) as client:
        assert (await client.ask("/a", "x")).body == b"at hand"
        await client.send(head)
        answer = await client.answer()
        assert (answer.status, answer.headers["connection"]) == (400, "close")
        assert await client.ends() == b""


async def test_a_close_is_answered_and_the_connection_ends() -> None:
    async with serving(made, at_hand=Hand(a=b"at hand")) as running, connected(running) as client:
        answer = await client.ask("/a", "x", headers=[("Connection", "close")])
        assert answer.headers["connection"] == "close"
        assert await client.ends() == b""


async def narrow(running: Running) -> Client:
    """Takes little at a time."""
    sock = trio.socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await sock.connect(("127.0.0.1", running.port))
    return Client(sock)


async def test_an_answer_that_is_not_taken_at_once_comes_whole_and_is_counted_once() -> None:
    body = bytes(range(256)) * (64 * 1024)
    async with serving(made, at_hand=Hand(a=body, b=b"small")) as running:
        client = await narrow(running)
        with client.sock:
            for _ in range(2):
                assert (await client.ask("/a", "x")).body == body
                assert (await client.ask("/b", "x")).body == b"small"
            counts = running.server.counters.as_flat()
            assert counts["answers_2xx"] == 4
            assert counts["sent_bytes"] > 2 * len(body)


async def test_who_does_not_take_it_loses_the_connection(mock_clock: trio.testing.MockClock) -> None:
    limits = Limits()
    async with serving(made, limits, at_hand=Hand(a=bytes(16 * MIB))) as running:
        client = await narrow(running)
        with client.sock:
            await client.send(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
            await client.sock.recv(1)
            await trio.testing.wait_all_tasks_blocked(0.01)
            mock_clock.jump(limits.stall_s + 1)
            with pytest.raises(ConnectionResetError):
                await client.ends()


async def test_a_connection_that_is_used_stays_open_and_one_that_is_not_ends(
    mock_clock: trio.testing.MockClock,
) -> None:
    limits = Limits()
    async with serving(made, limits, at_hand=Hand(a=b"at hand")) as running, connected(running) as client:
        for _ in range(3):
            assert (await client.ask("/a", "x")).body == b"at hand"
            mock_clock.jump(0.7 * limits.idle_s)
        await trio.testing.wait_all_tasks_blocked()
        assert (await client.ask("/a", "x")).body == b"at hand"
        mock_clock.jump(1.1 * limits.idle_s)
        assert await client.ends() == b""


async def test_each_reader_behind_a_proxy_has_its_rate() -> None:
    hand = Hand(a=b"at hand")
    limits = Limits(address_requests_per_s=1, address_burst_s=2.0)
    async with serving(made, limits, TrustedProxies(["127.0.0.1"]), hand) as running, connected(running) as client:
        for address in ("192.0.2.1", "192.0.2.2"):
            for _ in range(2):
                answer = await client.ask("/a", "x", headers=[("X-Forwarded-For", address)])
                assert answer.body == b"at hand"
        answer = await client.ask("/a", "x", headers=[("X-Forwarded-For", "192.0.2.1")])
        assert answer.status == 429
        assert int(answer.headers["retry-after"]) >= 1
        assert await client.ends() == b""
        assert running.server.stats.limited == 1


async def test_a_fault_of_ours_ends_one_connection(caplog: pytest.LogCaptureFixture) -> None:
    hand = Hand(a=b"at hand", bad=b"")

    def answer(request: Request, given: Callable[[Request], Response | None] = hand.answer) -> Response | None:
        if request.target == "/bad":
            raise ZeroDivisionError("a bug")
        return given(request)

    hand.answer = answer  # type: ignore[method-assign]
    async with serving(made, at_hand=hand) as running, connected(running) as client, connected(running) as other:
        await client.send(b"GET /bad HTTP/1.1\r\nHost: x\r\n\r\n")
        with pytest.raises((ConnectionResetError, EOFError)):
            await client.answer()
        assert (await other.ask("/a", "x")).body == b"at hand"
        assert running.server.stats.failed == 1
    assert "serving a reader failed" in caplog.text


async def test_a_kept_answer_is_given_on_the_same_connection_until_a_rule_or_a_release_comes(node: Node) -> None:
    key = new_key()
    site, built = node.publish(key, {"index.html": b"one"})
    asked = 0
    given = node.app.at_hand.answer

    def count(request: Request) -> Response | None:
        nonlocal asked
        response = given(request)
        asked += response is not None
        return response

    node.app.at_hand.answer = count  # type: ignore[method-assign]
    client = await node.connect()
    with client.sock:
        for _ in range(3):
            assert (await client.ask("/", node.origin(site))).body == b"one"
        assert asked == 2
        rule = node.block(built.cids["index.html"])
        assert (await client.ask("/", node.origin(site))).status == 410
        node.store.remove_rule(rule)
        for _ in range(2):
            assert (await client.ask("/", node.origin(site))).body == b"one"
        assert asked == 3
        node.publish(key, {"index.html": b"two"}, seq=2)
        assert (await client.ask("/", node.origin(site))).body == b"two"


@pytest.fixture
async def pair() -> AsyncIterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


async def test_the_poll_raises_what_its_caller_raises_and_forgets_who_was_cancelled(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    poll = IdlePoll()

    def fail() -> bool:
        raise BadRequest(400, "no")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(poll.run)
        with trio.move_on_after(0):
            await poll.wait(ours, fail)
        theirs.send(b"x")
        with pytest.raises(BadRequest):
            await poll.wait(ours, fail)
        await poll.wait(ours, lambda: not ours.recv(1))
        nursery.cancel_scope.cancel()


async def test_a_crowd_of_readers_is_served_over_several_rounds() -> None:
    hand = Hand(a=b"at hand")

    async def ask(running: Running) -> None:
        client = await connect(running.port)
        with client.sock:
            for _ in range(5):
                assert (await client.ask("/a", "x")).body == b"at hand"

    async with serving(made, at_hand=hand) as running:
        async with trio.open_nursery() as nursery:
            for _ in range(2 * TURNS_MAX):
                nursery.start_soon(ask, running)
        assert hand.given == 10 * TURNS_MAX


async def test_what_arrives_together_is_given_out_in_one_round_and_the_next_round_comes_before_what_follows() -> None:
    told: list[str] = []
    poll = IdlePoll(lambda: told.append("round"))

    async def wait(sock: socket.socket, name: str, *, task_status: trio.TaskStatus[None]) -> None:
        def on_readable() -> bool:
            told.append(name)
            return sock.recv(1) != b"."

        task_status.started()
        await poll.wait(sock, on_readable)

    pairs = [socket.socketpair() for _ in range(2)]
    try:
        async with trio.open_nursery() as nursery:
            for (ours, _), name in zip(pairs, "ab", strict=True):
                ours.setblocking(False)
                await nursery.start(partial(wait, ours, name))
            await trio.testing.wait_all_tasks_blocked()
            for letter in (b"x", b"."):
                for _, theirs in pairs:
                    theirs.send(letter)
                if letter == b"x":
                    nursery.start_soon(poll.run)
                    await trio.testing.wait_all_tasks_blocked(0.01)
            await trio.testing.wait_all_tasks_blocked(0.01)
            nursery.cancel_scope.cancel()
    finally:
        for sock in (sock for pair in pairs for sock in pair):
            sock.close()
    assert told[0] == told[3] == "round"
    assert sorted(told[1:3]) == sorted(told[4:]) == ["a", "b"]
