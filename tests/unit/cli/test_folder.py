"""A folder as a source of blocks: the same tree as built in memory, verified reads, bounded memory."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.errors import FolderChanged, FolderError
from cli.publishing import hashing
from cli.publishing.folder import read_folder
from cli.publishing.scan import Scan
from cli.publishing.source import in_order
from protocol.builder import DirEntry, FileBuilder, Link, build_directory, leaf
from protocol.cid import Cid
from protocol.limits import CHUNK_BYTES

Tree = dict[str, "bytes | Tree"]

NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/."), min_size=1, max_size=8)
TREES: st.SearchStrategy[Tree] = st.recursive(
    st.dictionaries(NAMES, st.binary(max_size=40), max_size=4),
    lambda inner: st.dictionaries(NAMES, st.binary(max_size=40) | inner, max_size=4),
    max_leaves=12,
)


def write(folder: Path, tree: Tree) -> None:
    for name, entry in tree.items():
        if isinstance(entry, bytes):
            (folder / name).write_bytes(entry)
        else:
            (folder / name).mkdir()
            write(folder / name, entry)


def build(tree: Tree, blocks: dict[Cid, bytes]) -> Link:
    """The simple way: everything in memory, one thing after the other."""
    entries = []
    for name, entry in tree.items():
        link = build_file(entry, blocks) if isinstance(entry, bytes) else build(entry, blocks)
        entries.append(DirEntry(name, link.cid, link.tsize))
    return build_directory(entries, blocks.__setitem__)


def build_file(content: bytes, blocks: dict[Cid, bytes]) -> Link:
    builder = FileBuilder(blocks.__setitem__)
    for start in range(0, len(content), CHUNK_BYTES):
        chunk = content[start : start + CHUNK_BYTES]
        blocks[leaf(chunk).cid] = chunk
        builder.add(leaf(chunk))
    return builder.finish()


def check_same(folder: Path, tree: Tree) -> dict[Cid, bytes]:
    """Returns the blocks that both have."""
    blocks: dict[Cid, bytes] = {}
    root = build(tree, blocks)
    with read_folder(folder) as source:
        assert source.root == root.cid
        assert dict(in_order(source)) == blocks
        assert source.block_count == len(blocks)
        assert source.size_bytes == sum(map(len, blocks.values()))
    return blocks


@given(TREES)
@settings(max_examples=40)
def test_any_tree(tree: Tree) -> None:
    with TemporaryDirectory() as folder:
        write(Path(folder), tree)
        check_same(Path(folder), tree)


SIZES = (0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, hashing.JOB_BYTES, hashing.JOB_BYTES + CHUNK_BYTES + 7)


@pytest.mark.parametrize("size", SIZES)
def test_sizes_at_the_edges_of_chunks_and_jobs(tmp_path: Path, size: int) -> None:
    content = (b"".join(number.to_bytes(8, "big") for number in range(CHUNK_BYTES // 8 + 7)) * 10)[:size]
    tree: Tree = {"before": b"x", "file": content, "then": b"y"}
    write(tmp_path, tree)
    check_same(tmp_path, tree)


def test_more_files_than_fit_into_one_job(tmp_path: Path) -> None:
    tree: Tree = {f"{number:04}.txt": b"%d" % number for number in range(3 * hashing.JOB_FILES + 5)}
    write(tmp_path, tree)
    check_same(tmp_path, tree)


def test_a_folder_large_enough_for_shards(tmp_path: Path) -> None:
    tree: Tree = {f"{'long-name-' * 24}{number:04}": b"" for number in range(950)}
    write(tmp_path, tree)
    assert len(check_same(tmp_path, tree)) > 2  # the empty file and one block would be all of a plain folder


def test_memory_does_not_grow_with_the_size(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as handle:
        for offset in range(0, 96 * CHUNK_BYTES, CHUNK_BYTES):  # sparse: one byte makes each chunk differ
            handle.seek(offset)
            handle.write(offset.to_bytes(8, "big"))
        handle.truncate(96 * CHUNK_BYTES)
    tracemalloc.start()
    try:
        with read_folder(tmp_path) as source:
            total = sum(len(data) for _, data in in_order(source))
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == source.size_bytes > 96 * CHUNK_BYTES
    threads = os.cpu_count() or 1
    assert peak_bytes < (threads + 8) * CHUNK_BYTES


def test_progress_adds_up(tmp_path: Path) -> None:
    write(tmp_path, {"a": b"x" * 10, "b": {"c": b"y" * 20}})
    scans: list[Scan] = []
    seen: list[int] = []
    read_folder(tmp_path, on_scan=scans.append, on_bytes=seen.append).close()
    assert (scans[0].files, scans[0].size_bytes, sum(seen)) == (2, 30, 30)


def rewrite(path: Path, content: bytes) -> None:
    """The old times stay."""
    status = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replace(path: Path, make: Callable[[Path], None]) -> None:
    path.unlink()
    make(path)


CHANGES: dict[str, Callable[[Path], None]] = {
    "grows": lambda path: rewrite(path, b"much longer"),
    "shrinks": lambda path: rewrite(path, b""),
    "touched": lambda path: os.utime(path, ns=(1, 1)),
    "vanishes": lambda path: path.unlink(),
    "becomes a folder": lambda path: replace(path, Path.mkdir),
    "becomes a pipe": lambda path: replace(path, os.mkfifo),
}


def only_the_hash_can_tell(path: Path) -> None:
    rewrite(path, b"FIRST")


@pytest.mark.parametrize("change", [*CHANGES.values(), only_the_hash_can_tell], ids=[*CHANGES, "same size and time"])
def test_a_file_that_changes_before_it_is_sent(tmp_path: Path, change: Callable[[Path], None]) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"first")
    with read_folder(tmp_path) as source:
        cid = leaf(b"first").cid
        assert source.get(cid) == b"first"
        change(path)
        with pytest.raises(FolderChanged, match="changed while publishing") as caught:
            source.get(cid)
        assert str(path) in str(caught.value)
        assert caught.value.hint == "run it again"


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_file_that_changes_before_it_is_hashed(tmp_path: Path, change: Callable[[Path], None]) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"first")
    with pytest.raises(FolderChanged, match="changed while publishing"):
        read_folder(tmp_path, on_scan=lambda _: change(path))


def test_unknown_blocks(tmp_path: Path) -> None:
    with read_folder(tmp_path) as source:
        assert source.get(leaf(b"no such").cid) is None


def test_names_that_no_site_can_hold(tmp_path: Path) -> None:
    (tmp_path / "\udcff").write_bytes(b"")
    with pytest.raises(FolderError, match="UTF-8"):
        read_folder(tmp_path)
