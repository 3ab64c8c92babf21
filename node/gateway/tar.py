"""TAR answers: a file, or a folder with all that is below it, made while it is sent. POSIX.1-2001 (pax)."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from dataclasses import dataclass

from node.gateway.body import GatedBody, Way
from protocol.cid import Cid
from protocol.data_walk import DATA_CODECS
from protocol.errors import OverLimit
from protocol.unixfs import DirEntry
from protocol.walk import DirectoryList, Entry, FileCursor, NotFoundInTree, PathWalk, follow_symlink

TAR_TYPE = "application/x-tar"
DEPTH_MAX = 256
PENDING_MAX = 200_000  # names of folders that are still to be sent, about 200 bytes each
_FILE_MODE, _FOLDER_MODE = 0o644, 0o755

May = Callable[[tuple[str, ...], tuple[Cid, ...]], bool]
"""Policy: names below the root of the archive, CIDs passed below it."""


@dataclass(frozen=True, slots=True)
class _Item:
    entry: DirEntry
    names: tuple[str, ...]
    trail: tuple[Cid, ...]


class TarBody(GatedBody):
    """name: of the topmost entry. Entries that policy refuses, and links that lead out, are left out."""

    def __init__(self, name: str, root: Entry, may: May, way: Way) -> None:
        super().__init__(way)
        self._name = name
        self._may = may
        self._pending = [_Item(DirEntry("", root.cid, 0), (), ())]
        self._listing: tuple[DirectoryList, _Item, list[_Item]] | None = None
        self._file: FileCursor | None = None
        self._padding = b""
        self._end = bytes(2 * tarfile.BLOCKSIZE)

    async def prime(self) -> bytes | memoryview:
        """As far as the names in the topmost folder, so that an error in them can still be said."""
        await super().prime()
        while self._listing is not None:
            await self._list_on(*self._listing)
        return self._first

    async def _next(self) -> bytes | memoryview:
        while True:
            if self._file is not None:
                piece = await self._content(self._file)
                if piece:
                    return piece
            elif self._listing is not None:
                await self._list_on(*self._listing)
            elif self._pending:
                head = await self._begin(self._pending.pop())
                if head:
                    return head
            else:
                end, self._end = self._end, b""
                return end

    async def _content(self, cursor: FileCursor) -> bytes | memoryview:
        cid = cursor.want()
        if cid is not None:
            return cursor.feed(await self._way.block(cid))
        self._file = None
        return self._padding

    async def _begin(self, item: _Item) -> bytes:
        """The header of an entry; empty for one that is left out."""
        if item.entry.cid.codec in DATA_CODECS:
            data = await self._way.block(item.entry.cid)
            return self._head(item, tarfile.REGTYPE, size=len(data)) + data + bytes(-len(data) % tarfile.BLOCKSIZE)
        walk = PathWalk(item.entry.cid, ())
        while (cid := walk.want()) is not None:
            walk.feed(await self._way.block(cid))
        entry = walk.result
        if entry.kind == "directory":
            self._listing = DirectoryList(entry.cid), item, []
            return self._head(item, tarfile.DIRTYPE)
        if entry.kind == "symlink":
            return self._link(item, entry.target or "")
        self._file = FileCursor(entry.cid, 0, entry.size_bytes)
        self._padding = bytes(-entry.size_bytes % tarfile.BLOCKSIZE)
        return self._head(item, tarfile.REGTYPE, size=entry.size_bytes)

    def _link(self, item: _Item, target: str) -> bytes:
        try:
            follow_symlink(item.names, target)
        except NotFoundInTree:
            return b""  # whoever unpacks the archive would get a way out of it
        return self._head(item, tarfile.SYMTYPE, target=target)

    async def _list_on(self, listing: DirectoryList, above: _Item, found: list[_Item]) -> None:
        """One block of a folder more; its entries wait until it is listed in full, sorted by name."""
        cid = listing.want()
        if cid is not None:
            for entry in listing.feed(await self._way.block(cid)):
                item = _Item(entry, (*above.names, entry.name), (*above.trail, entry.cid))
                if self._may(item.names, item.trail):
                    found.append(item)
            if len(above.names) >= DEPTH_MAX or len(self._pending) + len(found) > PENDING_MAX:
                raise OverLimit("a tree that is too deep or too wide for an archive")
            return
        self._pending += sorted(found, key=lambda item: item.entry.name, reverse=True)
        self._listing = None

    def _head(self, item: _Item, kind: bytes, *, size: int = 0, target: str = "") -> bytes:
        info = tarfile.TarInfo("/".join((self._name, *item.names)))
        info.type, info.size, info.linkname = kind, size, target
        info.mode = _FOLDER_MODE if kind == tarfile.DIRTYPE else _FILE_MODE
        return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
