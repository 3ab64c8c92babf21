"""Bundles as files: written in one stream and atomically, read as a source of blocks."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO

from cli.errors import CommandError, FolderError
from cli.publishing.hashing import changed
from cli.publishing.source import BlockSource, in_order
from protocol.bundle import BundleReader, encode_beginning, encode_block
from protocol.car import section_prefix
from protocol.cid import Cid
from protocol.errors import DecodeError
from protocol.limits import BLOCK_MAX_BYTES
from protocol.release import SignedRelease

_PIECE_BYTES = 64 * 1024
_LENGTH_BITS = BLOCK_MAX_BYTES.bit_length()


def _ignore(_: int) -> None:
    pass


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears at `path` when the context ends well: whole, on disk, or not at all. CommandError."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        with temporary.open("xb", buffering=1024 * 1024) as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_bundle(
    path: Path,
    signed: SignedRelease,
    source: BlockSource | None,
    *,
    on_bytes: Callable[[int], None] = _ignore,
) -> int:
    """Write a bundle with one block in memory at a time; its size in bytes. It appears whole or not at all."""
    with whole_file(path) as handle:
        stream_bundle(handle, signed, source, on_bytes=on_bytes)
        return handle.tell()


def stream_bundle(
    handle: IO[bytes], signed: SignedRelease, source: BlockSource | None, *, on_bytes: Callable[[int], None] = _ignore
) -> None:
    """Write a bundle to whatever takes bytes. `source` is None for the end of a site."""
    handle.write(encode_beginning(signed))
    if source is None:
        return
    for cid, data in in_order(source):
        for part in encode_block(cid, data):
            handle.write(part)
        on_bytes(len(data))


class BundleSource:
    """The blocks of a bundle that was read and checked in full; see BlockSource. `release` is None for nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = path.open("rb", buffering=0)
        self._places: dict[Cid, int] = {}  # offset of the block's bytes above, length below
        self._size_bytes = 0
        self._signed: SignedRelease | None = None

    @property
    def signed(self) -> SignedRelease:
        """The release of the bundle."""
        if self._signed is None:
            raise ValueError("the bundle has not been read yet")
        return self._signed

    @property
    def root(self) -> Cid:
        """ValueError for a bundle that ends a site."""
        root = self.signed.release.root
        if root is None:
            raise ValueError("the end of a site has no blocks")
        return root

    @property
    def size_bytes(self) -> int:
        return self._size_bytes

    @property
    def block_count(self) -> int:
        return len(self._places)

    def close(self) -> None:
        self._handle.close()

    def __enter__(self) -> BundleSource:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def get(self, cid: Cid) -> bytes | None:
        place = self._places.get(cid)
        if place is None:
            return None
        offset, length = place >> _LENGTH_BITS, place & ((1 << _LENGTH_BITS) - 1)
        try:
            data = os.pread(self._handle.fileno(), length, offset)
        except OSError as error:
            raise FolderError(f"cannot read {self.path}: {error.strerror}") from error
        try:
            cid.verify(data)
        except DecodeError:
            raise changed(str(self.path)) from None
        return data

    def read(self, on_bytes: Callable[[int], None]) -> None:
        """Check the whole file and note where each block lies. DecodeError, OSError."""
        reader = BundleReader()
        offset = 0
        while piece := self._handle.read(_PIECE_BYTES):
            blocks = reader.feed(piece)
            on_bytes(len(piece))
            if self._signed is None and reader.release is not None:
                self._signed = reader.release
                offset = len(encode_beginning(reader.release))
            for cid, data in blocks:  # sections follow each other without gaps
                start = offset + len(section_prefix(cid, len(data)))
                self._places[cid] = start << _LENGTH_BITS | len(data)
                self._size_bytes += len(data)
                offset = start + len(data)
        reader.close()


def read_bundle(path: str | os.PathLike[str], *, on_bytes: Callable[[int], None] = _ignore) -> BundleSource:
    """A bundle that was checked in full. CommandError says what is wrong with the file."""
    try:
        source = BundleSource(Path(path))
    except OSError as error:
        raise CommandError(f"cannot read {os.fspath(path)}: {error.strerror}") from error
    try:
        source.read(on_bytes)
    except (DecodeError, OSError) as error:
        source.close()
        raise CommandError(f"{os.fspath(path)} is not a whole, valid bundle: {error}") from error
    except BaseException:
        source.close()
        raise
    return source
