"""Lists over HTTP on loopback, and as sites of the in-memory store."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from node.policy.decide import Policy
from node.policy.list_sources import BlocklistError, check_url
from node.policy.model import Act, Subject
from node.policy.subscriptions import FETCH_EVERY_S, STALE_S, Subscriptions
from node.store.memory import MemoryStore
from protocol.site_id import SiteId

SITES = [SiteId(bytes([number]) * 32) for number in range(1, 60)]


class Server:
    """What it serves, and with what it was asked."""

    def __init__(self) -> None:
        self.body = f"/ipns/{SITES[0]}\n".encode()
        self.status = 200
        self.etag = '"1"'
        self.asked: list[str | None] = []
        self.url = ""


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.headers.get("If-None-Match"))
            same = self.headers.get("If-None-Match") == state.etag
            self.send_response(304 if same else state.status)
            if state.status in (301, 302):
                self.send_header("Location", "http://192.0.2.1/list")
            self.send_header("ETag", state.etag)
            body = b"" if same else state.body
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{http.server_port}/list.deny"
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    yield state
    http.shutdown()
    thread.join()
    http.server_close()


class Clock:
    now_s = 1000

    def __call__(self) -> int:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lists(tmp_path: Path, clock: Clock) -> Subscriptions:
    return Subscriptions(MemoryStore(quota_bytes=10**6), tmp_path / "lists", now_s=clock)


def blocked(lists: Subscriptions) -> set[SiteId]:
    policy = Policy(lists=lists.files.active())
    return {site for site in SITES if not policy.decide(Act.HTTP_SERVE, Subject(site=site)).allowed}


def test_a_list_over_http_is_asked_for_again_with_its_tag(lists: Subscriptions, server: Server, clock: Clock) -> None:
    lists.add(server.url)
    assert blocked(lists) == {SITES[0]}
    assert not lists.poll()
    assert server.asked == [None]
    clock.now_s += 2 * FETCH_EVERY_S
    assert not lists.poll()
    assert server.asked == [None, '"1"']
    server.etag, server.body = '"2"', f"/ipns/{SITES[1]}\n".encode()
    clock.now_s += 2 * FETCH_EVERY_S
    assert lists.poll()
    assert blocked(lists) == {SITES[1]}


@pytest.mark.parametrize(("status", "body"), [(500, b""), (404, b"x"), (200, b"nonsense"), (302, b"")])
def test_a_server_that_fails_leaves_the_last_good_version(
    lists: Subscriptions, server: Server, clock: Clock, status: int, body: bytes
) -> None:
    lists.add(server.url)
    server.status, server.body, server.etag = status, body, "other"
    clock.now_s += 2 * FETCH_EVERY_S
    assert not lists.poll()
    asked = len(server.asked)
    assert not lists.poll()  # not at once again
    assert len(server.asked) == asked
    assert lists.show()[0].error
    assert blocked(lists) == {SITES[0]}
    clock.now_s += STALE_S
    assert "stale" in (lists.show()[0].error or "")


def test_a_list_that_shrank_waits(lists: Subscriptions, server: Server, clock: Clock) -> None:
    server.body = "".join(f"/ipns/{site}\n" for site in SITES).encode()
    lists.add(server.url, name="court")
    server.body, server.etag = f"/ipns/{SITES[0]}\n".encode(), "other"
    clock.now_s += 2 * FETCH_EVERY_S
    assert not lists.poll()
    assert blocked(lists) == set(SITES)
    assert "shrank" in (lists.show()[0].pending or "")
    lists.reject("court")
    clock.now_s += 2 * FETCH_EVERY_S
    server.etag = "again"
    assert not lists.poll()
    assert (blocked(lists), lists.show()[0].pending) == (set(SITES), None)


@pytest.mark.parametrize("url", ["http://example.org/x", "ftp://example.org/x", "https:///x", "file:///etc/passwd"])
def test_addresses_that_are_not_asked(url: str) -> None:
    with pytest.raises(BlocklistError):
        check_url(url)
