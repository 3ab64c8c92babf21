"""Sans-I/O readers of UnixFS trees: path resolution and directory listing; FileCursor and DagWalk are
re-exported.

Every reader works the same way: `want()` names the block it needs next, or None when it is through; the
caller loads that block, VERIFIES it against its CID and calls `feed(block)`. A CID with the identity hash
carries its block: feed it `cid.digest` (inline_block()). Errors are DecodeError for blocks that are not what
they should be and NotFoundInTree for paths that do not exist. Trees of other makers are read too;
docs/spec/unixfs.md, section 8, says within what bounds.
"""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NoReturn

from . import dagpb, hamt, unixfs
from .cid import DAG_PB, IDENTITY, RAW, Cid
from .dag_walk import DagWalk
from .dagpb import PBLink, PBNode
from .errors import FednodeError, Malformed, OverLimit, PeerError, UnsupportedCodec
from .file_cursor import FileCursor
from .limits import DIRECTORY_MAX_BYTES, NODE_MAX_LINKS, PATH_MAX_SEGMENTS
from .unixfs import DataType, DirEntry, UnixFSData

__all__ = [
    "DagWalk",
    "DirEntry",
    "DirectoryList",
    "Entry",
    "FileCursor",
    "NotFoundInTree",
    "PathWalk",
    "children",
    "follow_symlink",
    "inline_block",
]


class NotFoundInTree(PeerError):
    """The tree has no such path; `segment` is the index of the name that is missing."""

    code: ClassVar[str] = "not-found"

    def __init__(self, message: str, *, segment: int = 0) -> None:
        super().__init__(message)
        self.segment = segment


@dataclass(frozen=True, slots=True)
class Entry:
    """What a path leads to.

    `size_bytes` is the file's content; 0 for directories, the target's length for symlinks, the block's for data, which
    is no UnixFS (protocol/data_model.py; PathWalk never gives it).
    """

    kind: Literal["file", "directory", "symlink", "data"]
    cid: Cid
    size_bytes: int
    target: str | None = None


def children(cid: Cid, block: bytes) -> list[PBLink]:
    """The links of any block of a site, in order: [] for raw. Raises UnsupportedCodec, DecodeError."""
    if cid.codec == RAW:
        return []
    if cid.codec != DAG_PB:
        raise UnsupportedCodec(f"codec 0x{cid.codec:x} in a UnixFS tree")
    return list(dagpb.decode(block).links)


def inline_block(cid: Cid) -> bytes | None:
    """The block that an identity CID carries, or None for every other CID."""
    return cid.digest if cid.hash_code == IDENTITY else None


def follow_symlink(at: Sequence[str], target: str, rest: Sequence[str] = ()) -> tuple[str, ...]:
    """The path that a symlink at path `at` leads to, with `rest` behind it, from the root of the tree.

    Raises NotFoundInTree when the target is absolute or leaves the root: what lies outside is not part of the
    site.
    """
    if target.startswith("/"):
        raise NotFoundInTree("a symbolic link leads out of the tree", segment=max(len(at) - 1, 0))
    path = list(at[:-1])
    for name in (*target.split("/"), *rest):
        if name == "..":
            if not path:
                raise NotFoundInTree("a symbolic link leads out of the tree", segment=max(len(at) - 1, 0))
            path.pop()
        elif name not in ("", "."):
            path.append(name)
    return tuple(path)


