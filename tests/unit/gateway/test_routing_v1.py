"""Delegated routing: who has a block, where this node is, what a name stands for."""

from __future__ import annotations

import json

import pytest

from protocol.cid import RAW, Cid
from protocol.ipns import IpnsRecord
from protocol.site_id import SiteId
from tests.unit.gateway.http_client import Answer
from tests.unit.gateway.nodes import PEER, Node, new_key
from tests.unit.gateway.sites import Built, sign_end

RECORD_TYPE = "application/vnd.ipfs.ipns-record"
ME = {
    "Schema": "peer",
    "ID": PEER,
    "Addrs": ["/ip4/127.0.0.1/tcp/4101", "/ip4/127.0.0.1/tcp/81/http"],
    "Protocols": ["transport-bitswap", "transport-ipfs-gateway-http"],
}


@pytest.fixture
def site(node: Node) -> tuple[SiteId, Built]:
    return node.publish(new_key(), {"a.txt": b"a"})


async def ask(node: Node, path: str, host: str = "127.0.0.1:81", **headers: str) -> Answer:
    answer = await node.ask("GET", host, f"/routing/v1/{path}", **headers)
    assert answer.headers["access-control-allow-origin"] == "*"
    return answer


async def test_providers(node: Node, site: tuple[SiteId, Built]) -> None:
    built = site[1]
    for cid in (built.root, built.cids["a.txt"], Cid(built.root[2:])):
        answer = await ask(node, f"providers/{cid}")
        assert answer.status == 200
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == (
            "public, max-age=60, stale-while-revalidate=172800, stale-if-error=172800"
        )
        assert json.loads(answer.body) == {"Providers": [ME]}
    answer = await ask(node, f"providers/{built.root}", accept="application/x-ndjson")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line) for line in answer.body.splitlines()] == [ME]


async def test_filters_are_honoured(node: Node, site: tuple[SiteId, Built]) -> None:
    root = site[1].root
    for query, addresses in (
        ("filter-addrs=http", ME["Addrs"][1:]),
        ("filter-addrs=!HTTP&filter-protocols=transport-bitswap", ME["Addrs"][:1]),
        ("filter-addrs=webtransport", None),
        ("filter-protocols=transport-graphsync-filecoinv1", None),
    ):
        found = [] if addresses is None else [ME | {"Addrs": addresses}]
        assert json.loads((await ask(node, f"providers/{root}?{query}")).body) == {"Providers": found}
        assert json.loads((await ask(node, f"peers/{PEER}?{query}")).body) == {"Peers": found}
    assert (await ask(node, f"providers/{root}?filter-addrs={'x' * 65}")).status == 422


async def test_none_is_an_answer_too(node: Node, site: tuple[SiteId, Built]) -> None:
    other = Cid.of(RAW, b"other")
    answer = await ask(node, f"providers/{other}")
    assert (answer.status, json.loads(answer.body)) == (200, {"Providers": []})
    assert answer.headers["cache-control"] == "public, max-age=15"
    assert (await ask(node, f"providers/{other}", accept="application/x-ndjson")).body == b""
    assert json.loads((await ask(node, f"peers/{site[0]}")).body) == {"Peers": []}


async def test_what_is_refused_is_not_here(node: Node, site: tuple[SiteId, Built]) -> None:
    node.block(site[0], verdict="quarantine")
    assert json.loads((await ask(node, f"providers/{site[1].root}")).body) == {"Providers": []}
    assert (await ask(node, f"ipns/{site[0]}")).headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize(
    ("host", "headers", "address"),
    [
        ("localhost", {}, "/dns/localhost/tcp/80/http"),
        ("localhost", {"x_forwarded_proto": "https"}, "/dns/localhost/tcp/80/http"),  # not from a trusted proxy
        ("[::1]:8080", {}, "/ip6/::1/tcp/8080/http"),
    ],
)
async def test_the_address_that_was_asked(node: Node, host: str, headers: dict[str, str], address: str) -> None:
    answer = await ask(node, f"peers/{PEER}", host, **headers)
    assert json.loads(answer.body)["Peers"][0]["Addrs"][1] == address


async def test_names(node: Node, site: tuple[SiteId, Built]) -> None:
    name = site[0]
    for text in (str(name), str(name.cid)):
        for headers in ({}, {"accept": RECORD_TYPE}, {"accept": "*/*"}):
            answer = await ask(node, f"ipns/{text}", **headers)
            assert (answer.status, answer.headers["content-type"]) == (200, RECORD_TYPE)
            assert answer.headers["cache-control"].startswith("public, max-age=3600, stale-while-revalidate=")
    record = IpnsRecord.decode(answer.body)
    record.verify(name.cid.multihash)
    assert record.value == f"/ipfs/{site[1].root}".encode()
    assert (await ask(node, f"ipns/{name}", if_none_match=answer.headers["etag"])).status == 304


async def test_names_that_are_not_here(node: Node) -> None:
    key = new_key()
    ended, _ = node.publish(key, {"a.txt": b"a"})
    node.store.end_site(sign_end(key))
    for name in (SiteId.of(new_key()), ended, "QmVujd5Vb7moysJj8itnGufN7MEtPRCNHkKpNuA4onsRa3"):
        answer = await ask(node, f"ipns/{name}")
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/plain")
    assert node.backend.resolved == []


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("providers/", {}, 422),
        ("providers/nonsense", {}, 422),
        (f"providers/{PEER}", {}, 422),
        ("peers/nonsense", {}, 422),
        ("ipns/nonsense", {}, 400),
        ("ipns/bafkqaaa", {}, 400),
        (f"ipns/{PEER}", {"accept": "application/json"}, 406),
        ("", {}, 400),
        ("other/x", {}, 400),
    ],
)
async def test_nonsense(node: Node, path: str, headers: dict[str, str], status: int) -> None:
    assert (await ask(node, path, **headers)).status == status


async def test_without_the_daemon(node: Node, site: tuple[SiteId, Built]) -> None:
    node.backend.hang = True
    answer = await node.ask("GET", "127.0.0.1:81", f"/routing/v1/providers/{site[1].root}")
    assert (answer.status, answer.headers["retry-after"]) == (503, "10")
    assert (await ask(node, f"ipns/{site[0]}")).status == 200
