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


def read_pack(path: Path) -> bytearray:
    """All of a pack; what the disk does not give reads as zeros."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        raw = bytearray(os.fstat(fd).st_size)
        for at in range(0, len(raw), MIB):
            if not _read_into(fd, raw, at, MIB):
                for sector in range(at, min(at + MIB, len(raw)), _SECTOR_BYTES):
                    _read_into(fd, raw, sector, _SECTOR_BYTES)
    finally:
        os.close(fd)
    return raw


def _read_into(fd: int, raw: bytearray, at: int, size: int) -> bool:
    try:
        piece = os.pread(fd, min(size, len(raw) - at), at)
    except OSError:
        return False
    raw[at : at + len(piece)] = piece
    return True


def sections(raw: bytearray) -> Iterator[Found]:
    """Every section, in order. Zeros are skipped; bytes that are no section are passed over."""
    at: int | None = len(HEADER) if raw.startswith(HEADER) else 0
    while at is not None:
        begin = _NOT_ZERO.search(raw, at)
        if begin is None:
            return
        at = begin.start()
        found = _parse(raw, at)
        if found is not None and (found.good or _goes_on(raw, found.end)):
            yield found
            at = found.end
        else:
            at = _next_good(raw, at + 1)


def _parse(raw: bytearray, at: int) -> Found | None:
    try:
        length, begin = varint.decode(bytes(raw[at : at + 10]))
        if not 0 < length <= CAR_SECTION_MAX_BYTES or at + begin + length > len(raw):
            return None
        cid, size = read_cid(bytes(raw[at + begin : at + begin + min(length, _CID_MAX_BYTES)]), 0)
    except DecodeError:
        return None
    data = memoryview(raw)[at + begin + size : at + begin + length]
    good = _is(cid, data)
    data.release()
    return Found(at, begin + length, length - size, cid, good)


def _is(cid: Cid, data: memoryview) -> bool:
    try:
        if cid.hash_code == IDENTITY:
            return cid.digest == data
        cid.verify(data)
    except DecodeError:
        return False
    return True


def _goes_on(raw: bytearray, at: int) -> bool:
    """Whether a section may end here: then only its data is damaged, not its length."""
    if at == len(raw) or raw[at] == 0:
        return True
    after = _parse(raw, at)
    return after is not None and after.good


def _next_good(raw: bytearray, at: int) -> int | None:
    """Where the next whole section begins: a length before a CID, and data that fits it."""
    for hit in _OWN_CID.finditer(raw, at):
        for width in range(1, 5):
            start = hit.start() - width
            found = _parse(raw, start) if start >= at else None
            if found is not None and found.good:
                return start
    return None