class PathWalk:
    """Resolves `segments` (names without '/', in order) from `root`, through directories and HAMT shards.

    feed() raises NotFoundInTree when a name is missing or something that is not a directory has names below
    it, and DecodeError for a bad block; `result` raises the same afterwards. With `max_symlinks` of 0 a
    symlink at the end is the result and one on the way is NotFoundInTree; above 0 that many are followed
    inside the tree, at the end too, and one more is NotFoundInTree. The block of the result itself is always
    wanted, so that its kind and size are true.
    """

    def __init__(self, root: Cid, segments: Sequence[str], *, max_symlinks: int = 0) -> None:
        self.trail: list[Cid] = []
        """Every CID passed so far, in order, root and shards and result included."""
        self.path: tuple[str, ...] = tuple(segments)
        """The path being resolved; changes when a symlink is followed."""
        self.position = 0
        """How many names of `path` are resolved."""
        if len(self.path) > PATH_MAX_SEGMENTS:
            raise OverLimit(f"a path of {len(self.path)} names, at most {PATH_MAX_SEGMENTS}")
        self._root = root
        self._links_left = max_symlinks or None  # None: symlinks are results
        self._result: Entry | None = None
        self._error: FednodeError | None = None
        self._hash = self._shard_depth = self._shard_fanout = 0
        self._next: Cid | None = None
        self._go(root)

    @property
    def result(self) -> Entry:
        """The entry; raises what feed() raised, RuntimeError before the end."""
        if self._error is not None:
            raise self._error
        if self._result is None:
            raise RuntimeError("the walk is not at its end")
        return self._result

    def want(self) -> Cid | None:
        return self._next

    def feed(self, block: bytes) -> None:
        cid = self._next
        if cid is None:
            raise RuntimeError("a block was fed that was not wanted")
        self._next = None
        try:
            self._take(cid, block)
        except FednodeError as error:
            self._error = error
            raise

    def _go(self, cid: Cid) -> None:
        self.trail.append(cid)
        self._next = cid

    def _take(self, cid: Cid, block: bytes) -> None:
        if cid.codec == RAW:
            node, data = PBNode(), UnixFSData(DataType.FILE, filesize=len(block))
        else:
            node, data = _decode(cid, block)
        kind = data.type
        if self._shard_depth and kind is not DataType.HAMT_SHARD:
            raise Malformed("unixfs: a bucket of a HAMT leads to something else than a shard")
        if kind is DataType.SYMLINK:
            self._symlink(cid, data.data)
        elif kind in (DataType.FILE, DataType.RAW):
            self._end(Entry("file", cid, data.filesize or 0))
        elif kind is DataType.METADATA:
            raise Malformed("unixfs: a metadata node in a path")
        elif kind is DataType.HAMT_SHARD:
            self._shard(cid, hamt.Shard(node, data))
        elif self.position == len(self.path):
            self._end(Entry("directory", cid, 0))
        else:
            self._step(node)

    def _end(self, entry: Entry) -> None:
        if self.position < len(self.path):
            raise NotFoundInTree(f"a {entry.kind} has nothing below it", segment=self.position)
        self._result = entry

    def _step(self, node: PBNode) -> None:
        name = self._name()
        for link in node.links:
            if link.name == name:
                self.position += 1
                self._go(link.cid)
                return
        self._missing()

    def _shard(self, cid: Cid, shard: hamt.Shard) -> None:
        if self.position == len(self.path):
            self._end(Entry("directory", cid, 0))
            return
        name = self._name()
        if self._shard_depth == 0:
            self._hash, self._shard_fanout = hamt.hash_name(name), shard.fanout
        elif shard.fanout != self._shard_fanout:
            raise Malformed("unixfs: fanout changes inside a HAMT")
        slot = shard.find(name, self._hash, self._shard_depth)
        if slot is None:
            self._missing()
        elif slot.name is None:
            self._shard_depth += 1
            self._go(slot.link.cid)
        else:
            self._shard_depth = 0
            self.position += 1
            self._go(slot.link.cid)

    def _symlink(self, cid: Cid, raw_target: bytes) -> None:
        target = raw_target.decode("utf-8", "surrogateescape")
        if self._links_left is None:
            self._end(Entry("symlink", cid, len(raw_target), target))
            return
        if self._links_left == 0:
            raise NotFoundInTree("too many symbolic links", segment=max(self.position - 1, 0))
        self._links_left -= 1
        path = follow_symlink(self.path[: self.position], target, self.path[self.position :])
        if len(path) > PATH_MAX_SEGMENTS:
            raise NotFoundInTree("a symbolic link makes the path too long", segment=self.position)
        self.path, self.position = path, 0
        self._go(self._root)

    def _name(self) -> bytes:
        try:
            return self.path[self.position].encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            self._missing()

    def _missing(self) -> NoReturn:
        raise NotFoundInTree("no such name in the directory", segment=self.position)


