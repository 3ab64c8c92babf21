"""IPNS records of others over Routing V1: taken where the operator wishes, and given back."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.gateway.record_answers import ADDRESS_PUTS_BURST_S, ADDRESS_PUTS_PER_S
from protocol import ipns
from protocol.cid import RAW, Cid
from protocol.ipns import MEDIA_TYPE
from protocol.limits import IPNS_RECORD_MAX_BYTES
from protocol.site_id import SiteId
from tests.unit.gateway.http_client import Answer, fetch
from tests.unit.gateway.nodes import Node, new_key, running_node

ROOT = Cid.of(RAW, b"elsewhere")
PATH = "/routing/v1/ipns"
NAME = SiteId(b"\2" * 32)


def made(key: Ed25519PrivateKey, *, seq: int = 1, valid_s: int = 900, ttl_s: int = 60, root: Cid = ROOT) -> bytes:
    until_s = int(time.time()) + valid_s
    return ipns.create(key, value=f"/ipfs/{root}".encode(), sequence=seq, validity_s=until_s, ttl_s=ttl_s)


@pytest.fixture
async def taker(tmp_path: Path) -> AsyncIterator[Node]:
    async with running_node(tmp_path, take_records=True) as running:
        yield running


async def put(node: Node, target: str, body: bytes, kind: str = MEDIA_TYPE, **headers: str) -> Answer:
    client = await node.connect()
    with client.sock:
        pairs = {"Content-Type": kind, "Content-Length": str(len(body))} | headers
        lines = [f"PUT {target} HTTP/1.1", "Host: 127.0.0.1:1", *(f"{name}: {value}" for name, value in pairs.items())]
        await client.send("\r\n".join([*lines, "", ""]).encode() + body)
        return await client.answer()


async def get(node: Node, name: object) -> Answer:
    return await node.ask("GET", "127.0.0.1:1", f"{PATH}/{name}", accept=MEDIA_TYPE)


async def test_a_record_that_was_put_is_given_back(taker: Node) -> None:
    key = new_key()
    name = SiteId.of(key)
    record = made(key)
    assert (await get(taker, name)).headers["content-type"].startswith("text/plain")
    answer = await put(taker, f"{PATH}/{name}", record)
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "*")
    given = await get(taker, name)
    assert (given.status, given.body, given.headers["content-type"]) == (200, record, MEDIA_TYPE)
    assert (await put(taker, f"{PATH}/{name}", record)).status == 200
    newer = made(key, seq=2)
    assert (await put(taker, f"{PATH}/{name}", newer)).status == 200
    assert (await put(taker, f"{PATH}/{name}", record)).status == 400
    assert (await get(taker, name)).body == newer
    row = taker.store.name(name.cid.multihash)
    assert row is not None
    assert not row.kept


async def test_how_long_caches_may_keep_it(taker: Node) -> None:
    for ttl_s, valid_s, max_age_s in ((60, 900, 60), (0, 900, 60), (5000, 900, 900), (300, 10**12, 300)):
        key = new_key()
        if valid_s == 10**12:
            until = b"9999-12-31T23:59:59-23:59"  # a time that no date of HTTP can say
            data = ipns.encode_data(b"/ipfs/bafkqaaa", until, 1, ttl_s * 10**9)
            signature = key.sign(ipns.SIGNING_PREFIX + data)
            record = ipns.encode_entry(b"/ipfs/bafkqaaa", until, 1, ttl_s * 10**9, None, signature)
        else:
            record = made(key, ttl_s=ttl_s, valid_s=valid_s)
        assert (await put(taker, f"{PATH}/{SiteId.of(key)}", record)).status == 200
        headers = (await get(taker, SiteId.of(key))).headers
        public, max_age, revalidate, on_error = headers["cache-control"].split(", ")
        assert public == "public"
        assert max_age_s - 5 <= int(max_age.removeprefix("max-age=")) <= max_age_s
        assert revalidate.removeprefix("stale-while-revalidate=") == on_error.removeprefix("stale-if-error=")
        assert int(on_error.removeprefix("stale-if-error=")) >= min(valid_s, 10**9) - 5
        assert headers["expires"].endswith("GMT")
        assert headers["vary"] == "Accept"


@pytest.mark.parametrize("other", ["expired", "other key", "cut", "no record"])
async def test_what_is_no_valid_record_of_the_name_is_not_taken(taker: Node, other: str) -> None:
    key = new_key()
    bodies = {"expired": made(key, valid_s=-1), "other key": made(new_key()), "cut": made(key)[:-1], "no record": b"x"}
    answer = await put(taker, f"{PATH}/{SiteId.of(key)}", bodies[other])
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (400, "*")
    assert taker.store.names() == []


@pytest.mark.parametrize(
    ("target", "kind", "length", "status"),
    [
        (f"{PATH}/nonsense", MEDIA_TYPE, None, 400),
        (f"{PATH}/{NAME}", "application/json", None, 406),
        (f"{PATH}/{NAME}", MEDIA_TYPE, str(IPNS_RECORD_MAX_BYTES + 1), 413),
        (f"{PATH}/{NAME}", MEDIA_TYPE, "0", 413),
        (f"{PATH}/{NAME}", MEDIA_TYPE, "1e3", 400),
        (f"/x{PATH}/{NAME}", MEDIA_TYPE, None, 405),
        ("/routing/v1/providers/bafkqaaa", MEDIA_TYPE, None, 405),
    ],
)
async def test_puts_that_are_none(taker: Node, target: str, kind: str, length: str | None, status: int) -> None:
    headers = {} if length is None else {"Content-Length": length}
    assert (await put(taker, target, b"body", kind, **headers)).status == status


async def test_a_put_without_a_length_and_one_to_a_site(taker: Node) -> None:
    name = SiteId.of(new_key())
    assert (await fetch(taker.port, f"{PATH}/{name}", "127.0.0.1:1", method="PUT")).status == 411
    client = await taker.connect()
    with client.sock:
        await client.send(
            f"PUT {PATH}/{name} HTTP/1.1\r\nHost: {name}.ipns.localhost\r\nContent-Length: 1\r\n\r\nx".encode()
        )
        assert (await client.answer()).status == 405


async def test_nothing_is_taken_unless_the_operator_wishes(node: Node) -> None:
    key = new_key()
    name = SiteId.of(key)
    assert (await put(node, f"{PATH}/{name}", made(key))).status == 501
    node.store.save_name(name.cid.multihash, made(key))
    assert (
        (await get(node, name)).headers["content-type"].startswith("text/plain")
    )  # who reads what is nobody's business
    node.store.save_name(name.cid.multihash, made(key), kept=True)
    assert (await get(node, name)).headers["content-type"] == MEDIA_TYPE


async def test_what_is_refused_or_has_expired_is_not_given(taker: Node) -> None:
    named, rooted, old = new_key(), new_key(), new_key()
    other = Cid.of(RAW, b"refused")
    for key, record in ((named, made(named)), (rooted, made(rooted, root=other)), (old, made(old, valid_s=-1))):
        taker.store.save_name(SiteId.of(key).cid.multihash, record, kept=True)
    assert (await get(taker, SiteId.of(named))).headers["content-type"] == MEDIA_TYPE
    assert (await get(taker, SiteId.of(rooted))).headers["content-type"] == MEDIA_TYPE
    taker.block(SiteId.of(named))
    taker.block(other)
    for key in (named, rooted, old):
        assert (await get(taker, SiteId.of(key))).headers["content-type"].startswith("text/plain")


async def test_the_daemon_may_be_busy(taker: Node) -> None:
    key = new_key()
    taker.backend.hang = True
    assert (await put(taker, f"{PATH}/{SiteId.of(key)}", made(key))).status == 503


async def test_one_address_cannot_put_without_end(tmp_path: Path) -> None:
    key = new_key()
    path, record = f"{PATH}/{SiteId.of(key)}", made(key)
    async with running_node(tmp_path, take_records=True, trusted_proxies=("127.0.0.1",)) as taker:
        statuses = []
        for _ in range(int(ADDRESS_PUTS_PER_S * ADDRESS_PUTS_BURST_S) + 5):
            answer = await put(taker, path, record, **{"X-Forwarded-For": "203.0.113.7"})
            statuses.append(answer.status)
        assert statuses[0] == 200
        assert answer.status == 429
        assert int(answer.headers["retry-after"]) >= 1
        assert (await put(taker, path, record, **{"X-Forwarded-For": "203.0.113.8"})).status == 200


async def test_pages_of_the_web_may_ask_before_they_put(node: Node) -> None:
    for path in (f"{PATH}/{NAME}", "/routing/v1/providers/bafkqaaa"):
        answer = await node.ask("OPTIONS", "127.0.0.1:1", path, origin="https://example.org")
        assert answer.status == 200
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "PUT" in answer.headers["access-control-allow-methods"]
        assert "Content-Type" in answer.headers["access-control-allow-headers"]
