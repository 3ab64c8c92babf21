"""Kept trees and the names of others, as readers get them."""

from __future__ import annotations

import time

import pytest

from node.store.port import TreeOrigin
from protocol import ipns, varint
from protocol.car import CarDecoder
from protocol.cid import BLAKE3, RAW, Cid, multihash_of
from protocol.site_id import SiteId
from tests.unit.gateway.http_client import Answer
from tests.unit.gateway.nodes import Node, new_key
from tests.unit.gateway.sites import Built, Tree, build

ADDRESS = "127.0.0.1:1"
TREE: Tree = {"index.html": b"<h1>tree</h1>", "docs": {"a.txt": b"a", "b.txt": b"b" * 5000}}


def keep(node: Node, built: Built) -> Cid:
    hold = node.store.begin_tree(built.root)
    node.store.put_blocks(hold, list(built.blocks.items()))
    node.store.finish_tree(hold, origin=TreeOrigin.IMPORTED)
    return built.root


@pytest.fixture
def tree(node: Node) -> Built:
    built = build(TREE, chunk_bytes=1000)
    keep(node, built)
    return built


async def ask(node: Node, target: str, host: str = ADDRESS, **headers: str) -> Answer:
    return await node.ask("GET", host, target, **headers)


async def test_a_tree_is_read_under_its_cid_by_path_and_on_its_own_origin(node: Node, tree: Built) -> None:
    old = Cid(tree.root.multihash)
    for target in (f"/ipfs/{tree.root}/", f"/ipfs/{old}/"):
        answer = await ask(node, target)
        assert (answer.status, answer.body) == (200, b"<h1>tree</h1>")
        assert "immutable" in answer.headers["cache-control"]
        assert "sandbox" in answer.headers["content-security-policy"]
    own = await ask(node, "/docs/a.txt", f"{tree.root}.ipfs.localhost:1")
    assert (own.status, own.body) == (200, b"a")
    assert "content-security-policy" not in own.headers
    moved = await ask(node, f"/ipfs/{tree.root}/docs/", "localhost:1")
    assert (moved.status, moved.headers["location"]) == (301, f"http://{tree.root}.ipfs.localhost:1/docs/")
    below = await ask(node, f"/ipfs/{tree.cids['docs']}/b.txt", range="bytes=10-19")
    assert (below.status, below.body) == (206, b"b" * 10)
    listing = await ask(node, f"/ipfs/{tree.root}/docs/")
    assert b"a.txt" in listing.body
    assert str(tree.root).encode() in listing.body
    missing = await ask(node, f"/ipfs/{tree.root}/none")
    assert missing.status == 404


async def test_what_its_reader_verifies(node: Node, tree: Built) -> None:
    raw = await ask(node, f"/ipfs/{tree.cids['docs']}?format=raw")
    tree.cids["docs"].verify(raw.body)
    car = await ask(node, f"/ipfs/{tree.root}?format=car")
    decoder = CarDecoder()
    assert {section.cid for section in decoder.feed(car.body)} == set(tree.blocks)
    probe = await ask(node, "/routing/v1/providers/" + str(tree.root))
    assert probe.status == 200
    assert b"Providers" in probe.body


async def test_a_dropped_tree_is_gone(node: Node, tree: Built) -> None:
    assert (await ask(node, f"/ipfs/{tree.root}/")).status == 200
    node.store.drop_tree(tree.root)
    assert (await ask(node, f"/ipfs/{tree.root}/")).status == 404


@pytest.mark.parametrize("refused", ["", "docs", "docs/a.txt"])
async def test_policy_is_asked_for_every_cid_on_the_way(node: Node, tree: Built, refused: str) -> None:
    cid = tree.cids[refused] if refused else tree.root
    node.block(cid)
    assert (await ask(node, f"/ipfs/{tree.root}/docs/a.txt")).status == 410
    part = await ask(node, f"/ipfs/{tree.cids['docs']}/a.txt")
    assert part.status == 410
    other = await ask(node, f"/ipfs/{tree.root}/index.html")
    assert other.status == (200 if refused else 410)


async def test_other_hashes_and_blocks_within_their_cid(node: Node) -> None:
    cid = Cid(b"\x01" + varint.encode(RAW) + multihash_of(BLAKE3, 32, b"hello"))
    hold = node.store.begin_tree(cid)
    node.store.put_blocks(hold, [(cid, b"hello")])
    node.store.finish_tree(hold, origin=TreeOrigin.IMPORTED)
    assert (await ask(node, f"/ipfs/{cid}")).body == b"hello"
    inline = Cid(b"\x01\x55" + multihash_of(0, 5, b"hello"))
    assert (await ask(node, f"/ipfs/{inline}")).body == b"hello"


async def test_a_name_of_somebody_else_that_stands_for_a_kept_tree(node: Node, tree: Built) -> None:
    key = new_key()
    name = SiteId.of(key)
    value, until_s = f"/ipfs/{tree.root}".encode(), int(time.time()) + 600
    assert (await ask(node, f"/ipns/{name}/")).status == 404
    record = ipns.create(key, value=value, sequence=1, validity_s=until_s, ttl_s=60)
    node.store.save_name(name.cid.multihash, record, kept=True)
    answer = await ask(node, "/docs/a.txt", f"{name}.ipns.localhost:1")
    assert (answer.status, answer.body) == (200, b"a")
    assert "immutable" not in answer.headers["cache-control"]
    given = await ask(node, f"/ipns/{name}?format=ipns-record")
    assert given.body == record
    node.block(name)
    assert (await ask(node, f"/ipns/{name}/")).status == 410


@pytest.mark.parametrize("value", [b"/ipfs/nonsense", b"\xff", b"/ipns/example.org", b"/ipfs/bafkreic"])
async def test_a_name_that_stands_for_nothing_here(node: Node, value: bytes) -> None:
    key = new_key()
    record = ipns.create(key, value=value, sequence=1, validity_s=int(time.time()) + 600, ttl_s=60)
    node.store.save_name(SiteId.of(key).cid.multihash, record)
    assert (await ask(node, f"/ipns/{SiteId.of(key)}/")).status == 404


async def test_a_name_whose_record_has_expired(node: Node, tree: Built) -> None:
    key = new_key()
    value, until_s = f"/ipfs/{tree.root}".encode(), int(time.time()) - 1
    record = ipns.create(key, value=value, sequence=1, validity_s=until_s, ttl_s=60)
    node.store.save_name(SiteId.of(key).cid.multihash, record)
    assert (await ask(node, f"/ipns/{SiteId.of(key)}/")).status == 404
