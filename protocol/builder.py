"""Builders of UnixFS trees under the profile unixfs-v1-2025 (docs/spec/unixfs.md): pure, blocks go out
through `emit`."""

from collections.abc import Iterable
from itertools import pairwise

from . import dagpb, hamt, unixfs, varint
from .cid import DAG_PB, RAW, Cid
from .errors import Malformed, OverLimit
from .limits import (
    CHUNK_BYTES,
    DIRECTORY_MAX_BYTES,
    FILE_NODE_MAX_LINKS,
    NAME_MAX_BYTES,
    SYMLINK_MAX_BYTES,
)
from .unixfs import DataType, DirEntry, Emit, Link, UnixFSData

__all__ = [
    "CHUNK_BYTES",
    "DirEntry",
    "Emit",
    "FileBuilder",
    "Link",
    "build_directory",
    "leaf",
    "symlink_node",
]

_DIRECTORY_DATA = unixfs.encode(UnixFSData(DataType.DIRECTORY))


def leaf(chunk: bytes) -> Link:
    """The link of one raw leaf: at most CHUNK_BYTES of a file, and exactly that many in all leaves but the
    last."""
    return Link(Cid.of(RAW, chunk), len(chunk), len(chunk))


class FileBuilder:
    """Builds the balanced tree over the leaves of one file, with at most `width` links a node held per level.

    add() each leaf in order, then finish(). A file of one leaf is that leaf; a file without leaves is the
    empty leaf. The leaves' own blocks are the caller's; inner nodes (and the empty leaf) go to `emit`.
    """

    __slots__ = ("_emit", "_levels", "_width")

    def __init__(self, emit: Emit, *, width: int = FILE_NODE_MAX_LINKS) -> None:
        self._emit = emit
        self._width = width
        self._levels: list[list[Link]] = [[]]

    def add(self, link: Link) -> None:
        """Append the next leaf (see leaf())."""
        self._push(0, link)

    def finish(self) -> Link:
        """The link of the file. The builder is used up."""
        if not self._levels[0]:
            empty = leaf(b"")
            self._emit(empty.cid, b"")
            return empty
        depth = 0
        while depth + 1 < len(self._levels) or len(self._levels[depth]) > 1:
            self._close(depth)
            depth += 1
        return self._levels[depth][0]

    def _push(self, depth: int, link: Link) -> None:
        level = self._levels[depth]
        if len(level) == self._width:
            self._close(depth)
        level.append(link)

    def _close(self, depth: int) -> None:
        """Replace the links of one level by a node above them."""
        level = self._levels[depth]
        if depth + 1 == len(self._levels):
            self._levels.append([])
        self._push(depth + 1, self._node(level))
        level.clear()

    def _node(self, children: list[Link]) -> Link:
        size = sum(child.size_bytes for child in children)
        data = UnixFSData(DataType.FILE, filesize=size, blocksizes=tuple(child.size_bytes for child in children))
        # Names are present and empty: what Kubo and Helia write, and so part of every CID.
        links = (dagpb.encode_link(child.cid, b"", child.tsize) for child in children)
        block = dagpb.join_node(links, unixfs.encode(data))
        cid = Cid.of(DAG_PB, block)
        self._emit(cid, block)
        return Link(cid, len(block) + sum(child.tsize for child in children), size)


def build_directory(entries: Iterable[DirEntry], emit: Emit) -> Link:
    """Emit the block or the HAMT shards of one directory, its root last.

    A directory is one block as long as that block is at most 256 KiB. Raises Malformed for names that cannot
    stand in a directory or occur twice, OverLimit for names that are too long or collide in the HAMT.
    """
    named = sorted((_name_bytes(entry.name), entry.cid, entry.tsize) for entry in entries)
    for (name, *_), (following, *_) in pairwise(named):
        if name == following:
            raise Malformed(f"a directory has two entries named {name.decode()!r}")
    links = [dagpb.encode_link(cid, name, tsize) for name, cid, tsize in named]
    size = sum(map(len, links)) + 1 + len(varint.encode(len(_DIRECTORY_DATA))) + len(_DIRECTORY_DATA)
    if size > DIRECTORY_MAX_BYTES:
        return hamt.build_hamt(named, emit)
    block = dagpb.join_node(links, _DIRECTORY_DATA)
    cid = Cid.of(DAG_PB, block)
    emit(cid, block)
    return Link(cid, len(block) + sum(tsize for _, _, tsize in named), 0)


def symlink_node(target: str | bytes) -> tuple[Cid, bytes]:
    """The block of a symbolic link; its tsize in a directory is the block's length.

    Raises Malformed, OverLimit.
    """
    raw = target if isinstance(target, bytes) else target.encode("utf-8", "surrogateescape")
    if not raw or b"\0" in raw:
        raise Malformed("a symbolic link needs a target without NUL")
    if len(raw) > SYMLINK_MAX_BYTES:
        raise OverLimit(f"symbolic link to {len(raw)} bytes, at most {SYMLINK_MAX_BYTES}")
    block = dagpb.join_node((), unixfs.encode(UnixFSData(DataType.SYMLINK, data=raw)))
    return Cid.of(DAG_PB, block), block


def _name_bytes(name: str) -> bytes:
    try:
        raw = name.encode()
    except UnicodeEncodeError:
        raise Malformed(f"a name that is not UTF-8 cannot be published: {name!r}") from None
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise Malformed(f"not a name for a directory entry: {name!r}")
    if len(raw) > NAME_MAX_BYTES:
        raise OverLimit(f"a name of {len(raw)} bytes, at most {NAME_MAX_BYTES}: {name[:40]!r}…")
    return raw
