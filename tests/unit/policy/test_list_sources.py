"""Lists over HTTP on loopback, and as sites of the in-memory store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from node.policy.decide import Policy
from node.policy.list_sources import BlocklistError, check_url
from node.policy.model import Act, Subject
from node.policy.subscriptions import FETCH_EVERY_S, STALE_S, Subscriptions
from node.store.memory import MemoryStore
from protocol.site_id import SiteId
from tests.unit.policy.list_server import ListServer, list_server

SITES = [SiteId(bytes([number]) * 32) for number in range(1, 60)]


@pytest.fixture
def server() -> Iterator[ListServer]:
    with list_server(f"/ipns/{SITES[0]}\n".encode()) as found:
        yield found


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


def test_a_list_over_http_is_asked_for_again_with_its_tag(
    lists: Subscriptions, server: ListServer, clock: Clock
) -> None:
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
    lists: Subscriptions, server: ListServer, clock: Clock, status: int, body: bytes
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


def test_a_list_that_shrank_waits(lists: Subscriptions, server: ListServer, clock: Clock) -> None:
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
