"""Trees and the names of others, as `node.store.port` promises them: on disk and in the in-memory twin."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.store.errors import BlockMissing, HoldGone, HoldIncomplete, QuotaExceeded, TooMany
from node.store.layout import cost
from node.store.port import NameRow, Store, TreeHold, TreeOrigin, TreeRecord
from protocol import ipns, varint
from protocol.cid import BLAKE2B_256, BLAKE3, DAG_PB, IDENTITY, RAW, SHA2_512, Cid, multihash_of
from protocol.errors import BadSignature, HashMismatch, Malformed, OverLimit, UnsupportedHash
from protocol.site_id import SiteId
from tests.conformance.store_kit import QUOTA, Bench, Blocks, Publisher, blocks, publish, readable, tree

NOW_S = 1_700_000_000


def keep(store: Store, content: Blocks, *, whole: bool = True, origin: TreeOrigin = TreeOrigin.IMPORTED) -> TreeHold:
    hold = store.begin_tree(next(iter(content)))
    missing = store.link_blocks(hold, list(content))
    store.put_blocks(hold, [(cid, content[cid]) for cid in missing])
    store.finish_tree(hold, origin=origin, whole=whole)
    return hold


def record(content: Blocks, *, whole: bool = True, origin: TreeOrigin = TreeOrigin.IMPORTED) -> TreeRecord:
    return TreeRecord(next(iter(content)), whole, origin, len(content), sum(map(len, content.values())), NOW_S)


def v0(cid: Cid) -> Cid:
    return Cid(cid.multihash)


def test_a_kept_tree_is_listed_and_read(bench: Bench) -> None:
    content = tree(blocks(1, 20))
    root = next(iter(content))
    keep(bench.store, content)
    for _ in range(2):
        assert bench.store.trees() == [record(content)]
        assert bench.store.tree(root) == record(content)
        assert all(bench.store.trees_of(cid, limit=5) == [root] for cid in content)
        assert readable(bench.store, content)
        assert (bench.store.sites(), bench.store.holds(), bench.store.open_trees()) == ([], [], [])
        assert bench.store.sites_of(root, limit=5) == []
        assert bench.store.is_linked(root)
        bench.reopen()


def test_an_open_tree_is_not_listed_and_can_be_resumed(bench: Bench) -> None:
    content = tree(blocks(1, 10))
    root, *rest = content
    hold = bench.store.begin_tree(root)
    bench.store.put_blocks(hold, [(cid, content[cid]) for cid in rest[:4]])
    assert bench.store.trees() == []
    assert bench.store.trees_of(rest[0], limit=5) == []
    bench.reopen()
    (info,) = bench.store.open_trees()
    assert (info.hold, info.done_blocks, info.done_bytes, info.new_blocks) == (hold, 4, 1200, 4)
    assert bench.store.hold_info(hold) == info
    assert bench.store.begin_tree(root) == hold
    with pytest.raises(HoldIncomplete):
        bench.store.finish_tree(hold, origin=TreeOrigin.FETCHED)
    missing = bench.store.link_blocks(hold, list(content))
    assert missing == [root, *rest[4:]]
    bench.store.put_blocks(hold, [(cid, content[cid]) for cid in missing])
    bench.store.finish_tree(hold, origin=TreeOrigin.FETCHED)
    bench.store.finish_tree(hold, origin=TreeOrigin.IMPORTED)
    assert bench.store.trees() == [record(content, origin=TreeOrigin.FETCHED)]
    assert bench.store.begin_tree(root) == hold
    with pytest.raises(OverLimit):
        bench.store.put_blocks(hold, list(blocks(9, 1).items()))


def test_dropping_frees_what_nothing_else_keeps(bench: Bench) -> None:
    content, other = tree(blocks(1, 10)), blocks(1, 3)
    publish(bench.store, Publisher(1).release(other), other)
    keep(bench.store, content)
    root = next(iter(content))
    alone = sum(len(data) for cid, data in content.items() if cid not in other)
    assert bench.store.usage().used_bytes == 900 + alone
    assert bench.store.drop_tree(root) == alone
    assert bench.store.drop_tree(root) == 0
    bench.reopen()
    assert bench.store.trees() == []
    assert bench.store.usage().used_bytes == 900
    assert readable(bench.store, other)
    with pytest.raises(BlockMissing):
        bench.store.get_block(root)


def test_an_aborted_tree_leaves_nothing(store: Store) -> None:
    content = tree(blocks(1, 5))
    hold = store.begin_tree(next(iter(content)), reserve_bytes=5000)
    store.put_blocks(hold, list(content.items()))
    store.abort_hold(hold)
    usage = store.usage()
    assert (usage.used_bytes, usage.reserved_bytes, usage.blocks) == (0, 0, 0)
    with pytest.raises(HoldGone):
        store.put_blocks(hold, list(content.items()))
    with pytest.raises(HoldGone):
        store.finish_tree(hold, origin=TreeOrigin.IMPORTED)


def test_a_partial_tree_is_shown_so_and_can_be_completed(bench: Bench) -> None:
    content = tree(blocks(1, 6))
    root = next(iter(content))
    part = dict(list(content.items())[:4])
    keep(bench.store, part, whole=False)
    bench.reopen()
    assert bench.store.trees() == [record(part, whole=False)]
    assert not bench.store.is_linked(root)
    assert bench.store.trees_of(root, limit=5) == [root]
    keep(bench.store, content)
    bench.reopen()
    assert bench.store.trees() == [record(content)]
    assert bench.store.is_linked(root)
    assert bench.store.usage().used_bytes == record(content).size_bytes


def test_the_quota_is_counted_exactly(store: Store) -> None:
    content = tree(blocks(1, 10))
    size = sum(map(len, content.values()))
    hold = store.begin_tree(next(iter(content)), reserve_bytes=cost(len(content), size))
    assert store.usage().reserved_bytes == cost(len(content), size)
    store.put_blocks(hold, list(content.items())[:5])
    usage = store.usage()
    assert usage.used_bytes + usage.index_bytes + usage.reserved_bytes == cost(len(content), size)
    store.put_blocks(hold, list(content.items())[5:])
    store.finish_tree(hold, origin=TreeOrigin.IMPORTED)
    usage = store.usage()
    assert (usage.used_bytes, usage.index_bytes, usage.reserved_bytes) == (size, 256 * len(content), 0)


def test_a_tree_that_does_not_fit_is_refused(store: Store) -> None:
    content = blocks(1, 4, QUOTA // 3)
    with pytest.raises(QuotaExceeded):
        store.begin_tree(next(iter(content)), reserve_bytes=QUOTA + 1)
    hold = store.begin_tree(next(iter(content)))
    store.put_blocks(hold, list(content.items())[:2])
    with pytest.raises(QuotaExceeded):
        store.put_blocks(hold, list(content.items())[2:])
    assert store.hold_info(hold).done_blocks == 2
    store.begin_tree(next(iter(content)), max_blocks=2)
    with pytest.raises(OverLimit):
        store.put_blocks(hold, list(blocks(2, 1).items()))


def test_open_trees_and_kept_ones_are_bounded(store: Store) -> None:
    contents = [tree(blocks(seed, 2)) for seed in range(5)]
    holds = [store.begin_tree(next(iter(content))) for content in contents[:3]]
    assert [info.hold for info in store.open_trees()] == holds[1:]
    for content in contents[:3]:
        keep(store, content)
    with pytest.raises(TooMany):
        keep(store, contents[3])
    assert len(store.trees()) == 3
    keep(store, contents[0])


def test_a_damaged_block_of_a_tree_is_healed(bench: Bench) -> None:
    content = tree(blocks(1, 6))
    hold = keep(bench.store, content)
    hurt = list(content)[3]
    bench.store.mark_corrupt(hurt)
    assert bench.store.damaged(5) == [(hurt, None)]
    assert not bench.store.is_linked(hurt)
    again = bench.store.begin_tree(hold.root)
    assert bench.store.link_blocks(again, list(content)) == [hurt]
    assert bench.store.put_blocks(again, [(hurt, content[hurt])]) == 0
    assert bench.store.damaged(5) == []
    assert readable(bench.store, content)


def test_a_tree_takes_blocks_from_the_cache(store: Store) -> None:
    content = tree(blocks(1, 4))
    store.cache_blocks(list(content.items()))
    keep(store, content)
    usage = store.usage()
    assert (usage.cache_bytes, usage.used_bytes) == (0, sum(map(len, content.values())))


# --- names of one block ------------------------------------------------------------------------------------


def test_a_cid_of_version_0_names_the_same_block(bench: Bench) -> None:
    content = tree(blocks(1, 3))
    root, *rest = content
    old = v0(root)
    hold = bench.store.begin_tree(old)
    assert hold.root == root
    assert bench.store.link_blocks(hold, [old, root, rest[0]]) == [old, rest[0]]
    bench.store.put_blocks(hold, [(old, content[root]), (root, content[root])])
    bench.store.put_blocks(hold, [(cid, content[cid]) for cid in rest])
    bench.store.finish_tree(hold, origin=TreeOrigin.IMPORTED)
    bench.reopen()
    store = bench.store
    assert store.trees() == [record(content)]
    assert store.tree(old) == store.tree(root) == record(content)
    assert store.get_block(old) == store.get_block(root) == content[root]
    assert store.has_blocks([old, root, v0(rest[0])]) == {old, root}
    assert store.trees_of(old, limit=1) == [root]
    assert store.is_linked(old)
    store.mark_corrupt(old)
    assert store.has_blocks([root]) == set()
    store.put_blocks(store.begin_tree(root), [(old, content[root])])
    assert store.drop_tree(old) == record(content).size_bytes


def hashed(code: int, data: bytes) -> Cid:
    length = 64 if code == SHA2_512 else 32
    return Cid(b"\x01" + varint.encode(RAW) + multihash_of(code, length, data))


@pytest.mark.parametrize("code", [SHA2_512, BLAKE3, BLAKE2B_256])
def test_other_hashes_are_kept_and_checked(bench: Bench, code: int) -> None:
    data = b"x" * 500
    content = {hashed(code, data): data}
    keep(bench.store, content)
    bench.reopen()
    assert bench.store.get_block(next(iter(content))) == data
    with pytest.raises(HashMismatch):
        bench.store.put_blocks(bench.store.begin_tree(hashed(code, b"other")), [(hashed(code, b"other"), data)])


def test_other_hashes_are_refused_by_name(store: Store) -> None:
    keccak = Cid(b"\x01\x55\x1b\x20" + bytes(32))
    hold = store.begin_tree(keccak)
    with pytest.raises(UnsupportedHash, match="keccak-256"):
        store.put_blocks(hold, [(keccak, b"data")])
    with pytest.raises(UnsupportedHash, match="identity"):
        store.begin_tree(Cid(b"\x01\x55" + multihash_of(IDENTITY, 4, b"data")))


# --- names of others ---------------------------------------------------------------------------------------

KEYS = [Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32) for seed in (1, 2, 3)]
NAMES = [SiteId.of(key).cid.multihash for key in KEYS]
VALUE = b"/ipfs/bafkqaaa"


def made(which: int, sequence: int, validity_s: int = NOW_S) -> bytes:
    return ipns.create(KEYS[which], value=VALUE, sequence=sequence, validity_s=validity_s, ttl_s=60)


def test_the_better_record_of_a_name_is_kept(bench: Bench) -> None:
    store = bench.store
    assert store.name(NAMES[0]) is None
    assert store.save_name(NAMES[0], made(0, 5))
    assert not store.save_name(NAMES[0], made(0, 4, NOW_S + 9))
    assert not store.save_name(NAMES[0], made(0, 5))
    assert store.save_name(NAMES[0], made(0, 5, NOW_S + 1))
    assert store.save_name(NAMES[0], made(0, 6, NOW_S - 9), kept=True)
    assert not store.save_name(NAMES[0], made(0, 5))
    bench.reopen()
    expected = NameRow(NAMES[0], made(0, 6, NOW_S - 9), True, NOW_S)
    assert bench.store.name(NAMES[0]) == expected
    assert bench.store.names() == [expected]
    assert bench.store.forget_name(NAMES[0])
    assert not bench.store.forget_name(NAMES[0])
    assert bench.store.names() == []


@pytest.mark.parametrize(
    ("record", "error"), [(lambda: made(1, 1), BadSignature), (lambda: b"\x0a\x01x", Malformed)], ids=["other", "none"]
)
def test_a_record_is_verified_first(store: Store, record: Callable[[], bytes], error: type[Exception]) -> None:
    with pytest.raises(error):
        store.save_name(NAMES[0], record())
    assert store.names() == []


def test_names_are_bounded_and_those_to_be_kept_stay(bench: Bench) -> None:
    store = bench.store
    store.save_name(NAMES[0], made(0, 1), kept=True)
    bench.now_s += 1
    store.save_name(NAMES[1], made(1, 1))
    bench.now_s += 1
    store.save_name(NAMES[2], made(2, 1))
    assert [row.name for row in store.names()] == [NAMES[2], NAMES[0]]
    assert [row.name for row in store.names(kept_only=True)] == [NAMES[0]]
    store.save_name(NAMES[2], made(2, 1), kept=True)
    with pytest.raises(TooMany):
        store.save_name(NAMES[1], made(1, 1), kept=True)
    assert {row.name for row in store.names()} == {NAMES[0], NAMES[2]}


def test_a_tree_of_dag_pb_is_no_release(store: Store) -> None:
    content = tree(blocks(1, 2))
    root = next(iter(content))
    assert root.codec == DAG_PB
    publish(store, Publisher(1).release(content), content)
    keep(store, content)
    assert store.sites_of(root, limit=2) == [Publisher(1).site]
    assert store.trees_of(root, limit=2) == [root]
    assert store.drop_tree(root) == 0
    assert readable(store, content)
