from __future__ import annotations

import random
import time
import tracemalloc
from collections import deque
from collections.abc import Iterator

import pytest

from protocol import dag_walk, dagcbor, dagjson, varint
from protocol.builder import DirEntry, build_directory, leaf
from protocol.cid import BLAKE3, CBOR, DAG_CBOR, DAG_JSON, DAG_PB, IDENTITY, RAW, SHA2_512, Cid, multihash_of
from protocol.dag_walk import DagWalk
from protocol.dagpb import PBLink
from protocol.errors import DecodeError, OverLimit, UnsupportedCodec, UnsupportedHash
from protocol.limits import WALK_MAX_DEPTH, WALK_OPEN_NODES
from protocol.walk import children
from tests.unit.protocol.blocks import Blocks
from tests.vectors.make_trees import Tree, plant

TREE: Tree = {
    "a": {"1": b"1", "2": {"x": b"x", "y": b"y"}, "3": b"3"},
    "b": b"b",
    "big": {f"{number}": b"%d" % number for number in range(7000)},
    "c": {"1": b"1", "again": {"x": b"x", "y": b"y"}},
    "file": 3 * 2**20 + 1,
    "z": b"z",
}


def recursive(blocks: Blocks, cid: Cid, seen: set[Cid]) -> Iterator[Cid]:
    """Depth-first pre-order by the book, each block once."""
    if cid not in seen:
        seen.add(cid)
        yield cid
        for link in children(cid, blocks[cid]):
            yield from recursive(blocks, link.cid, seen)


def drain(walk: DagWalk, blocks: Blocks, n: int = 1) -> list[Cid]:
    found = []
    while not walk.done:
        named = walk.want(n)
        assert named or walk.done
        for cid in named:
            found.append(cid)
            walk.feed(cid, blocks[cid])
    assert walk.want(n) == []
    return found


@pytest.fixture(scope="module")
def tree() -> tuple[Blocks, Cid]:
    blocks = Blocks()
    return blocks, plant(TREE, blocks.add).cid


@pytest.mark.parametrize("n", [1, 2, 7, 1000])
def test_in_order_is_depth_first_pre_order(tree: tuple[Blocks, Cid], n: int) -> None:
    blocks, root = tree
    found = drain(DagWalk(root, in_order=True, unique=True, site_only=True), blocks, n)
    assert found == list(recursive(blocks, root, set()))


@pytest.mark.parametrize("n", [1, 2, 7, 1000])
def test_any_window_names_every_block(tree: tuple[Blocks, Cid], n: int) -> None:
    blocks, root = tree
    found = drain(DagWalk(root), blocks, n)
    assert set(found) == set(recursive(blocks, root, set()))
    nodes = [cid for cid in found if cid.codec == DAG_PB]
    assert len(nodes) == len(set(nodes))


def test_in_order_stops_at_an_open_node_and_goes_on_after_the_answer(tree: tuple[Blocks, Cid]) -> None:
    blocks, root = tree
    walk = DagWalk(root, in_order=True)
    assert walk.want(100) == [root]
    assert walk.want(100) == []
    assert not walk.done
    assert walk.open_nodes == (root,)
    walk.feed(root, blocks[root])
    first = children(root, blocks[root])[0].cid
    assert walk.want(100) == [first]


def test_without_in_order_siblings_are_named_while_a_node_is_open(tree: tuple[Blocks, Cid]) -> None:
    blocks, root = tree
    walk = DagWalk(root)
    assert walk.want(100) == [root]
    walk.feed(root, blocks[root])
    assert walk.want(100) == [link.cid for link in children(root, blocks[root])]


def test_answers_in_the_order_of_wants_keep_the_order_of_the_tree() -> None:
    """Open siblings: what the first one's answer adds comes before what the second one's adds."""
    blocks = Blocks()
    leaves = [[blocks.raw(b"%d-%d" % (d, number)) for number in range(3)] for d in range(4)]
    nodes = [blocks.directory({f"{number}": cid for number, cid in enumerate(row)}) for row in leaves]
    root = blocks.directory({f"{number}": cid for number, cid in enumerate(nodes)})
    walk = DagWalk(root)
    walk.want(1)
    walk.feed(root, blocks[root])
    assert walk.want(3) == nodes[:3]
    for node in nodes[:3]:
        walk.feed(node, blocks[node])
    assert walk.want(100) == [*leaves[0], *leaves[1], *leaves[2], nodes[3]]
    walk.feed(nodes[3], blocks[nodes[3]])
    assert walk.want(100) == leaves[3]
    assert walk.done


