"""Workers ask the daemon over a real Unix socket."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from node.admin.unix import SocketPathError
from node.gateway.backend import (
    Backend,
    Certify,
    FetchBlock,
    Identity,
    Resolve,
    Unavailable,
    decode_answer,
    decode_request,
    encode_failure,
    encode_success,
    frame,
)
from node.gateway.backend_client import BackendClient
from node.gateway.backend_server import serve_backend
from node.gateway.certificate_budget import NEW_PER_HOUR
from protocol import canonical
from protocol.cid import RAW, Cid
from protocol.errors import DecodeError
from protocol.limits import REASON_MAX_CHARS
from protocol.release import SignedRelease
from protocol.site_id import SiteId
from tests.unit.gateway.nodes import new_key
from tests.unit.gateway.sites import build, sign

KEY = new_key()
SIGNED = sign(KEY, build({"a": b"a"}))
CID = Cid.of(RAW, b"a")
ME = Identity("12D3KooWDVgXx4zcLZT6vhXA8m3LVYSum33U5XKfRo65pWHgqJTN", ("/ip4/127.0.0.1/tcp/4101",))


class Daemon:
    """What the daemon knows, and what happened to it."""

    def __init__(self) -> None:
        self.answer: SignedRelease | Exception = SIGNED
        self.fetched: list[tuple[SiteId, Cid]] = []
        self.hang = False
        self.below: int | None = None
        self.asked = trio.Event()
        self.cancelled = trio.Event()

    async def resolve(self, site: SiteId, below: int | None = None) -> SignedRelease:
        self.asked.set()
        self.below = below
        if self.hang:
            try:
                await trio.sleep_forever()
            finally:
                self.cancelled.set()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def fetch_block(self, site: SiteId, cid: Cid) -> None:
        self.fetched.append((site, cid))

    async def identity(self) -> Identity:
        if isinstance(self.answer, Exception):
            raise self.answer
        return ME


@asynccontextmanager
async def served(backend: Backend, path: Path) -> AsyncIterator[BackendClient]:
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_backend, backend, path)
        yield BackendClient(path, waiting_max=8)
        nursery.cancel_scope.cancel()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "gateway.sock"


async def test_both_requests(path: Path) -> None:
    daemon = Daemon()
    async with served(daemon, path) as client:
        assert await client.resolve(SIGNED.site) == SIGNED
        await client.fetch_block(SIGNED.site, CID)
        assert daemon.fetched == [(SIGNED.site, CID)]
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
    assert not path.exists()


@pytest.mark.parametrize("kind", ["refused", "not-found", "timeout", "busy"])
async def test_failures_arrive_as_they_are(path: Path, kind: str) -> None:
    daemon = Daemon()
    daemon.answer = Unavailable(kind, "so it is" * 100)  # type: ignore[arg-type]
    async with served(daemon, path) as client:
        with pytest.raises(Unavailable) as caught:
            await client.resolve(SIGNED.site)
    assert caught.value.kind == kind
    assert caught.value.reason == ("so it is" * 100)[:REASON_MAX_CHARS]


async def test_a_bug_of_the_backend_ends_one_request(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    daemon = Daemon()
    daemon.answer = KeyError("oops")
    async with served(daemon, path) as client:
        with pytest.raises(Unavailable):
            await client.resolve(SIGNED.site)
        daemon.answer = SIGNED
        assert await client.resolve(SIGNED.site) == SIGNED
    assert "oops" in caplog.text


async def test_a_release_of_another_site_is_not_taken(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with served(Daemon(), path) as client:
        with pytest.raises(Unavailable):
            await client.resolve(SiteId.of(new_key()))
    assert "not what this worker expects" in caplog.text


async def test_a_request_that_nobody_waits_for_is_withdrawn(path: Path) -> None:
    daemon = Daemon()
    daemon.hang = True
    async with served(daemon, path) as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.resolve, SIGNED.site)
            await daemon.asked.wait()
            nursery.cancel_scope.cancel()
        with trio.fail_after(5):
            await daemon.cancelled.wait()


async def test_no_daemon_is_unavailable(path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        await BackendClient(path, waiting_max=1).resolve(SIGNED.site)
    assert caught.value.kind == "busy"


@pytest.mark.parametrize("raw", [b"", b"\0\0", frame(b"\x80"), frame(b"nonsense"), b"\xff\xff\xff\xff", frame(b"")])
async def test_nonsense_ends_only_its_own_connection(path: Path, raw: bytes) -> None:
    daemon = Daemon()
    async with served(daemon, path) as client:
        async with await trio.open_unix_socket(str(path)) as stream:
            if raw:
                await stream.send_all(raw)
            await stream.send_eof()
            with trio.fail_after(5):
                assert await stream.receive_some(100) == b""
        assert await client.resolve(SIGNED.site) == SIGNED


async def test_a_daemon_that_speaks_nonsense(path: Path) -> None:
    path.parent.mkdir()
    listener = trio.socket.socket(socket.AF_UNIX)
    await listener.bind(str(path))
    listener.listen()

    async def answer(raw: bytes) -> None:
        sock, _ = await listener.accept()
        with sock:
            await sock.recv(1000)
            await sock.send(raw)

    with listener:
        for raw in (
            b"\0",
            frame(b"\x80"),
            b"\xff\xff\xff\xff",
            frame(encode_success(None)),
            frame(canonical.pack({"ok": b"x"})),
        ):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(answer, raw)
                with pytest.raises(Unavailable):
                    await BackendClient(path, waiting_max=1).resolve(SIGNED.site)


async def test_workers_share_the_certificates_for_strangers(path: Path) -> None:
    async with served(Daemon(), path) as one:
        other = BackendClient(path, waiting_max=8)
        names = [f"n{number}.example.org" for number in range(NEW_PER_HOUR)]
        assert all([await (one, other)[number % 2].grant(name) for number, name in enumerate(names)])
        restarted = BackendClient(path, waiting_max=8)
        for worker in (one, other, restarted):
            assert not await worker.grant("more.example.org")
            assert await worker.grant(names[0])
    with pytest.raises(Unavailable):
        await one.grant(names[0])


async def test_what_is_in_the_way_is_left_alone(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    path.write_text("precious")
    with pytest.raises(SocketPathError):
        await serve_backend(Daemon(), path)
    assert path.read_text() == "precious"


def test_messages_survive_the_way() -> None:
    assert decode_request(Resolve(SIGNED.site).encode()) == Resolve(SIGNED.site)
    assert decode_request(Resolve(SIGNED.site, 7).encode()) == Resolve(SIGNED.site, 7)
    assert decode_request(FetchBlock(SIGNED.site, CID).encode()) == FetchBlock(SIGNED.site, CID)
    assert decode_request(Certify("example.org").encode()) == Certify("example.org")
    assert decode_answer(encode_success(None)) is None
    assert decode_answer(encode_success(SIGNED)) == SIGNED.encode()
    with pytest.raises(Unavailable, match="why"):
        decode_answer(encode_failure(Unavailable("timeout", "why")))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"op": "resolve"},
        {"op": "resolve", "site": b"x"},
        {"op": "resolve", "site": "x"},
        {"op": "resolve", "site": bytes(SIGNED.site), "cid": bytes(CID)},
        {"op": "certify", "domain": b"example.org"},
        {"op": "certify", "domain": "x" * 254},
        {"op": "certify", "domain": "example.org", "site": bytes(SIGNED.site)},
        {"op": "fetch", "site": bytes(SIGNED.site)},
        {"op": "fetch", "site": bytes(SIGNED.site), "cid": b"x"},
        {"op": "fetch", "site": bytes(SIGNED.site), "cid": 1},
        {"op": "store", "site": bytes(SIGNED.site)},
        {"op": "resolve", "site": bytes(SIGNED.site), "more": 1},
    ],
)
def test_bad_requests(fields: dict[str, canonical.Packable]) -> None:
    with pytest.raises(DecodeError):
        decode_request(canonical.pack(fields))


@pytest.mark.parametrize(
    "fields",
    [{}, {"ok": 1}, {"ok": False}, {"error": "x", "reason": "y"}, {"error": "busy"}, {"error": "busy", "reason": 1}],
)
def test_bad_answers(fields: dict[str, canonical.Packable]) -> None:
    with pytest.raises(DecodeError):
        decode_answer(canonical.pack(fields))


def test_the_socket_of_a_stranger_is_not_used(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to give a directory away")
    path.parent.mkdir(mode=0o700)
    os.chown(path.parent, 1234, -1)
    with pytest.raises(SocketPathError):
        trio.run(serve_backend, Daemon(), path)


async def test_who_this_node_is(tmp_path: Path) -> None:
    daemon = Daemon()
    async with served(daemon, tmp_path / "gateway.sock") as client:
        assert await client.identity() == ME
        daemon.answer = Unavailable("busy", "why")
        with pytest.raises(Unavailable):
            await client.identity()


@pytest.mark.parametrize("value", [[], ["a"], ["a", ["b"], 1], [b"a", []], ["a", [1]], {"a": []}])
def test_what_is_no_identity(value: canonical.Packable) -> None:
    with pytest.raises(DecodeError):
        Identity.decode(canonical.pack(value))
