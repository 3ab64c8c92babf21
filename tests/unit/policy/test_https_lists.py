"""Lists over HTTPS, from a server with TLS on loopback."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.policy import list_sources
from node.policy.list_looks import FETCH_EVERY_S
from node.policy.list_status import ListStatus
from node.policy.subscriptions import Subscriptions
from node.store.memory import MemoryStore
from tests.unit.policy.list_server import Authority, ListServer, list_server
from tests.unit.policy.looking import poll

HERE = "127.0.0.1"
BODY = b"/ipns/one.example\n/ipns/two.example\n"


class World:
    """A node that follows the list of a server, and trusts one authority."""

    def __init__(self, folder: Path, server: ListServer, context: ssl.SSLContext, authority: Authority) -> None:
        self.server, self.context, self.authority = server, context, authority
        self.now_s = 1000
        self.lists = Subscriptions(MemoryStore(quota_bytes=10**6), folder / "lists", now_s=lambda: self.now_s)

    def later(self) -> ListStatus:
        """After the next look at the server."""
        self.now_s += 2 * FETCH_EVERY_S
        poll(self.lists)
        (status,) = self.lists.show()
        return status

    def offer(self, body: bytes) -> None:
        self.server.body, self.server.etag = body, f'"{len(body)}"'


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    authority = Authority(tmp_path, "trusted")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.certify(context, HERE)
    with list_server(BODY, context) as server:
        found = World(tmp_path, server, context, authority)
        assert found.lists.add(server.url).rule_count == 2
        yield found


def test_an_unchanged_list_is_not_sent_again_and_a_changed_one_is_taken(world: World) -> None:
    status = world.later()
    assert (status.rule_count, status.checked_s, status.error) == (2, world.now_s, None)
    assert world.server.asked == [None, '"1"']
    world.offer(BODY + b"/ipns/three.example\n")
    assert world.later().rule_count == 3


@pytest.mark.parametrize("wrong", ["authority", "host", "date"])
def test_a_wrong_certificate_keeps_the_last_good_version_and_says_so(world: World, tmp_path: Path, wrong: str) -> None:
    world.offer(b"/ipns/forged.example\n")
    by = Authority(tmp_path, "stranger") if wrong == "authority" else world.authority
    by.certify(world.context, "127.0.0.2" if wrong == "host" else HERE, until_days=-1 if wrong == "date" else 1)
    status = world.later()
    assert status.rule_count == 2
    assert "certificate verify failed" in (status.error or "")
    assert world.server.asked == [None]
    world.authority.certify(world.context, HERE)
    status = world.later()
    assert (status.rule_count, status.error) == (1, None)


def test_a_list_that_is_too_large_keeps_the_last_good_version(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_sources, "FILE_MAX_BYTES", 1024**2)
    world.offer(BODY + b"#" * 1024**2)
    status = world.later()
    assert status.rule_count == 2
    assert "has more than 1 MiB" in (status.error or "")


def test_a_server_that_stalls_or_drips_keeps_the_last_good_version(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.offer(b"/ipns/three.example\n" * 100)
    world.server.stalls = True
    monkeypatch.setattr(list_sources, "STEP_DEADLINE_S", 0.2)
    status = world.later()
    assert (status.rule_count, "timed out" in (status.error or "")) == (2, True)
    world.server.stalls, world.server.drips = False, True
    monkeypatch.setattr(list_sources, "WHOLE_DEADLINE_S", 0.1)
    status = world.later()
    assert status.rule_count == 2
    assert "takes longer" in (status.error or "")


def test_authorities_that_cannot_be_read_are_said(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    status = world.later()
    assert (status.rule_count, "cannot be fetched" in (status.error or "")) == (2, True)