@pytest.mark.parametrize("seed", range(12))
def test_pipelining_with_answers_in_any_order(tree: tuple[Blocks, Cid], seed: int) -> None:
    blocks, root = tree
    chosen = random.Random(seed)
    walk = DagWalk(root, unique=bool(seed % 2))
    outstanding: list[Cid] = []
    found: set[Cid] = set()
    while not walk.done or outstanding:
        outstanding += walk.want(chosen.randrange(40))
        chosen.shuffle(outstanding)
        for cid in [outstanding.pop() for _ in range(chosen.randrange(len(outstanding) + 1))]:
            found.add(cid)
            walk.feed(cid, blocks[cid])
    assert found == set(recursive(blocks, root, set()))


def test_a_peer_that_goes_away_leaves_open_nodes_to_ask_again(tree: tuple[Blocks, Cid]) -> None:
    blocks, root = tree
    walk = DagWalk(root)
    walk.want(1)
    walk.feed(root, blocks[root])
    named = walk.want(100)
    nodes = tuple(cid for cid in named if not DagWalk.is_leaf(cid))
    assert walk.open_nodes == nodes
    assert len(nodes) > 2
    walk.feed(nodes[1], blocks[nodes[1]])
    assert walk.open_nodes == nodes[:1] + nodes[2:]


def test_skip_leaves_a_subtree_out(tree: tuple[Blocks, Cid]) -> None:
    blocks, root = tree
    walk = DagWalk(root, in_order=True)
    walk.want(1)
    walk.feed(root, blocks[root])
    [first] = walk.want(100)
    walk.skip(first)
    rest = {cid for link in children(root, blocks[root])[1:] for cid in recursive(blocks, link.cid, set())}
    assert set(drain(walk, blocks)) == rest
    done = DagWalk(root)
    done.want(1)
    done.skip(root)
    assert done.done


def test_answers_that_nobody_asked_for(tree: tuple[Blocks, Cid]) -> None:
    blocks, root = tree
    walk = DagWalk(root)
    with pytest.raises(ValueError, match="open"):
        walk.feed(root, blocks[root])
    with pytest.raises(ValueError, match="open"):
        walk.skip(root)
    walk.want(1)
    walk.feed(root, blocks[root])
    with pytest.raises(ValueError, match="open"):
        walk.feed(root, blocks[root])
    walk.feed(Cid.of(RAW, b"any leaf"), b"any leaf")
    walk.skip(Cid.of(RAW, b"any leaf"))


def test_a_site_of_one_leaf() -> None:
    blocks = Blocks()
    walk = DagWalk(blocks.raw(b"x"), in_order=True, site_only=True)
    assert not walk.done
    assert walk.want(0) == []
    assert walk.want(5) == [blocks.raw(b"x")]
    assert walk.done


def test_leaves_again_and_once() -> None:
    blocks = Blocks()
    one = blocks.raw(b"x")
    sub = blocks.directory({"p": one, "q": one})
    root = blocks.directory({"a": one, "b": one, "c": sub})
    assert drain(DagWalk(root, in_order=True), blocks, 1).count(one) == 4
    assert drain(DagWalk(root, in_order=True), blocks, 100).count(one) == 2  # once per want()
    assert drain(DagWalk(root, in_order=True, unique=True), blocks).count(one) == 1


def test_a_dag_of_40_nodes_does_not_stand_for_2_to_the_40() -> None:
    blocks = Blocks()
    cid = blocks.raw(b"x")
    for _ in range(40):
        cid = blocks.directory({"left": cid, "right": cid})
    assert len(drain(DagWalk(cid), blocks)) <= 42


