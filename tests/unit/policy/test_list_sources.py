"""Lists over HTTP on loopback, and as sites of the in-memory store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.core.peers import peer_of
from node.policy.decide import Policy
from node.policy.list_looks import FETCH_EVERY_S
from node.policy.list_sources import BlocklistError, check_url
from node.policy.list_status import STALE_S
from node.policy.model import Act, Subject
from node.policy.subscriptions import Subscriptions
from node.store.memory import MemoryStore
from protocol.site_id import SiteId
from tests.unit.policy.list_server import ListServer, list_server
from tests.unit.policy.looking import poll
from tests.unit.replication.kit import TreeSite, put

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
def store() -> MemoryStore:
    return MemoryStore(quota_bytes=10**6)


@pytest.fixture
def lists(store: MemoryStore, tmp_path: Path, clock: Clock) -> Subscriptions:
    return Subscriptions(store, tmp_path / "lists", now_s=clock)


def blocked(lists: Subscriptions) -> set[SiteId]:
    policy = Policy(lists=lists.files.active())
    return {site for site in SITES if not policy.decide(Act.HTTP_SERVE, Subject(site=site)).allowed}


def test_a_list_over_http_is_asked_for_again_with_its_tag(
    lists: Subscriptions, server: ListServer, clock: Clock
) -> None:
    lists.add(server.url)
    assert blocked(lists) == {SITES[0]}
    assert not poll(lists)
    assert server.asked == [None]
    clock.now_s += 2 * FETCH_EVERY_S
    assert not poll(lists)
    assert server.asked == [None, '"1"']
    server.etag, server.body = '"2"', f"/ipns/{SITES[1]}\n".encode()
    clock.now_s += 2 * FETCH_EVERY_S
    assert poll(lists)
    assert blocked(lists) == {SITES[1]}


@pytest.mark.parametrize(("status", "body"), [(500, b""), (404, b"x"), (200, b"nonsense"), (302, b"")])
def test_a_server_that_fails_leaves_the_last_good_version(
    lists: Subscriptions, server: ListServer, clock: Clock, status: int, body: bytes
) -> None:
    lists.add(server.url)
    server.status, server.body, server.etag = status, body, "other"
    clock.now_s += 2 * FETCH_EVERY_S
    assert not poll(lists)
    asked = len(server.asked)
    assert not poll(lists)  # not at once again
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
    assert not poll(lists)
    assert blocked(lists) == set(SITES)
    assert "shrank" in (lists.show()[0].pending or "")
    lists.reject("court")
    clock.now_s += 2 * FETCH_EVERY_S
    server.etag = "again"
    assert not poll(lists)
    assert (blocked(lists), lists.show()[0].pending) == (set(SITES), None)


def test_what_hits_many_known_peers_waits_and_is_shown(store: MemoryStore, tmp_path: Path, clock: Clock) -> None:
    peers = [peer_of(SiteId.of(Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32))) for n in range(1, 11)]
    for peer in peers:
        store.save_peer(peer, ["/ip4/127.0.0.1/tcp/4001"], 1)
    lists = Subscriptions(store, tmp_path / "lists", now_s=clock, named_peers=peers[:1])
    path = tmp_path / "peers.deny"
    path.write_text("".join(f"/p2p/{peer} reason:scans\n" for peer in peers[:3]))
    found, rule_count = lists.preview(str(path))
    assert (rule_count, found["known_peers"], found["peers_hit"]) == (3, 10, 2), "lists cannot refuse the first"
    assert found["peer_hits"] == [{"peer": peer, "line": f"/p2p/{peer} reason:scans"} for peer in sorted(peers[1:3])]
    status = lists.add(path)
    assert (status.rule_count, status.pending) == (3, None), "two are no surprise"
    path.write_text("".join(f"/p2p/{peer} reason:scans\n" for peer in peers[:6]))
    assert not poll(lists)
    assert not poll(lists)
    assert lists.show()[0].pending == "it newly hits 3 of 10 known peers"
    policy = Policy(lists=lists.files.active())
    allowed = [policy.decide(Act.FETCH, Subject(peer=peer)).allowed for peer in peers]
    assert allowed == [False] * 3 + [True] * 7
    assert lists.accept(str(path), None).rule_count == 6


@pytest.mark.parametrize("etag", ['"caf\u00e9"', '"' + "x" * 5000 + '"'])
def test_a_tag_that_cannot_be_sent_back_is_not_kept(
    lists: Subscriptions, server: ListServer, clock: Clock, etag: str
) -> None:
    server.etag = etag
    assert lists.add(server.url).rule_count == 1
    server.body = f"/ipns/{SITES[1]}\n".encode()
    clock.now_s += 2 * FETCH_EVERY_S
    assert poll(lists)
    assert server.asked == [None, None]
    assert blocked(lists) == {SITES[1]}


def test_what_nobody_thought_of_does_not_end_the_watch(
    lists: Subscriptions, server: ListServer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists.add(server.url)
    clock.now_s += 2 * FETCH_EVERY_S
    monkeypatch.setattr("node.policy.subscriptions.fetch", lambda _each: 1 / 0)
    assert not poll(lists)
    assert lists.show()[0].error == "a bug in fednode: ZeroDivisionError"
    assert blocked(lists) == {SITES[0]}


@pytest.mark.parametrize(
    "url", ["http://example.org/x", "ftp://example.org/x", "https:///x", "file:///etc/passwd", "https://[::1"]
)
def test_addresses_that_are_not_asked(url: str) -> None:
    with pytest.raises(BlocklistError):
        check_url(url)


def test_a_list_of_a_site_holds_once_the_site_is_here(store: MemoryStore, lists: Subscriptions, clock: Clock) -> None:
    """However long that takes, and whatever the clock says."""
    listing = TreeSite({"list.deny": f"/ipns/{SITES[0]}\n".encode()})
    site = str(listing.signed.site)
    assert "not here yet" in (lists.add(site, name="theirs").error or "")
    with pytest.raises(BlocklistError, match="nothing was read"):
        lists.preview("theirs")
    for _ in range(3):
        assert not poll(lists)
    put(store, listing)
    assert poll(lists)
    assert (blocked(lists), lists.show()[0].error) == ({SITES[0]}, None)
    assert not poll(lists)
    put(store, TreeSite({"list.deny": f"/ipns/{SITES[1]}\n".encode()}, seq=2, key=listing.key))
    assert poll(lists)
    assert blocked(lists) == {SITES[1]}
    # A release without a list leaves the last good one, and the next release is looked at whatever the wait.
    put(store, TreeSite({"index.html": b"no list"}, seq=3, key=listing.key))
    assert not poll(lists)
    assert "no readable list" in (lists.show()[0].error or "")
    put(store, TreeSite({"other.deny": b""}, seq=4, key=listing.key))
    assert poll(lists)
    assert (blocked(lists), lists.show()[0].error) == (set(), None)
    clock.now_s += 2 * STALE_S
    assert lists.show()[0].error is None, "a site that publishes nothing new is not stale"


def test_a_site_without_a_list_is_none(store: MemoryStore, lists: Subscriptions) -> None:
    listing = TreeSite({"index.html": b"no list"})
    put(store, listing)
    with pytest.raises(BlocklistError, match="no readable list"):
        lists.add(str(listing.signed.site))
    assert lists.show() == []
