"""Blocks of data, archives, and names that lead into kept trees."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from node.store.port import TreeOrigin
from protocol import dagcbor, dagjson, ipns
from protocol.builder import DirEntry, build_directory, symlink_node
from protocol.cid import DAG_CBOR, DAG_JSON, JSON, RAW, Cid
from protocol.site_id import SiteId
from tests.unit.gateway.dns_server import DnsServer, dns_server
from tests.unit.gateway.http_client import Answer
from tests.unit.gateway.nodes import Node, new_key, running_node
from tests.unit.gateway.sites import Symlink, Tree, build

ADDRESS = "127.0.0.1:1"
DOMAIN = "tree.example.org"
FILES: Tree = {"a.txt": b"a" * 700, "sub": {"ü.json": b'{"b": 1}', "empty": b""}, "in": Symlink("sub"), "deep": {}}
UNIXFS = build(FILES, chunk_bytes=300)
LEAF_BLOCK = dagjson.encode({"answer": [42]})
LEAF = Cid.of(DAG_JSON, LEAF_BLOCK)
PLAIN = Cid.of(JSON, b'{"plain": true}')
TOP_BLOCK = dagcbor.encode({"files": UNIXFS.root, "list": [None, LEAF], "plain": PLAIN, "<b>": "<script>"})
TOP = Cid.of(DAG_CBOR, TOP_BLOCK)


@pytest.fixture
def server() -> Iterator[DnsServer]:
    with dns_server() as running:
        yield running


@pytest.fixture
async def node(tmp_path: Path, server: DnsServer) -> AsyncIterator[Node]:
    async with running_node(tmp_path, dns_servers=(server.address,), tree_domains=(DOMAIN,)) as running:
        blocks = {**UNIXFS.blocks, LEAF: LEAF_BLOCK, PLAIN: b'{"plain": true}', TOP: TOP_BLOCK}
        keep(running, TOP, blocks)
        yield running


def keep(node: Node, root: Cid, blocks: dict[Cid, bytes]) -> None:
    hold = node.store.begin_tree(root)
    node.store.put_blocks(hold, list(blocks.items()))
    node.store.finish_tree(hold, origin=TreeOrigin.IMPORTED)


async def ask(node: Node, target: str, host: str = ADDRESS, **headers: str) -> Answer:
    return await node.ask("GET", host, target, **headers)


async def test_data_is_given_as_it_is(node: Node) -> None:
    answer = await ask(node, f"/ipfs/{TOP}")
    assert (answer.status, answer.body) == (200, TOP_BLOCK)
    assert answer.headers["content-type"] == "application/vnd.ipld.dag-cbor"
    assert answer.headers["content-disposition"] == f'attachment; filename="{TOP}.cbor"'
    assert answer.headers["etag"] == f'"{TOP}.dag-cbor"'
    assert "sandbox" in answer.headers["content-security-policy"]
    same = await ask(node, f"/ipfs/{TOP}", if_none_match=f'"{TOP}.dag-cbor"')
    assert same.status == 304
    part = await ask(node, f"/ipfs/{TOP}?format=cbor", range="bytes=1-3")
    assert (part.status, part.body, part.headers["content-type"]) == (206, TOP_BLOCK[1:4], "application/cbor")
    plain = await ask(node, f"/ipfs/{PLAIN}?download=true&filename=x.json")
    assert plain.headers["content-type"] == "application/json"
    assert plain.headers["content-disposition"] == 'attachment; filename="x.json"'


@pytest.mark.parametrize(
    ("path", "accept", "status"),
    [
        (f"{TOP}?format=dag-json", "", 406),
        (f"{TOP}?format=tar", "", 406),
        (f"{LEAF}?format=json", "", 200),
        (f"{LEAF}", "application/json", 200),
        (f"{LEAF}", "application/cbor", 406),
        (f"{LEAF}", "application/vnd.ipld.dag-cbor, */*", 406),
        (f"{PLAIN}?format=dag-json", "", 406),
        (f"{TOP}/list/1", "", 200),
        (f"{TOP}/list/1/answer", "", 501),
        (f"{TOP}/list/1/answer/1", "", 404),
        (f"{TOP}/list", "", 501),
        (f"{TOP}/list/2", "", 404),
        (f"{TOP}/list/-1", "", 404),
        (f"{TOP}/list/0", "", 501),
        (f"{TOP}/list/0/x", "", 404),
        (f"{TOP}/none", "", 404),
        (f"{TOP}/plain/plain", "", 404),
        (f"{TOP}/files/a.txt", "", 200),
        (f"{TOP}/files/in/empty", "", 200),
        (f"{TOP}/files/a.txt?format=json", "", 406),
        (f"{TOP}/files/sub/%C3%BC.json?format=json", "", 200),
        (f"{TOP}/files/sub/%C3%BC.json?format=dag-json", "", 406),
        (f"{TOP}/files/?format=json", "", 406),
    ],
)
async def test_paths_and_forms(node: Node, path: str, accept: str, status: int) -> None:
    assert (await ask(node, f"/ipfs/{path}", accept=accept)).status == status


async def test_a_page_about_data(node: Node) -> None:
    answer = await ask(node, f"/ipfs/{TOP}/", accept="text/html,*/*")
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["etag"].startswith('"DagIndex-')
    assert "&lt;script&gt;" in answer.text
    assert "<script" not in answer.text
    assert str(LEAF) in answer.text


async def test_the_way_through_data_counts_for_policy_and_in_headers(node: Node) -> None:
    answer = await ask(node, f"/ipfs/{TOP}/files/sub/%C3%BC.json")
    way = [TOP, UNIXFS.root, UNIXFS.cids["sub"], UNIXFS.cids["sub/ü.json"]]
    assert answer.headers["x-ipfs-roots"] == ",".join(map(str, way))
    car = await ask(node, f"/ipfs/{TOP}/files/sub?format=car&dag-scope=block")
    assert all(bytes(cid) in car.body for cid in way[:3])
    node.block(UNIXFS.root)
    assert (await ask(node, f"/ipfs/{TOP}/files/sub/%C3%BC.json")).status == 410
    assert (await ask(node, f"/ipfs/{TOP}/list/1")).status == 200


async def test_an_archive(node: Node) -> None:
    answer = await ask(node, f"/ipfs/{UNIXFS.root}?format=tar")
    assert answer.headers["content-type"] == "application/x-tar"
    assert answer.headers["content-disposition"] == f'attachment; filename="{UNIXFS.root}.tar"'
    name = str(UNIXFS.root)
    with tarfile.open(fileobj=io.BytesIO(answer.body)) as archive:
        found = {item.name.removeprefix(name): item for item in archive}
        assert list(found) == ["", "/a.txt", "/deep", "/in", "/sub", "/sub/empty", "/sub/ü.json"]
        kept = archive.extractfile(found["/a.txt"])
        assert kept is not None
        assert kept.read() == b"a" * 700
        assert (found["/in"].linkname, found["/deep"].isdir(), found["/sub/empty"].size) == ("sub", True, 0)
    one = await ask(node, f"/ipfs/{TOP}/files/a.txt", accept="application/x-tar")
    with tarfile.open(fileobj=io.BytesIO(one.body)) as archive:
        assert archive.getnames() == ["a.txt"]


async def test_what_is_not_put_into_an_archive(node: Node) -> None:
    node.block(UNIXFS.root, path="sub/empty")
    blocks: dict[Cid, bytes] = {}
    out, block = symlink_node("../../etc/passwd")
    blocks[out] = block
    file = Cid.of(RAW, b"x")
    blocks[file] = b"x"
    link = build_directory([DirEntry("out", out, 1), DirEntry("x", file, 1)], blocks.__setitem__)
    keep(node, link.cid, blocks)
    answer = await ask(node, f"/ipfs/{link.cid}?format=tar")
    with tarfile.open(fileobj=io.BytesIO(answer.body)) as archive:
        assert archive.getnames() == [str(link.cid), f"{link.cid}/x"]
    refused = await ask(node, f"/ipfs/{UNIXFS.root}?format=tar")
    with tarfile.open(fileobj=io.BytesIO(refused.body)) as archive:
        assert not [name for name in archive.getnames() if name.endswith("/empty")]


async def test_a_domain_of_a_tree(node: Node, server: DnsServer) -> None:
    server.txt[f"_dnslink.{DOMAIN}"] = [f"dnslink=/ipfs/{TOP}/files/sub"]
    for host in (DOMAIN, f"{DOMAIN}.ipns.localhost", "tree-example-org.ipns.localhost"):
        answer = await ask(node, "/empty", host)
        assert (answer.status, answer.headers["x-ipfs-path"]) == (200, f"/ipns/{DOMAIN}/empty")
        assert "immutable" not in answer.headers["cache-control"]
    listing = await ask(node, "/", DOMAIN)
    assert f'/ipns/<a href="//{DOMAIN}/">{DOMAIN}</a>' in listing.text
    node.block(UNIXFS.root)  # on the way to the place that the domain stands for
    assert (await ask(node, "/empty", DOMAIN)).status == 410


async def test_who_consents_to_a_domain(node: Node, server: DnsServer) -> None:
    server.txt["_dnslink.other.example.org"] = [f"dnslink=/ipfs/{TOP}"]
    assert b"fednode node" in (await ask(node, "/", "other.example.org")).body
    assert node.backend.resolved == []
    site, _ = node.publish(new_key(), {"index.html": b"x"})
    for target in (
        f"/ipns/{site}",
        f"/ipns/{SiteId.of(new_key())}",
        "/ipfs/bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy",
    ):
        server.ttl_s = 0
        server.txt[f"_dnslink.{DOMAIN}"] = [f"dnslink={target}"]
        assert (await ask(node, "/", DOMAIN)).status == 404
        await pause(node)
    assert node.backend.resolved == []


async def pause(node: Node) -> None:
    """What DNS said is believed for a second at least."""
    node.app._names._known.forget()


async def test_a_record_that_leads_to_a_place_in_a_tree_by_another_name(node: Node) -> None:
    keys = [new_key(), new_key()]
    names = [SiteId.of(key) for key in keys]
    until_s = int(time.time()) + 600
    for key, value in zip(keys, (f"/ipns/{names[1]}/sub", f"/ipfs/{TOP}/files"), strict=True):
        record = ipns.create(key, value=value.encode(), sequence=1, validity_s=until_s, ttl_s=30)
        node.store.save_name(SiteId.of(key).cid.multihash, record, kept=True)
    answer = await ask(node, f"/ipns/{names[0]}/%C3%BC.json")
    assert (answer.status, answer.body) == (200, b'{"b": 1}')
    record_answer = await ask(node, f"/ipns/{names[0]}?format=ipns-record")
    assert record_answer.headers["cache-control"] == "public, max-age=30"
    assert (await ask(node, f"/ipns/{names[0]}/a.txt")).status == 404


async def test_any_origin_may_ask(node: Node) -> None:
    for host, target in ((ADDRESS, f"/ipfs/{TOP}"), (f"{TOP}.ipfs.localhost", "/")):
        answer = await node.ask("OPTIONS", host, target)
        assert (answer.status, answer.body) == (200, b"")
        assert answer.headers["access-control-allow-methods"] == answer.headers["allow"] == "GET, HEAD, OPTIONS"
    assert (await node.ask("OPTIONS", ADDRESS, "/healthz")).status == 405
