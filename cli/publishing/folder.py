"""A folder as a source of blocks.

Chunks of files are not copied: the source remembers where each one lies and reads it again when a node
asks. Folders, links and the inner nodes of large files exist nowhere on disk; they go to a temporary
file. What stays in memory is one integer per block.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from types import TracebackType

from cli.errors import FolderError
from cli.publishing.hashing import changed, chunk_lengths, hash_files, open_unchanged, read_exactly
from cli.publishing.scan import (
    Scan,
    ScannedFile,
    ScannedFolder,
    ScannedLink,
    ScanOptions,
    files_of,
    scan_folder,
)
from protocol.builder import DirEntry, FileBuilder, Link, build_directory, symlink_node
from protocol.cid import Cid
from protocol.errors import DecodeError
from protocol.limits import CHUNK_BYTES

_CHUNK_BITS = 40  # of a place: chunk number below, file number above; files up to 2^60 bytes
_LENGTH_BYTES = 4  # before each block in the temporary file


class FolderSource:
    """The blocks of one folder; see BlockSource. Close it, or use it as a context manager."""

    def __init__(self) -> None:
        self._files: list[ScannedFile] = []
        self._places: dict[Cid, int] = {}  # >= 0: chunk of a file; < 0: offset in the temporary file, inverted
        self._spool = tempfile.TemporaryFile(prefix="fednode-", buffering=1024 * 1024)  # noqa: SIM115 - closed by close()
        self._spool_bytes = 0
        self._root: Cid | None = None
        self._size_bytes = 0
        self.scan: Scan = Scan(ScannedFolder())

    @property
    def root(self) -> Cid:
        if self._root is None:
            raise ValueError("the folder has not been read yet")
        return self._root

    @property
    def size_bytes(self) -> int:
        return self._size_bytes

    @property
    def block_count(self) -> int:
        return len(self._places)

    def close(self) -> None:
        self._spool.close()

    def __enter__(self) -> FolderSource:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def get(self, cid: Cid) -> bytes | None:
        place = self._places.get(cid)
        if place is None:
            return None
        if place < 0:
            return self._read_spool(~place)
        file = self._files[place >> _CHUNK_BITS]
        offset = (place & ((1 << _CHUNK_BITS) - 1)) * CHUNK_BYTES
        buffer = bytearray(min(CHUNK_BYTES, file.size_bytes - offset))
        with open_unchanged(file) as handle:
            read_exactly(handle, file, offset, memoryview(buffer))
        data = bytes(buffer)
        try:
            cid.verify(data)
        except DecodeError:
            raise changed(file.path) from None
        return data

    def _read_spool(self, offset: int) -> bytes:
        descriptor = self._spool.fileno()
        length = int.from_bytes(os.pread(descriptor, _LENGTH_BYTES, offset), "big")
        return os.pread(descriptor, length, offset + _LENGTH_BYTES)

    def _emit(self, cid: Cid, block: bytes) -> None:
        if cid in self._places:
            return
        self._places[cid] = ~self._spool_bytes
        self._spool.write(len(block).to_bytes(_LENGTH_BYTES, "big"))
        self._spool.write(block)
        self._spool_bytes += _LENGTH_BYTES + len(block)
        self._size_bytes += len(block)

    def _add_chunk(self, cid: Cid, length: int, file_number: int, chunk_number: int) -> None:
        if cid not in self._places:
            self._places[cid] = file_number << _CHUNK_BITS | chunk_number
            self._size_bytes += length

    def _build(self, folder: ScannedFolder, hashed: Iterator[list[Cid]]) -> Link:
        entries = []
        for name, entry in folder.entries.items():
            if isinstance(entry, ScannedFolder):
                link = self._build(entry, hashed)
            elif isinstance(entry, ScannedLink):
                link = self._link(entry)
            else:
                link = self._file(entry, next(hashed))
            entries.append(DirEntry(name, link.cid, link.tsize))
        return build_directory(entries, self._emit)

    def _link(self, entry: ScannedLink) -> Link:
        cid, block = symlink_node(entry.target)
        self._emit(cid, block)
        return Link(cid, len(block), 0)

    def _file(self, file: ScannedFile, cids: list[Cid]) -> Link:
        number = len(self._files)
        self._files.append(file)
        builder = FileBuilder(self._emit)
        for chunk_number, (cid, (_, length)) in enumerate(zip(cids, chunk_lengths(file.size_bytes), strict=True)):
            self._add_chunk(cid, length, number, chunk_number)
            builder.add(Link(cid, length, length))
        return builder.finish()

    def read(
        self,
        path: str,
        options: ScanOptions,
        on_scan: Callable[[Scan], None],
        on_bytes: Callable[[int], None],
    ) -> None:
        """Scan, hash and build; the source is complete afterwards. FolderError, FolderChanged."""
        self.scan = scan_folder(path, options)
        on_scan(self.scan)
        try:
            self._root = self._build(self.scan.root, hash_files(files_of(self.scan.root), on_bytes)).cid
            self._spool.flush()
        except DecodeError as error:  # a name or a link that no site can hold
            raise FolderError(f"{path}: {error}", hint="rename it, or leave it out") from error
        except OSError as error:
            raise FolderError(f"no room for temporary data in {tempfile.gettempdir()}: {error.strerror}") from error


def _ignore(_: object) -> None:
    pass


def read_folder(
    path: str | os.PathLike[str],
    options: ScanOptions = ScanOptions(),  # noqa: B008 - frozen
    *,
    on_scan: Callable[[Scan], None] = _ignore,
    on_bytes: Callable[[int], None] = _ignore,
) -> FolderSource:
    """The blocks of a folder. `on_bytes` is told of bytes as they are hashed. FolderError, FolderChanged."""
    source = FolderSource()
    try:
        source.read(os.fspath(path), options, on_scan, on_bytes)
    except BaseException:
        source.close()
        raise
    return source
