"""CAR files that become trees: all of them, or nothing."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import pytest

from node.policy.model import Rule
from node.store.errors import QuotaExceeded
from node.store.memory import MemoryStore
from node.store.port import TreeOrigin
from node.trees.control import Trees
from node.trees.importing import CAR_CODEC, Imported, TreeIncomplete, TreeRefused, import_car
from protocol import dagcbor, varint
from protocol.car import encode_header, section_prefix
from protocol.cid import BLAKE3, DAG_CBOR, RAW, SHA2_512, Cid, multihash_of
from protocol.denylist import CidPath
from protocol.errors import HashMismatch, Malformed, Truncated, UnsupportedCodec, UnsupportedHash
from tests.conformance.store_kit import Blocks, blocks, tree
from tests.unit.replication.kit import MemoryNode, ring

CONTENT = tree(blocks(1, 30))
ROOT = next(iter(CONTENT))


def car(roots: Sequence[Cid], content: Blocks, *, order: random.Random | None = None) -> bytes:
    items = list(content.items())
    if order is not None:
        order.shuffle(items)
    return encode_header(roots) + b"".join(section_prefix(cid, len(data)) + data for cid, data in items)


async def pieces(raw: bytes, size: int = 1000) -> AsyncGenerator[bytes, None]:
    for at in range(0, len(raw), size):
        yield raw[at : at + size]


async def take(node: MemoryNode, raw: bytes, *, partial: bool = False) -> Imported:
    async with aclosing(pieces(raw)) as coming:
        return await import_car(node.replicator.context, coming, partial=partial)


def is_empty(store: MemoryStore) -> bool:
    usage = store.usage()
    return (usage.blocks, usage.reserved_bytes, store.trees(), store.open_trees()) == (0, 0, [], [])


@pytest.mark.parametrize("seed", [None, 1, 2])
async def test_a_file_becomes_its_tree_whatever_its_order(seed: int | None) -> None:
    order = None if seed is None else random.Random(seed)
    extra = blocks(9, 3)
    async with ring(1) as (_, (node,)):
        found = await take(node, car([ROOT], CONTENT | extra, order=order))
        (record,) = node.store.trees()
        assert found == Imported([record], 0, 34, sum(map(len, (CONTENT | extra).values())))
        assert (record.root, record.whole, record.origin, record.blocks) == (ROOT, True, TreeOrigin.IMPORTED, 31)
        assert node.store.has_blocks([*CONTENT, *extra]) == set(CONTENT)
        assert node.store.open_trees() == []
        again = await take(node, car([ROOT], CONTENT))
        assert (again.trees, again.known, again.new_blocks) == ([record], 1, 0)


async def test_roots_of_one_file_share_blocks_and_are_trees_each() -> None:
    other = tree(dict(list(CONTENT.items())[1:10]))
    top = next(iter(other))
    inline = Cid(b"\x01\x55\x00\x01x")
    async with ring(1) as (_, (node,)):
        found = await take(node, car([ROOT, top, Cid(ROOT.multihash), inline], CONTENT | other))
        assert [each.root for each in found.trees] == [ROOT, top]
        assert node.store.usage().blocks == len(CONTENT | other)
        node.store.drop_tree(ROOT)
        assert node.store.has_blocks([*CONTENT, *other]) == set(other)


async def test_nodes_of_other_codecs_and_hashes_are_followed() -> None:
    leaf = Cid(b"\x01" + varint.encode(RAW) + multihash_of(BLAKE3, 32, b"leaf"))
    raw = dagcbor.encode({"file": ROOT, "leaf": leaf})
    top = Cid(b"\x01" + varint.encode(DAG_CBOR) + multihash_of(SHA2_512, 64, raw))
    async with ring(1) as (_, (node,)):
        found = await take(node, car([top], {top: raw, leaf: b"leaf"} | CONTENT))
        assert found.trees[0].blocks == len(CONTENT) + 2


async def test_what_the_store_has_completes_a_file() -> None:
    async with ring(1) as (_, (node,)):
        node.store.cache_blocks(list(CONTENT.items())[5:])
        found = await take(node, car([ROOT], dict(list(CONTENT.items())[:5])))
        assert found.trees[0].whole


@pytest.mark.parametrize("seed", range(6))
async def test_a_cut_or_damaged_file_leaves_nothing(seed: int) -> None:
    raw = car([ROOT], CONTENT)
    at = random.Random(seed).randrange(80, len(raw))
    async with ring(1) as (_, (node,)):
        with pytest.raises((Truncated, TreeIncomplete)):
            await take(node, raw[:at])
        assert is_empty(node.store)
    flipped = raw[:-9] + bytes((raw[-9] ^ 1,)) + raw[-8:]
    async with ring(1) as (_, (node,)):
        with pytest.raises(HashMismatch, match=r"damaged.*at byte \d+") as caught:
            await take(node, flipped)
        assert caught.value.offset == len(raw) - 300 - 38  # length (2 bytes), CID (36) and data of the last section
        assert is_empty(node.store)


async def test_a_tree_with_missing_blocks_is_refused_or_kept_as_such() -> None:
    part = {cid: data for cid, data in CONTENT.items() if cid != list(CONTENT)[7]}
    async with ring(1) as (_, (node,)):
        with pytest.raises(TreeIncomplete, match="1 blocks below"):
            await take(node, car([ROOT], part))
        assert is_empty(node.store)
        found = await take(node, car([ROOT], part), partial=True)
        assert [(each.whole, each.blocks) for each in found.trees] == [(False, 30)]
        complete = await take(node, car([ROOT], CONTENT))
        assert [(each.whole, each.blocks, each.root) for each in complete.trees] == [(True, 31, ROOT)]
        assert node.store.trees() == complete.trees


async def test_loose_blocks_of_a_partial_file_are_trees_under_their_heads() -> None:
    other = tree(blocks(5, 4))
    async with ring(1) as (_, (node,)):
        found = await take(node, car([ROOT], CONTENT | other), partial=True)
        assert {each.root: each.whole for each in found.trees} == {ROOT: True, next(iter(other)): True}
        assert node.store.usage().blocks == len(CONTENT | other)
    async with ring(1) as (_, (node,)):
        found = await take(node, car([], CONTENT), partial=True)
        assert [each.root for each in found.trees] == [ROOT]


async def test_policy_is_asked_for_roots_and_blocks() -> None:
    for refused in (ROOT, list(CONTENT)[9]):
        async with ring(1) as (_, (node,)):
            node.set_rules(Rule(CidPath(refused.multihash, "", False), "refuse", "policy", "no", 1))
            with pytest.raises(TreeRefused, match=str(refused)):
                await take(node, car([ROOT], CONTENT))
            assert is_empty(node.store)


async def test_a_quarantined_root_is_not_taken_a_quarantined_block_is() -> None:
    async with ring(1) as (_, (node,)):
        node.set_rules(Rule(CidPath(ROOT.multihash, "", False), "quarantine", "policy", "no", 1))
        with pytest.raises(TreeRefused):
            await take(node, car([ROOT], CONTENT))
        node.set_rules(Rule(CidPath(list(CONTENT)[9].multihash, "", False), "quarantine", "policy", "no", 1))
        assert (await take(node, car([ROOT], CONTENT))).trees[0].whole


async def test_a_file_that_does_not_fit_leaves_nothing() -> None:
    async with ring(1, quota_bytes=4000) as (_, (node,)):
        with pytest.raises(QuotaExceeded):
            await take(node, car([ROOT], CONTENT))
        assert is_empty(node.store)


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"\x05hello", Malformed),
        (b"", Truncated),
        (car([], CONTENT), Malformed),
        (car([Cid.of(0x78, b"git")], {Cid.of(0x78, b"git"): b"git"}), UnsupportedCodec),
        (car([Cid(b"\x01\x55\x1b\x20" + bytes(32))], {Cid(b"\x01\x55\x1b\x20" + bytes(32)): b"x"}), UnsupportedHash),
    ],
    ids=["text", "empty", "no root", "codec", "hash"],
)
async def test_what_is_no_file_of_trees(raw: bytes, error: type[Exception]) -> None:
    async with ring(1) as (_, (node,)):
        with pytest.raises(error):
            await take(node, raw)
        assert is_empty(node.store)


async def test_remains_of_an_import_that_was_killed_go_at_the_start() -> None:
    async with ring(1) as (_, (node,)):
        name = Cid(b"\x01" + varint.encode(CAR_CODEC) + multihash_of(0x12, 32, b"roots"))
        node.store.put_blocks(node.store.begin_tree(name), list(CONTENT.items()))
        fetching = node.store.begin_tree(ROOT)
        await Trees(node.replicator.context).forget_remains()
        assert [info.hold for info in node.store.open_trees()] == [fetching]
        assert node.store.usage().blocks == 0
