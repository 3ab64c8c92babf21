from __future__ import annotations

import hashlib

import pytest

from protocol import dagpb, unixfs
from protocol.builder import CHUNK_BYTES, DirEntry, FileBuilder, Link, build_directory, leaf, symlink_node
from protocol.cid import DAG_PB, RAW, Cid
from protocol.errors import Malformed, OverLimit
from protocol.limits import DIRECTORY_MAX_BYTES, NAME_MAX_BYTES, SYMLINK_MAX_BYTES
from protocol.unixfs import DataType
from tests.unit.protocol.blocks import Blocks

CID = Cid.of(RAW, b"x")


def build(leaves: int, width: int, blocks: Blocks) -> Link:
    builder = FileBuilder(blocks.add, width=width)
    for number in range(leaves):
        chunk = b"%06d" % number
        link = leaf(chunk)
        blocks.add(link.cid, chunk)
        builder.add(link)
    return builder.finish()


def depths(blocks: Blocks, cid: Cid) -> set[int]:
    if cid.codec == RAW:
        return {0}
    links = dagpb.decode(blocks[cid]).links
    below = {depth for link in links for depth in depths(blocks, link.cid)}
    return {depth + 1 for depth in below}


@pytest.mark.parametrize("width", [2, 3, 4])
@pytest.mark.parametrize("leaves", [*range(1, 30), 63, 64, 65, 81, 82])
def test_files_are_balanced_and_read_back(leaves: int, width: int) -> None:
    blocks = Blocks()
    link = build(leaves, width, blocks)
    assert blocks.read(link.cid) == b"".join(b"%06d" % number for number in range(leaves))
    assert link.size_bytes == 6 * leaves
    assert link.tsize == sum(map(len, blocks.values()))
    [depth] = depths(blocks, link.cid)
    assert width**depth >= leaves
    assert depth == 0 or width ** (depth - 1) < leaves
    assert all(len(dagpb.decode(block).links) <= width for cid, block in blocks.items() if cid.codec == DAG_PB)


def test_a_file_of_one_leaf_is_that_leaf_and_an_empty_file_is_the_empty_leaf() -> None:
    blocks = Blocks()
    assert build(1, 1024, blocks).cid == Cid.of(RAW, b"000000")
    blocks.clear()
    empty = FileBuilder(blocks.add).finish()
    assert (empty.cid, empty.tsize, empty.size_bytes) == (Cid.of(RAW, b""), 0, 0)
    assert blocks == {empty.cid: b""}


def test_emitted_blocks_have_their_cid_and_children_come_first() -> None:
    seen: set[Cid] = set()

    def emit(cid: Cid, block: bytes) -> None:
        cid.verify(block)
        for link in dagpb.decode(block).links:
            assert link.cid.codec == RAW or link.cid in seen
        seen.add(cid)

    builder = FileBuilder(emit, width=3)
    for number in range(40):
        builder.add(leaf(b"%d" % number))
    assert builder.finish().cid in seen
    build_directory([DirEntry(f"{number}", CID, 1) for number in range(9000)], emit)


def test_directories_are_sorted_by_bytes() -> None:
    blocks = Blocks()
    names = ["b", "a", "Z", "é", "e\u0301", "\uffff", "\U00010000", "a.", "a/"[:1] + "0"]
    link = build_directory([DirEntry(name, CID, 1) for name in names], blocks.add)
    found = [found.name for found in dagpb.decode(blocks[link.cid]).links]
    assert found == sorted(name.encode() for name in names)


def test_tsize_of_a_directory_counts_entries_and_its_own_block() -> None:
    blocks = Blocks()
    link = build_directory([DirEntry("a", CID, 1000), DirEntry("b", CID, 24)], blocks.add)
    assert (link.tsize, link.size_bytes) == (1024 + len(blocks[link.cid]), 0)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/", "a\0", "\udcff", "\ud800x"])
def test_names_that_cannot_be_published(name: str) -> None:
    with pytest.raises(Malformed):
        build_directory([DirEntry(name, CID, 1)], Blocks().add)


def test_names_that_are_too_long() -> None:
    fits = "é" * (NAME_MAX_BYTES // 2) + "e"
    build_directory([DirEntry(fits, CID, 1)], Blocks().add)
    with pytest.raises(OverLimit):
        build_directory([DirEntry(fits + "e", CID, 1)], Blocks().add)


@pytest.mark.parametrize("count", [0, 9000])
def test_a_name_twice_is_refused_below_and_above_the_limit(count: int) -> None:
    entries = [DirEntry(f"{number}", CID, 1) for number in range(count)]
    with pytest.raises(Malformed, match="'x'"):
        build_directory([DirEntry("x", CID, 1), *entries, DirEntry("x", leaf(b"y").cid, 1)], Blocks().add)


def test_the_hamt_begins_one_byte_over_the_limit() -> None:
    def root_of(last_name_bytes: int) -> tuple[int, DataType]:
        blocks = Blocks()
        entries = [DirEntry(f"{number:0100d}", CID, 1) for number in range(1807)]
        entries.append(DirEntry("z" * last_name_bytes, CID, 1))
        link = build_directory(entries, blocks.add)
        block = blocks[link.cid]
        return len(block), unixfs.decode(dagpb.decode(block).data).type

    length, kind = root_of(1)
    assert kind is DataType.DIRECTORY
    fits = 1 + DIRECTORY_MAX_BYTES - length
    assert root_of(fits) == (DIRECTORY_MAX_BYTES, DataType.DIRECTORY)
    assert root_of(fits + 1)[1] is DataType.HAMT_SHARD


def test_symlinks() -> None:
    cid, block = symlink_node("ä/../b")
    cid.verify(block)
    node = unixfs.decode(dagpb.decode(block).data)
    assert (node.type, node.data.decode()) == (DataType.SYMLINK, "ä/../b")
    assert symlink_node("\udcff") == symlink_node(b"\xff")
    symlink_node("x" * SYMLINK_MAX_BYTES)
    with pytest.raises(OverLimit):
        symlink_node("x" * (SYMLINK_MAX_BYTES + 1))
    for target in ("", "a\0b"):
        with pytest.raises(Malformed):
            symlink_node(target)


def test_nothing_is_held_of_a_long_file_but_one_row_of_links_per_level() -> None:
    """The builder of a file of 3,000 leaves keeps no leaf; its nodes are small."""
    longest = 0

    def emit(cid: Cid, block: bytes) -> None:
        nonlocal longest
        longest = max(longest, len(block))

    builder = FileBuilder(emit)
    digest = hashlib.sha256()
    for number in range(3000):
        link = leaf(b"%d" % number)
        digest.update(link.cid)
        builder.add(Link(link.cid, CHUNK_BYTES, CHUNK_BYTES))
        assert sum(map(len, builder._levels)) <= 2 * 1024
    assert builder.finish().size_bytes == 3000 * CHUNK_BYTES
    assert longest < 64 * 1024
