"""Limits on what one address may ask for, alone and over real sockets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from node.gateway.http1 import Request
from node.gateway.limits import Limits
from node.gateway.proxies import TrustedProxies
from node.gateway.rates import RequestRates
from node.gateway.response import Response
from tests.unit.gateway.http_client import Client, fetch
from tests.unit.gateway.test_server import GET, Running, connected, echo, serving, until

PROXY = TrustedProxies(["127.0.0.1"])


@given(st.lists(st.tuples(st.floats(0, 2), st.integers(0, 5)), max_size=200), st.integers(1, 20), st.floats(1, 5))
def test_no_key_gets_more_than_its_rate_and_its_burst(
    asks: list[tuple[float, int]], per_s: int, burst_s: float
) -> None:
    rates, now_s, allowed = RequestRates(per_s, burst_s, keys_max=100), 0.0, dict.fromkeys(range(6), 0)
    for pause_s, key in asks:
        now_s += pause_s
        wait_s = rates.take(str(key), now_s)
        if wait_s:
            now_s += wait_s + 1e-6
            assert rates.take(str(key), now_s) == 0
        allowed[key] += 1
        assert allowed[key] <= per_s * (now_s + burst_s) + 1e-3


def test_the_table_of_addresses_is_bounded_and_forgets_who_asked_longest_ago() -> None:
    rates = RequestRates(1, 1.0, keys_max=3)
    for key in "abcda":
        assert rates.take(key, 0.0) == 0
    assert len(rates) == 3
    assert rates.take("d", 0.0) > 0


def test_no_rate_is_no_limit() -> None:
    rates = RequestRates(0, 10.0, keys_max=3)
    assert all(rates.take("a", 0.0) == 0 for _ in range(10_000))


def by_proxy(address: str) -> list[tuple[str, str]]:
    return [("X-Forwarded-For", address)]


async def test_requests_that_come_too_fast_are_429_and_the_connection_ends() -> None:
    limits = Limits(limit_loopback=True, address_requests_per_s=1, address_burst_s=4.0)
    async with serving(limits=limits) as running:
        async with connected(running) as client:
            await client.send(b"".join(GET % n for n in range(5)))
            assert [(await client.answer()).status for _ in range(3)] == [200] * 3
            answer = await client.answer()
            assert answer.status == 429
            assert 1 <= int(answer.headers["retry-after"]) <= 2
            assert await client.ends() == b""
        assert (await fetch(running.port, "/", "a")).status == 429
        assert running.server.stats.limited == 1
        assert running.server.stats.rejected == 1


async def test_behind_a_proxy_each_reader_is_counted_alone() -> None:
    limits = Limits(address_requests_per_s=1, address_burst_s=3.0)
    async with serving(limits=limits, proxies=PROXY) as running:

        async def ask(address: str) -> int:
            return (await fetch(running.port, "/", "a", headers=by_proxy(address))).status

        assert [await ask("192.0.2.1") for _ in range(4)] == [200, 200, 200, 429]
        assert await ask("evil, 192.0.2.1") == 429
        assert await ask("192.0.2.2") == 200
        one_network = [f"2001:db8:1:2::{n:x}" for n in range(1, 5)]
        assert [await ask(address) for address in one_network] == [200, 200, 200, 429]
        assert await ask("2001:db8:1:3::1") == 200


async def test_who_is_no_proxy_cannot_pass_for_others() -> None:
    limits = Limits(limit_loopback=True, address_requests_per_s=1, address_burst_s=4.0)
    async with serving(limits=limits) as running, connected(running) as client:
        for n, status in enumerate((200, 200, 200, 429)):
            answer = await client.ask("/", "a", headers=by_proxy(f"192.0.2.{n}"))
            assert answer.status == status


async def test_slow_answers_to_one_reader_behind_a_proxy_leave_room_for_others() -> None:
    slow = Slow()
    limits = Limits(connections_max=10, address_connections_max=2)
    async with serving(slow.answer, limits, proxies=PROXY) as running, trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(slow.ask, running, "192.0.2.1")
        await until(lambda: slow.waiting == 2)
        assert (await fetch(running.port, "/", "a", headers=by_proxy("192.0.2.1"))).status == 429
        assert (await fetch(running.port, "/quick", "a", headers=by_proxy("192.0.2.2"))).status == 200
        slow.go.set()
        await until(lambda: slow.answered == 2)
        assert (await fetch(running.port, "/", "a", headers=by_proxy("192.0.2.1"))).status == 200


class Slow:
    """A handler that waits."""

    def __init__(self) -> None:
        self.go = trio.Event()
        self.waiting = self.answered = 0

    async def answer(self, request: Request) -> Response:
        if request.target != "/quick":
            self.waiting += 1
            await self.go.wait()
        return await echo(request)

    async def ask(self, running: Running, address: str) -> None:
        assert (await fetch(running.port, "/", "a", headers=by_proxy(address))).status == 200
        self.answered += 1


async def from_address(port: int, address: str) -> Client:
    """Another machine, as far as the server sees: all of 127/8 is here."""
    sock = trio.socket.socket()
    await sock.bind((address, 0))
    await sock.connect(("127.0.0.1", port))
    return Client(sock)


@pytest.mark.parametrize("begin", [b"", b"GET / HTTP/1.1\r\nHo", GET % 1])
async def test_a_flood_from_few_addresses_does_not_lock_others_out(begin: bytes) -> None:
    """Silent connections, unfinished heads, and requests whose answers take for ever."""
    slow = Slow()
    handler: Callable[[Request], Awaitable[Response]] = slow.answer
    limits = Limits(connections_max=40, address_connections_max=20, limit_loopback=True)
    async with serving(handler, limits) as running:
        flood = [await from_address(running.port, f"127.0.0.{2 + n % 2}") for n in range(60)]
        for client in flood:
            with suppress(OSError):  # it is refused already
                await client.send(begin)
        await until(lambda: running.server.stats.accepted == 60)
        for n in range(10, 14):
            other = await from_address(running.port, f"127.0.0.{n}")
            with other.sock, trio.fail_after(5):
                assert (await other.ask("/quick", "a")).status == 200
        assert running.server.stats.connections <= 40
        for client in flood:
            client.sock.close()
