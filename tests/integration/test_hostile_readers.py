"""Hostile readers at a real worker: each request gets its exact answer, or a cut within its deadline.

Meanwhile another reader is served, and the worker's memory stays within its bound.
"""

from __future__ import annotations

import random
import resource
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio

from node.gateway.limits import Limits
from protocol.site_id import SiteId
from tests.integration.test_gateway_workers import Gateway, running_gateway, until
from tests.unit.gateway.http_client import Client, connect
from tests.unit.gateway.nodes import new_key
from tests.unit.gateway.sites import publish

pytestmark = pytest.mark.integration

MIB = 1024 * 1024
LIMITS = Limits(idle_s=2.0, head_s=1.0, stall_s=1.0, total_s=2.0, slowest_bytes_per_s=64 * MIB, alone_s=1.0)
SLACK_S = 8.0  # two cores are shared with whatever else runs
MEMORY_MAX_BYTES = 200 * MIB

CLOSED, RESET, OPEN = "closed", "reset", "open"


def get(target: str | bytes = "/", *lines: str, version: str = "HTTP/1.1") -> bytes:
    """`SITE` in it stands for the site's host."""
    path = target if isinstance(target, bytes) else target.encode("latin-1")
    head = "\r\n".join([f" {version}", "Host: SITE", *lines, "", ""]).encode("latin-1")
    return b"GET " + path + head


@dataclass(frozen=True)
class Case:
    """What is sent, at once or drop by drop; the statuses that come, and how it ends within how long."""

    sent: bytes
    statuses: list[int]
    end: str = CLOSED
    within_s: float = 1.0
    drip: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    stall: bool = False


RANGE_BOMB = "Range: bytes=" + ",".join(f"{n}-" for n in range(900))
OVERLAPS = "Range: bytes=" + ",".join(["0-"] * 1500)