class DirectoryList:
    """Lists a directory. feed() returns the entries of that block: of a plain directory all, of a HAMT those of a
    shard.

    Order is that of the blocks (HAMT: by hash). A name is listed once: of equal names in a plain directory the first,
    and a HAMT with a name in another place than its hash says is Malformed. So are names that no directory may have
    ('', '.', '..', '/' or NUL inside), and anything that is not a directory.
    """

    __slots__ = ("_fanout", "_pending")

    def __init__(self, cid: Cid) -> None:
        # Next one last: CID, depth of the shard, and the first bits of the hashes of all names below it.
        self._pending: list[tuple[Cid, int, int]] = [(cid, 0, 0)]
        self._fanout = 0

    def want(self) -> Cid | None:
        return self._pending[-1][0] if self._pending else None

    def feed(self, block: bytes) -> list[DirEntry]:
        cid, depth, hash_bits = self._pending.pop()
        node, data = _decode(cid, block)
        if data.type is DataType.DIRECTORY and depth == 0:
            return _entries((link.name or b"", link) for link in node.links)
        if data.type is not DataType.HAMT_SHARD:
            raise Malformed("unixfs: not a directory")
        shard = hamt.Shard(node, data)
        if depth == 0:
            self._fanout = shard.fanout
        elif shard.fanout != self._fanout:
            raise Malformed("unixfs: fanout changes inside a HAMT")
        return self._take(shard, depth, hash_bits)

    def _take(self, shard: hamt.Shard, depth: int, hash_bits: int) -> list[DirEntry]:
        below: list[tuple[Cid, int, int]] = []
        named: list[tuple[bytes, PBLink]] = []
        for slot in shard.slots:
            place = hash_bits * shard.fanout + slot.index
            if slot.name is None:
                below.append((slot.link.cid, depth + 1, place))
            elif hamt.first_bits(hamt.hash_name(slot.name), depth, shard.fanout) == place:
                named.append((slot.name, slot.link))
            else:
                raise Malformed("unixfs: a name stands in another bucket than its hash says")
        if len(self._pending) + len(below) > NODE_MAX_LINKS:
            raise OverLimit("unixfs: too many shards of one HAMT are pending")
        self._pending += reversed(below)
        return _entries(named)


def _entries(named: Iterable[tuple[bytes, PBLink]]) -> list[DirEntry]:
    found: dict[bytes, DirEntry] = {}
    for name, link in named:
        if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
            raise Malformed(f"unixfs: {name!r} is not a name for a directory entry")
        if name not in found:
            found[name] = DirEntry(name.decode("utf-8", "surrogateescape"), link.cid, link.tsize or 0)
    return list(found.values())


def _decode(cid: Cid, block: bytes) -> tuple[PBNode, UnixFSData]:
    if cid.codec != DAG_PB:
        raise UnsupportedCodec(f"codec 0x{cid.codec:x} where a directory is read")
    if len(block) <= _SMALL_MAX_BYTES:
        return _decode_small(block)
    return _decode_large(block) if len(block) <= DIRECTORY_MAX_BYTES else _decode_anew(block)


def _decode_anew(block: bytes) -> tuple[PBNode, UnixFSData]:
    node = dagpb.decode(block)
    return node, unixfs.decode(node.data)


# A reader of a site passes the same folders for every page. Decoded, a folder takes five times its bytes.
_SMALL_MAX_BYTES = 64 * 1024
_decode_small = functools.lru_cache(maxsize=64)(_decode_anew)
_decode_large = functools.lru_cache(maxsize=8)(_decode_anew)
