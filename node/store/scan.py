"""What is in a pack, from its bytes alone (docs/spec/store.md, "Rebuilding")."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from node.store.layout import MIB
from node.store.packs import HEADER
from protocol import varint
from protocol.cid import IDENTITY, Cid, read_cid
from protocol.errors import DecodeError
from protocol.limits import CAR_SECTION_MAX_BYTES, DIGEST_MAX_BYTES

WINDOW_BYTES: Final = 8 * MIB  # three of the largest sections
_BEHIND_BYTES: Final = 64 * 1024  # also read, as damage makes us look back a little
_CID_START_BYTES: Final = 4  # that tell a CID; they may lie across two stretches
_NOT_ZERO: Final = re.compile(rb"[^\0]")
_OWN_CID: Final = re.compile(rb"(?:\x01[\x55\x70\x71])?\x12\x20", re.DOTALL)
_CID_MAX_BYTES: Final = 36 + DIGEST_MAX_BYTES
_SECTOR_BYTES: Final = 4096


class Found(NamedTuple):
    """A section; `good` when its data is what its CID says."""

    start: int
    span: int
    length: int
    cid: Cid
    good: bool

    @property
    def end(self) -> int:
        return self.start + self.span

    @property
    def data_offset(self) -> int:
        return self.end - self.length


class PackBytes:
    """The bytes of a pack, read a stretch at a time as they are asked for: memory does not depend on its size.

    What the disk does not give reads as zeros. Close it after use.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        self.size = os.fstat(self._fd).st_size
        self._start = 0
        self._window = bytearray()

    def close(self) -> None:
        os.close(self._fd)

    def read(self, at: int, size: int) -> bytes:
        """Up to `size` bytes, fewer at the end of the pack."""
        stop = min(at + size, self.size)
        if at < self._start or stop > self._start + len(self._window):
            self._load(at, stop)
        return bytes(self._window[at - self._start : stop - self._start])

    def _load(self, at: int, stop: int) -> None:
        self._start = max(0, at - _BEHIND_BYTES) // _SECTOR_BYTES * _SECTOR_BYTES
        self._window = bytearray(min(max(WINDOW_BYTES, stop - self._start), self.size - self._start))
        for first in range(0, len(self._window), MIB):
            if not self._read_into(first, MIB):
                for sector in range(first, min(first + MIB, len(self._window)), _SECTOR_BYTES):
                    self._read_into(sector, _SECTOR_BYTES)

    def _read_into(self, first: int, size: int) -> bool:
        try:
            piece = os.pread(self._fd, min(size, len(self._window) - first), self._start + first)
        except OSError:
            return False
        self._window[first : first + len(piece)] = piece
        return True

    def pieces(self, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
        """(offset, bytes) of each stretch of 1 MiB."""
        for at in range(start, stop, MIB):
            yield at, self.read(at, min(MIB, stop - at))


def damaged_bytes(pack: PackBytes, start: int, stop: int) -> int:
    """How much lies between the first byte that is not zero and the last: damage, or a torn tail."""
    first = last = stop
    for at, piece in pack.pieces(start, stop):
        hit = _NOT_ZERO.search(piece)
        if hit is not None:
            first = min(first, at + hit.start())
            last = at + len(piece.rstrip(b"\0"))
    return last - first


def sections(pack: PackBytes) -> Iterator[Found]:
    """Every section, in order. Zeros are skipped; bytes that are no section are passed over."""
    at: int | None = len(HEADER) if pack.read(0, len(HEADER)) == HEADER else 0
    while at is not None:
        at = _not_zero(pack, at)
        if at is None:
            return
        found = _parse(pack, at)
        if found is not None and (found.good or _goes_on(pack, found.end)):
            yield found
            at = found.end
        else:
            at = _next_good(pack, at + 1)


def _not_zero(pack: PackBytes, start: int) -> int | None:
    for at, piece in pack.pieces(start, pack.size):
        hit = _NOT_ZERO.search(piece)
        if hit is not None:
            return at + hit.start()
    return None


def _parse(pack: PackBytes, at: int) -> Found | None:
    try:
        length, begin = varint.decode(pack.read(at, 10))
        if not 0 < length <= CAR_SECTION_MAX_BYTES or at + begin + length > pack.size:
            return None
        section = memoryview(pack.read(at + begin, length))
        cid, size = read_cid(bytes(section[:_CID_MAX_BYTES]), 0)
    except DecodeError:
        return None
    return Found(at, begin + length, length - size, cid, _is(cid, section[size:]))


def _is(cid: Cid, data: memoryview) -> bool:
    try:
        if cid.hash_code == IDENTITY:
            return cid.digest == data
        cid.verify(data)
    except DecodeError:
        return False
    return True


def _goes_on(pack: PackBytes, at: int) -> bool:
    """Whether a section may end here: then only its data is damaged, not its length."""
    if at == pack.size or pack.read(at, 1) == b"\0":
        return True
    after = _parse(pack, at)
    return after is not None and after.good


def _next_good(pack: PackBytes, start: int) -> int | None:
    """Where the next whole section begins: a length before a CID, and data that fits it."""
    for at in range(start, pack.size, MIB):
        for hit in _OWN_CID.finditer(pack.read(at, MIB + _CID_START_BYTES)):
            for width in range(1, 5):
                section = at + hit.start() - width
                found = _parse(pack, section) if section >= start else None
                if found is not None and found.good:
                    return section
    return None
