"""A dict of blocks that drives the sans-I/O readers, for tests."""

from __future__ import annotations

from protocol import dagpb, unixfs
from protocol.cid import DAG_PB, RAW, Cid
from protocol.dagpb import PBLink, PBNode
from protocol.unixfs import DataType, DirEntry, UnixFSData
from protocol.walk import DirectoryList, Entry, FileCursor, PathWalk, inline_block


class Blocks(dict[Cid, bytes]):
    def add(self, cid: Cid, block: bytes) -> None:
        """An `emit` for builders; blocks below a node must be there before it."""
        self[cid] = block

    def load(self, cid: Cid) -> bytes:
        block = inline_block(cid)
        return self[cid] if block is None else block

    def raw(self, data: bytes) -> Cid:
        cid = Cid.of(RAW, data)
        self[cid] = data
        return cid

    def node(self, links: list[PBLink], data: UnixFSData | bytes | None, *, version: int = 1) -> Cid:
        """Any node, also one that is wrong."""
        raw = unixfs.encode(data) if isinstance(data, UnixFSData) else data
        block = dagpb.encode(PBNode(tuple(links), raw))
        cid = Cid.of(DAG_PB, block)
        if version == 0:
            cid = Cid(cid.multihash)
        self[cid] = block
        return cid

    def file(self, parts: list[tuple[Cid, int]], data: bytes = b"", *, filesize: int | None = None) -> Cid:
        """A file node over parts of the given sizes."""
        size = len(data) + sum(size for _, size in parts) if filesize is None else filesize
        sizes = tuple(size for _, size in parts)
        links = [PBLink(cid, b"", size) for cid, size in parts]
        return self.node(links, UnixFSData(DataType.FILE, data=data, filesize=size, blocksizes=sizes))

    def directory(self, entries: dict[str, Cid]) -> Cid:
        links = [PBLink(cid, name.encode("utf-8", "surrogateescape"), 1) for name, cid in entries.items()]
        return self.node(links, UnixFSData(DataType.DIRECTORY))

    def walk_path(self, root: Cid, path: str = "", *, max_symlinks: int = 0) -> PathWalk:
        walk = PathWalk(root, tuple(filter(None, path.split("/"))), max_symlinks=max_symlinks)
        while (cid := walk.want()) is not None:
            walk.feed(self.load(cid))
        return walk

    def resolve(self, root: Cid, path: str = "", *, max_symlinks: int = 0) -> Entry:
        return self.walk_path(root, path, max_symlinks=max_symlinks).result

    def read(self, cid: Cid, start: int = 0, stop: int | None = None) -> bytes:
        cursor = FileCursor(cid, start, stop)
        parts = []
        while (wanted := cursor.want()) is not None:
            parts.append(bytes(cursor.feed(self.load(wanted))))
        return b"".join(parts)

    def list(self, cid: Cid) -> list[DirEntry]:
        listing = DirectoryList(cid)
        found: list[DirEntry] = []
        while (wanted := listing.want()) is not None:
            found += listing.feed(self.load(wanted))
        return found