def test_depth_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dag_walk, "WALK_MAX_DEPTH", 50)
    blocks = Blocks()
    cid = blocks.raw(b"x")
    for _ in range(50):
        cid = blocks.directory({"d": cid})
    assert len(drain(DagWalk(cid), blocks)) == 51
    with pytest.raises(OverLimit):
        drain(DagWalk(blocks.directory({"d": cid})), blocks)
    assert WALK_MAX_DEPTH > 1000


def wide_and_deep(blocks: Blocks, levels: int, width: int) -> Cid:
    cid = blocks.raw(b"x")
    for level in range(levels):
        links = [PBLink(Cid.of(RAW, b"%d %d" % (level, number)), b"y", 1) for number in range(width)]
        cid = blocks.node([PBLink(cid, b"a", 1), *links], b"\x08\x01")
    return cid


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = Blocks()
    root = wide_and_deep(blocks, 10, 1000)
    nodes = {cid for cid in blocks if cid.codec == DAG_PB}

    def walk_nodes() -> None:
        walk = DagWalk(root, in_order=True)
        while not walk.done:
            for cid in walk.want(1):
                if cid in nodes:
                    walk.feed(cid, blocks[cid])

    walk_nodes()
    monkeypatch.setattr(dag_walk, "WALK_MAX_BYTES", 9 * 37 * 1000)
    with pytest.raises(OverLimit):
        walk_nodes()


def test_looking_ahead_stops_when_much_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = Blocks()
    subs = [wide_and_deep(blocks, 1, 50 + number) for number in range(9)]
    root = blocks.directory({f"{number}": sub for number, sub in enumerate(subs)})
    walk = DagWalk(root)
    walk.want(1)
    walk.feed(root, blocks[root])
    assert walk.want(3) == subs[:3]
    monkeypatch.setattr(dag_walk, "WALK_AHEAD_BYTES", 100)
    for sub in subs[:3]:
        walk.feed(sub, blocks[sub])
    named = walk.want(1000)
    assert [cid for cid in named if not DagWalk.is_leaf(cid)] == [subs[3]]
    assert walk.want(1000) == []
    walk.feed(subs[3], blocks[subs[3]])
    assert walk.want(1000)


def test_open_nodes_are_bounded() -> None:
    blocks = Blocks()
    subs = [blocks.directory({f"{number}": blocks.raw(b"x")}) for number in range(WALK_OPEN_NODES + 10)]
    root = blocks.directory({f"{number}": sub for number, sub in enumerate(subs)})
    walk = DagWalk(root)
    walk.want(1)
    walk.feed(root, blocks[root])
    named = walk.want(1000)
    assert len(named) == WALK_OPEN_NODES
    assert walk.want(1000) == []
    walk.feed(named[5], blocks[named[5]])
    named += walk.want(1000)
    assert len(named) == WALK_OPEN_NODES + 2  # the leaf, and one more node
    assert set(drain_open(walk, blocks)) | set(named) >= set(subs)


def drain_open(walk: DagWalk, blocks: Blocks) -> Iterator[Cid]:
    todo = deque(walk.open_nodes)
    while todo or not walk.done:
        while todo:
            cid = todo.popleft()
            walk.feed(cid, blocks[cid])
        found = walk.want(50)
        yield from found
        todo += [cid for cid in found if not DagWalk.is_leaf(cid)]


def version_0(cid: Cid) -> Cid:
    return Cid(cid.multihash)


def test_links_of_version_0_are_walked_but_not_in_sites() -> None:
    blocks = Blocks()
    inner = blocks.node([PBLink(blocks.raw(b"x"), b"x", 1)], b"\x08\x01", version=0)
    root = blocks.node([PBLink(inner, b"d", 1)], b"\x08\x01", version=0)
    assert drain(DagWalk(root), blocks) == [root, inner, blocks.raw(b"x")]
    with pytest.raises(UnsupportedHash):
        DagWalk(root, site_only=True)
    walk = DagWalk(blocks.directory({"d": inner}), site_only=True)
    [cid] = walk.want(1)
    with pytest.raises(UnsupportedHash):
        walk.feed(cid, blocks[cid])


