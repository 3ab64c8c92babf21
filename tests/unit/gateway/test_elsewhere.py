"""Trees that nothing here has: fetched for readers who ask for them by CID or by a name, if the node does that."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from node.gateway.limits import FetchLimits
from protocol.cid import Cid
from protocol.site_id import SiteId
from tests.unit.gateway.nodes import Node, new_key, running_node
from tests.unit.gateway.sites import Built, Tree, build, sign
from tests.unit.gateway.test_name_lookup import made, name_and_alias
from tests.unit.gateway.test_trees import ask

TREE: Tree = {"index.html": b"home", "docs": {"a.txt": b"aaa"}, "big.bin": bytes(range(256)) * 8192}


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with running_node(tmp_path, fetch_trees=True, fetch_limits=FetchLimits(first_byte_s=1.0)) as running:
        yield running


def elsewhere(node: Node) -> Built:
    built = build(TREE, chunk_bytes=100_000)
    node.backend.blocks.update(built.blocks)
    return built


async def test_a_tree_is_fetched_and_served_under_its_cid(node: Node) -> None:
    built = elsewhere(node)
    for _ in range(2):
        assert (await ask(node, f"/ipfs/{built.root}/docs/a.txt")).body == b"aaa"
        assert (await ask(node, f"/ipfs/{Cid(built.root.multihash)}/big.bin")).body == TREE["big.bin"]
        assert (await ask(node, "/", f"{built.root}.ipfs.localhost:1")).body == b"home"
    assert len(node.backend.fetched) == len(set(node.backend.fetched))
    assert set(node.backend.trees_asked) == {built.root}
    car = await ask(node, f"/ipfs/{built.root}?format=car")
    assert (car.status, car.headers["content-type"].split(";")[0]) == (200, "application/vnd.ipld.car")


async def test_a_name_leads_to_a_tree_that_is_elsewhere(node: Node) -> None:
    name, other = name_and_alias(node, f"/ipfs/{elsewhere(node).root}/docs")
    for _ in range(3):
        for each in (name, other):
            assert (await ask(node, f"/ipns/{each}/a.txt")).body == b"aaa"
    assert node.backend.resolved.count(name) <= 2  # as a site, before it was known to be a name and after
    node.block(name)
    for each in (name, other):
        assert (await ask(node, f"/ipns/{each}/a.txt")).status == 410


async def test_a_site_of_the_federation_comes_before_its_record(node: Node) -> None:
    key = new_key()
    older, newer = build({"index.html": b"older"}), build({"index.html": b"newer"})
    signed = sign(key, newer)
    node.backend.blocks.update({**older.blocks, **newer.blocks})
    node.backend.heads[signed.site] = signed
    node.store.save_name(signed.site.cid.multihash, made(key, f"/ipfs/{older.root}"))
    assert (await ask(node, f"/ipns/{signed.site}/")).body == b"newer"


async def test_rules_are_asked_before_anything_is_fetched(node: Node) -> None:
    built = elsewhere(node)
    node.block(built.root)
    assert (await ask(node, f"/ipfs/{built.root}/docs/a.txt")).status == 410
    key = new_key()
    node.store.save_name(SiteId.of(key).cid.multihash, made(key, f"/ipfs/{built.root}"))
    assert (await ask(node, f"/ipns/{SiteId.of(key)}/")).status == 410
    assert node.backend.fetched == []


async def test_what_does_not_come_in_time_is_504(node: Node) -> None:
    root = build(TREE).root
    node.backend.hang = True
    answer = await ask(node, f"/ipfs/{root}/")
    assert (answer.status, "retry-after" in answer.headers) == (504, True)
    assert (await ask(node, f"/ipfs/{root}/", cache_control="only-if-cached")).status == 412


async def test_a_node_that_fetches_sites_alone_does_not_fetch_trees(tmp_path: Path) -> None:
    async with running_node(tmp_path) as node:
        built = elsewhere(node)
        assert (await ask(node, f"/ipfs/{built.root}/")).status == 404
        assert node.backend.fetched == []