CASES: dict[str, Case] = {
    # Slow ones
    "nothing at all": Case(b"", [], within_s=2.0),
    "half a head": Case(b"GET / HTTP/1.1\r\nHo", [408], within_s=1.0),
    "a head in drops": Case(b"GET / HTTP/1.1\r\n", [408], within_s=1.0, drip=b"X"),
    "headers without an end, slowly": Case(b"GET / HTTP/1.1\r\n", [408], within_s=1.0, drip=b"A: b\r\n"),
    "a body in drops": Case(get("/", "Content-Length: 100"), [413], drip=b"x"),
    "a report's body in drops": Case(
        b"POST /.well-known/fednode/reports HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n",
        [408],
        within_s=1.0,
        drip=b"x",
    ),
    "a reader that stalls": Case(get("/big.bin"), [200], RESET, within_s=1.0, stall=True),
    "stalled behind small answers": Case(get("/index.html") * 3 + get("/big.bin"), [200], RESET, 1.0, stall=True),
    # Too much
    "thousands of headers": Case(b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 5000, [431]),
    "101 headers": Case(get("/", *["A: b"] * 100), [431]),
    "a header of 1 MiB": Case(b"GET / HTTP/1.1\r\nA: " + b"b" * MIB, [431]),
    "a header name of 1 MiB": Case(b"GET / HTTP/1.1\r\n" + b"b" * MIB, [431]),
    "a request line of 1 MiB": Case(b"GET /" + b"a" * MIB, [414]),
    "a request line of 9 KiB": Case(get("/" + "a" * 9000), [414]),
    "bytes without an end": Case(random.Random(1).randbytes(MIB).replace(b"\n", b"").replace(b"\0", b""), [414]),
    "257 names in a path": Case(get("/a" * 257), [404], OPEN),
    # Malformed
    "bare LF": Case(b"GET / HTTP/1.1\nHost: SITE\n\n", [400]),
    "bare LF in a header": Case(get("/", "A: b\nC: d"), [400]),
    "bare CR in a header": Case(get("/", "A: b\rC: d"), [400]),
    "obs-fold": Case(get("/", "A: b", " c"), [400]),
    "obs-fold with a tab": Case(get("/", "A: b", "\tc"), [400]),
    "a space before the colon": Case(get("/", "A : b"), [400]),
    "no Host": Case(b"GET / HTTP/1.1\r\n\r\n", [400]),
    "two Hosts": Case(get("/", "Host: SITE"), [400]),
    "a Host that is none": Case(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", [400]),
    "NUL in the path": Case(get("/\0"), [400]),
    "NUL in a header": Case(get("/", "A: \0"), [400]),
    "NUL bytes": Case(bytes(100), [400]),
    "TLS": Case(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), [400]),
    "HTTP/0.9": Case(b"GET /\r\n\r\n", [400]),
    "HTTP/2": Case(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [505]),
    "HTTP/1.2": Case(get("/", version="HTTP/1.2"), [505]),
    "spaces in the path": Case(get("/a b"), [400]),
    "a tab in the request line": Case(b"GET\t/ HTTP/1.1\r\nHost: SITE\r\n\r\n", [400]),
    "a fragment": Case(get("/#a"), [400]),
    "bytes over 127 in the path": Case(get(b"/\xff"), [400]),
    "empty lines for ever": Case(b"\r\n" * 1000, [400]),
    "CONNECT": Case(b"CONNECT SITE:443 HTTP/1.1\r\nHost: SITE\r\n\r\n", [405], headers={"allow": "GET, HEAD"}),
    "TRACE": Case(b"TRACE / HTTP/1.1\r\nHost: SITE\r\n\r\n", [405], headers={"allow": "GET, HEAD"}),
    "a method of 1000 letters": Case(b"A" * 1000 + b" / HTTP/1.1\r\nHost: SITE\r\n\r\n", [400]),
    # Two readings (all of them: tests/unit/gateway/test_smuggling.py)
    "CL.TE": Case(get("/", "Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n" + get("/x"), [400]),
    "TE.CL": Case(get("/", "Transfer-Encoding: chunked", "Content-Length: 5") + b"0\r\n\r\n" + get("/x"), [400]),
    "CL.0": Case(get("/", "Content-Length: 40") + get("/x"), [413]),
    "TE.0": Case(get("/", "Transfer-Encoding: chunked") + b"0\r\n\r\n" + get("/x"), [413]),
    "CL.CL": Case(get("/", "Content-Length: 0", "Content-Length: 9") + get("/x"), [400]),
    "TE.TE": Case(get("/", "Transfer-Encoding: identity", "Transfer-Encoding: chunked") + get("/x"), [413]),
    "a list of lengths": Case(get("/", "Content-Length: 0, 0") + get("/x"), [400]),
    "Transfer_Encoding": Case(get("/", "Transfer_Encoding: chunked") + get("/x"), [400]),
    "an absolute target and another Host": Case(
        get("http://SITE/index.html").replace(b"Host: SITE", b"Host: b"), [200], OPEN
    ),
    # Pipelining
    "100 requests at once": Case(get("/index.html") * 100, [200] * 100, OPEN),
    "good, bad, good": Case(get("/index.html") + b"BAD\r\n\r\n" + get("/index.html"), [200, 400]),
    "close, then more": Case(get("/index.html", "Connection: close") + get("/index.html") * 50, [200]),
    "1.0, then more": Case(get("/index.html", version="HTTP/1.0") + get("/index.html"), [200]),
    # Ways out of the site
    **{
        f"path {target}": Case(get(target), [status], CLOSED if status == 400 else OPEN)
        for target, status in {
            "/../../etc/passwd": 400,
            "/./index.html": 400,
            "/%2e%2e/%2e%2e/etc/passwd": 400,
            "/%2E%2e%2fetc/passwd": 400,
            "/..%2fetc": 400,
            "/.%2e/etc": 400,
            "/a/..": 400,
            "/%00": 400,
            "/index.html%00.png": 400,
            "/%c0%ae%c0%ae/etc": 400,
            "/%c0%af": 400,
            "/%e0%80%ae%e0%80%ae/": 400,
            "/%f0%80%80%ae/": 400,
            "/%ed%a0%80": 400,
            "/%u002e%u002e/": 400,
            "/%": 400,
            "/%2": 400,
            "/%zz": 400,
            "/..%5c..%5cetc": 404,
            "/..\\..\\etc": 404,
            "/%252e%252e/etc": 404,
            "/%ef%bc%8e%ef%bc%8e/etc": 404,
            "/..;/etc": 404,
            "/...": 404,
            "//etc/passwd": 404,
            "///": 200,
            "/ipns/localhost/etc": 404,
        }.items()
    },
    # Ranges
    "900 ranges": Case(get("/index.html", RANGE_BOMB), [200], OPEN, headers={"content-length": "4"}),
    "1500 times the whole": Case(get("/index.html", OVERLAPS), [200], OPEN, headers={"content-length": "4"}),
    "a range of huge numbers": Case(get("/index.html", "Range: bytes=0-" + "9" * 5000), [200], OPEN),
    "a range behind the end": Case(get("/index.html", "Range: bytes=" + "9" * 30 + "-"), [200], OPEN),
    "a range behind the end, in digits": Case(get("/index.html", "Range: bytes=4-"), [416], OPEN),
    "a range of none": Case(get("/index.html", "Range: bytes=-0"), [416], OPEN),
    "a range backwards": Case(get("/index.html", "Range: bytes=3-1"), [200], OPEN),
    "ranges of another unit": Case(get("/index.html", "Range: lines=1-2"), [200], OPEN),
}


@dataclass
class Attacked:
    gateway: Gateway
    host: str

    async def run(self, case: Case) -> None:
        """Raises AssertionError if the worker does not do what the case says."""
        client = await connect(self.gateway.port)
        with client.sock, trio.fail_after(case.within_s + SLACK_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send, client, case.sent.replace(b"SITE", self.host.encode()), case.drip)
                if case.stall:
                    await self.is_reset(client)
                else:
                    await self.check(client, case)
                nursery.cancel_scope.cancel()

    async def check(self, client: Client, case: Case) -> None:
        for status in case.statuses:
            answer = await client.answer()
            assert answer.status == status, answer
            assert case.headers.items() <= answer.headers.items()
        if case.end == OPEN:
            assert (await client.ask("/index.html", self.host)).body == b"here"
        else:
            assert await client.ends() == b""

    async def is_reset(self, client: Client) -> None:
        """Takes nothing until the worker has given up; what is there ends in a reset, so that no cache keeps it."""
        await trio.sleep(LIMITS.stall_s + 2.0)
        assert await self.end_of(client) == "reset"

    async def end_of(self, client: Client) -> str:
        with client.sock:
            try:
                got = await client.ends()
            except ConnectionResetError:
                return "reset"
        return "whole" if len(got) > 64 * MIB else f"{len(got)} bytes and an orderly end"


async def send(client: Client, data: bytes, drip: bytes) -> None:
    with suppress(OSError):  # the worker need not wait for the rest of what is hopeless
        await client.send(data)
        while drip:
            await client.send(drip)
            await trio.sleep(0.05)


@asynccontextmanager
async def attacked(directory: Path, limits: Limits) -> AsyncIterator[Attacked]:
    async with running_gateway(directory, limits=limits) as gateway:
        key = new_key()
        big = b"".join(bytes([n]) * MIB for n in range(64))
        publish(gateway.store, key, {"index.html": b"here", "big.bin": big})
        yield Attacked(gateway, f"{SiteId.of(key)}.ipns.localhost")


def say(text: str) -> None:
    """For whoever runs it with -s."""
    sys.stderr.write(f"\n{text}\n")


def memory_bytes(pid: int) -> int:
    """What the process has had in memory at most."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


async def read_on(port: int, host: str, worst_s: list[float]) -> None:
    """Another reader; every answer has to be right."""
    while True:
        began_s = time.monotonic()
        client = await connect(port)
        with client.sock:
            assert (await client.ask("/index.html", host)).body == b"here"
        worst_s.append(time.monotonic() - began_s)
        await trio.sleep(0.02)


async def test_every_hostile_request_gets_its_answer_or_a_cut_in_time(tmp_path: Path) -> None:
    async with attacked(tmp_path, LIMITS) as target:
        wrong: list[str] = []
        others: list[float] = []

        async def run(name: str, case: Case) -> None:
            try:
                await target.run(case)
            except BaseExceptionGroup as group:
                wrong.append(f"{name}: {group.exceptions[0]!r}")
            except (AssertionError, OSError, EOFError, trio.TooSlowError) as error:
                wrong.append(f"{name}: {error!r}")

        (pid,) = target.gateway.pids
        async with trio.open_nursery() as reading:
            reading.start_soon(read_on, target.gateway.port, target.host, others)
            async with trio.open_nursery() as attacks:
                for name, case in CASES.items():
                    attacks.start_soon(run, name, case)
            reading.cancel_scope.cancel()
        used = memory_bytes(pid)
        say(f"{len(CASES)} attacks; the slowest of {len(others)} other answers {max(others):.2f} s; {used >> 20} MiB")
        assert not wrong, "\n".join(wrong)
        assert max(others) < SLACK_S
        assert used < MEMORY_MAX_BYTES
        assert target.gateway.pids == [pid]


async def test_many_stalled_readers_cost_little_memory_and_are_cut(tmp_path: Path) -> None:
    async with attacked(tmp_path, LIMITS) as target:
        (pid,) = target.gateway.pids
        clients = [await connect(target.gateway.port) for _ in range(200)]
        for client in clients:
            await client.send(get("/big.bin").replace(b"SITE", target.host.encode()))
        others: list[float] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_on, target.gateway.port, target.host, others)
            await trio.sleep(LIMITS.stall_s + 2.0)
            await until(lambda: bool(others))
            nursery.cancel_scope.cancel()
        ends = [await target.end_of(client) for client in clients]
        assert ends.count("reset") > 100
        assert set(ends) <= {"reset", "whole"}  # a late one may still have been in time
        used = memory_bytes(pid)
        say(f"200 stalled readers of 64 MiB: {used >> 20} MiB; the slowest of others' answers {max(others):.2f} s")
        assert used < 2 * MEMORY_MAX_BYTES


IDLE = 10_000


def raise_file_limit(count: int) -> bool:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        return False
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    return True


@pytest.mark.parametrize("connections_max", [12_000, Limits().connections_max])
async def test_ten_thousand_idle_connections_leave_room_for_readers(tmp_path: Path, connections_max: int) -> None:
    """Kept as far as the operator wants; beyond, the longest idle gives way."""
    if not raise_file_limit(IDLE + 1000):
        pytest.skip(f"needs a limit of open files of {IDLE + 1000} (ulimit -Hn)")
    async with attacked(tmp_path, Limits(connections_max=connections_max)) as target:
        (pid,) = target.gateway.pids
        before = memory_bytes(pid)
        clients: list[Client] = []
        try:
            for _ in range(IDLE):
                clients.append(await connect(target.gateway.port))
            for _ in range(20):
                client = await connect(target.gateway.port)
                with client.sock, trio.fail_after(SLACK_S):
                    assert (await client.ask("/index.html", target.host)).body == b"here"
            used = memory_bytes(pid) - before
            kept = min(IDLE, connections_max)
            say(f"{IDLE} idle connections, {kept} kept: {used >> 20} MiB more, {used // kept} bytes each")
            assert used < 40 * 1024 * kept
        finally:
            for client in clients:
                client.sock.close()
