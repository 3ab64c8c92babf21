"""Names of others that nobody imported: looked for when they are read, and again when their TTL is over."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.gateway.name_lookup import NameLookups
from protocol import ipns
from protocol.cid import Cid
from protocol.site_id import SiteId
from tests.unit.gateway.nodes import Node, new_key, running_node
from tests.unit.gateway.sites import build
from tests.unit.gateway.test_trees import TREE, ask, keep


def made(key: Ed25519PrivateKey, value: str, *, seq: int = 1, ttl_s: int = 3600, valid_s: int = 7200) -> bytes:
    until_s = int(time.time()) + valid_s
    return ipns.create(key, value=value.encode(), sequence=seq, validity_s=until_s, ttl_s=ttl_s)


def name_and_alias(node: Node, target: str) -> tuple[SiteId, SiteId]:
    """Records that can be found: of a name for `target`, and of another name for that name."""
    key, alias = new_key(), new_key()
    name, other = SiteId.of(key), SiteId.of(alias)
    node.backend.records[name.cid.multihash] = made(key, target)
    node.backend.records[other.cid.multihash] = made(alias, f"/ipns/{name}")
    return name, other


async def test_a_name_that_nobody_imported_leads_into_a_kept_tree(node: Node) -> None:
    name, other = name_and_alias(node, f"/ipfs/{keep(node, build(TREE))}/docs")
    for _ in range(3):
        for each in (name, other):
            answer = await ask(node, f"/ipns/{each}/a.txt")
            assert (answer.status, answer.body) == (200, b"a")
    assert sorted(node.backend.names_asked) == sorted([name.cid.multihash, other.cid.multihash])
    node.block(name)
    assert (await ask(node, f"/ipns/{name}/a.txt")).status == 410


async def test_a_name_that_is_not_found_is_not_asked_for_again_at_once(node: Node) -> None:
    name = SiteId.of(new_key())
    for _ in range(3):
        assert (await ask(node, f"/ipns/{name}/a.txt")).status == 404
    assert node.backend.names_asked == [name.cid.multihash]


async def test_nobody_is_asked_when_nothing_is_to_be_fetched(tmp_path: Path) -> None:
    async with running_node(tmp_path, fetch_on_miss=False) as node:
        key = new_key()
        node.backend.records[SiteId.of(key).cid.multihash] = made(key, f"/ipfs/{keep(node, build(TREE))}")
        assert (await ask(node, f"/ipns/{SiteId.of(key)}/docs/a.txt")).status == 404
        assert node.backend.names_asked == []


@pytest.mark.parametrize("known", ["fresh", "expired", "none"])
async def test_what_is_fresh_is_believed(node: Node, known: str) -> None:
    key = new_key()
    name = SiteId.of(key).cid.multihash
    if known != "none":
        node.store.save_name(name, made(key, "/ipfs/bafkqaaa", valid_s=-1 if known == "expired" else 7200))
    lookups = NameLookups(node.app._view, node.backend)
    await lookups.refresh(name)
    assert node.backend.names_asked == ([] if known == "fresh" else [name])


async def test_readers_of_one_name_share_a_lookup(node: Node) -> None:
    name = SiteId.of(new_key()).cid.multihash
    asked = trio.Event()
    go_on = trio.Event()

    class Slow:
        count = 0

        async def find_name(self, name: bytes) -> None:
            self.count += 1
            asked.set()
            await go_on.wait()

        async def put_name(self, name: bytes, record: bytes) -> None:
            raise AssertionError

        async def fetch_tree_block(self, root: Cid, cid: Cid) -> None:
            raise AssertionError

    slow = Slow()
    lookups = NameLookups(node.app._view, slow)
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(lookups.refresh, name)
        await asked.wait()
        go_on.set()
    await lookups.refresh(name)
    assert slow.count == 1