@pytest.mark.parametrize(
    ("error", "link"),
    [
        (UnsupportedCodec, Cid.of(0x78, b"git")),
        (UnsupportedHash, Cid(b"\x01\x55\x1b\x20" + bytes(32))),
        (UnsupportedHash, Cid(b"\x01\x70\x11\x14" + bytes(20))),
    ],
)
def test_links_to_what_no_tree_holds(error: type[DecodeError], link: Cid) -> None:
    blocks = Blocks()
    root = blocks.directory({"x": link})
    walk = DagWalk(root)
    walk.want(1)
    with pytest.raises(error):
        walk.feed(root, blocks[root])


def test_links_are_followed_in_every_codec_that_is_read() -> None:
    leaf = Cid(b"\x01\x55" + multihash_of(BLAKE3, 32, b"leaf"))
    plain = Cid.of(CBOR, b"\xa0")
    json_block = dagjson.encode({"a": [leaf, {"b": plain}]})
    json_node = Cid(b"\x01" + varint.encode(DAG_JSON) + multihash_of(SHA2_512, 64, json_block))
    inline = Cid(b"\x01\x71" + multihash_of(IDENTITY, len(raw := dagcbor.encode([leaf])), raw))
    cbor_block = dagcbor.encode({"x": json_node, "y": inline, "z": plain})
    root = Cid.of(DAG_CBOR, cbor_block)
    walk = DagWalk(root, in_order=True, unique=True)
    assert walk.want(9) == [root]
    walk.feed(root, cbor_block)
    assert walk.want(9) == [json_node]
    walk.feed(json_node, json_block)
    assert walk.want(9) == [leaf, plain]
    assert walk.want(9) == []
    assert walk.done
    assert DagWalk.is_leaf(plain)
    with pytest.raises(UnsupportedHash):
        DagWalk(leaf, site_only=True)


def test_identity_nodes_are_followed_and_not_named() -> None:
    blocks = Blocks()

    def inlined(codec: int, data: bytes) -> Cid:
        return Cid(bytes((1, codec, IDENTITY, len(data))) + data)

    one, two = blocks.raw(b"1"), blocks.raw(b"2")
    plain = blocks.directory({"a": one})
    inner = inlined(DAG_PB, blocks[plain])
    root = blocks.directory({"0": inlined(RAW, b"hello"), "1": inner, "2": two})
    assert drain(DagWalk(root, in_order=True), blocks) == [root, one, two]
    assert drain(DagWalk(root), blocks, 100) == [root, one, two]
    assert drain(DagWalk(inner), blocks, 3) == [one]
    with pytest.raises(UnsupportedHash):
        drain(DagWalk(root, site_only=True), blocks)


def test_a_block_that_is_no_node() -> None:
    cid = Cid.of(DAG_PB, b"\xff")
    walk = DagWalk(cid)
    walk.want(1)
    with pytest.raises(DecodeError):
        walk.feed(cid, b"\xff")


def site_of(folders: int, files: int) -> tuple[Blocks, Cid]:
    blocks = Blocks()
    found = []
    for folder in range(folders):
        links = ((f"page-{number}.html", leaf(b"%d %d" % (folder, number))) for number in range(files))
        entries = [DirEntry(name, link.cid, link.tsize) for name, link in links]
        link = build_directory(entries, blocks.add)
        found.append(DirEntry(f"folder-{folder}", link.cid, link.tsize))
    return blocks, build_directory(found, blocks.add).cid


def walk_nodes(blocks: Blocks, root: Cid) -> int:
    """Number of blocks named, leaves neither fed nor kept."""
    walk = DagWalk(root, site_only=True)
    named = 0
    while not walk.done:
        for cid in walk.want(256):
            named += 1
            if not DagWalk.is_leaf(cid):
                walk.feed(cid, blocks[cid])
    return named


def test_60_000_blocks_take_little_time() -> None:
    blocks, root = site_of(600, 100)
    started = time.process_time()
    assert walk_nodes(blocks, root) == 60_601
    assert time.process_time() - started < 2  # about 0.1 s; the bound only catches what is not linear


def test_memory_does_not_grow_with_the_number_of_leaves() -> None:
    peaks = []
    for files in (20, 500):
        blocks, root = site_of(20, files)
        tracemalloc.start()
        assert walk_nodes(blocks, root) == 21 + 20 * files
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1_500_000  # one folder's links unpacked, others packed
