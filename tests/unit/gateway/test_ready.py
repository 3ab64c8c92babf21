"""Whole answers kept in memory: the same as if made anew, whatever has changed meanwhile."""

from __future__ import annotations

from dataclasses import replace

from node.gateway.http1 import Request
from node.gateway.limits import READY_MAX_BYTES
from node.gateway.ready import ReadyAnswers
from tests.unit.gateway.nodes import Node, new_key
from tests.unit.gateway.sites import build, sign

PLAIN = Request("GET", "/", "a", {"host": "a"}, True)


def test_only_requests_without_conditions_have_a_key() -> None:
    assert ReadyAnswers.key_of(PLAIN) is not None
    assert ReadyAnswers.key_of(replace(PLAIN, method="HEAD")) is None
    for name in ("range", "if-none-match", "if-match", "if-range", "cache-control", "service-worker"):
        assert ReadyAnswers.key_of(replace(PLAIN, headers={name: "x"})) is None


async def test_a_kept_answer_is_the_one_that_would_be_made(node: Node) -> None:
    key = new_key()
    site, built = node.publish(key, {"index.html": b"one", "b.txt": b"plain", "b.txt.gz": b"gz"})
    first = await node.get(site, "/")
    again = await node.get(site, "/")
    assert (again.status, again.body) == (200, b"one")
    assert first.headers | {"date": ""} == again.headers | {"date": ""}
    assert (await node.get(site, "/", if_none_match=first.headers["etag"])).status == 304
    assert (await node.get(site, "/", range="bytes=1-")).body == b"ne"
    assert (await node.ask("HEAD", node.origin(site), "/")).body == b""
    for _ in range(2):
        assert (await node.get(site, "/b.txt")).body == b"plain"
        assert (await node.get(site, "/b.txt", accept_encoding="gzip")).body == b"gz"
    assert built.root is not None


async def test_new_rules_and_new_releases_hold_at_once(node: Node) -> None:
    key = new_key()
    site, built = node.publish(key, {"index.html": b"one"})
    for _ in range(3):
        assert (await node.get(site, "/")).body == b"one"
    rule = node.block(built.cids["index.html"])
    assert (await node.get(site, "/")).status == 410
    node.store.remove_rule(rule)
    assert (await node.get(site, "/")).body == b"one"
    node.publish(key, {"index.html": b"two"}, seq=2)
    assert (await node.get(site, "/")).body == b"two"


async def test_sites_of_other_hosts_are_not_kept(node: Node) -> None:
    built = build({"index.html": b"afar"})
    signed = sign(new_key(), built)
    node.backend.heads[signed.site] = signed
    node.backend.blocks.update(built.blocks)
    assert (await node.get(signed.site, "/")).body == b"afar"
    node.block(signed.site)
    assert (await node.get(signed.site, "/")).status == 410


async def test_what_is_kept_is_bounded(node: Node) -> None:
    site, _ = node.publish(new_key(), {"large.bin": bytes(READY_MAX_BYTES + 1), "small.bin": b"x"})
    for n in range(20):
        assert (await node.get(site, f"/small.bin?{n}")).body == b"x"
        assert len((await node.get(site, "/large.bin")).body) == READY_MAX_BYTES + 1
