"""Conditional and range requests: ETag, If-None-Match, If-Match, If-Range, Range. Pure. RFC 9110, 13 and 14."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

_ETAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
_UNIT = re.compile(r"bytes[ \t]*=(.*)", re.IGNORECASE | re.ASCII)
_RANGE = re.compile(r"[ \t]*(\d*)-(\d*)[ \t]*", re.ASCII)
_VALUE_MAX_CHARS = 512
RANGES_MAX = 16  # of one request; each costs the way down from the root of the file
_DIGITS_MAX = 20  # more than any file has, and cheap for int()


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes start to stop of a file; stop is exclusive."""

    start: int
    stop: int

    def content_range(self, size: int) -> str:
        """The value of Content-Range."""
        return f"bytes {self.start}-{self.stop - 1}/{size}"


class Unsatisfiable(Exception):
    """All ranges lie behind the end of the file: 416."""


def parse_ranges(value: str | None, size: int) -> tuple[ByteRange, ...]:
    """The ranges that are asked for, in that order; none (send all) for another unit, nonsense, more than RANGES_MAX,
    or ranges that overlap. Those behind the end are left out; Unsatisfiable if there are no others. RFC 9110, 14.2."""
    matched = _UNIT.fullmatch(value) if value is not None and len(value) <= _VALUE_MAX_CHARS else None
    texts = matched[1].split(",") if matched is not None else []
    if not 0 < len(texts) <= RANGES_MAX:
        return ()
    found = []
    for text in texts:
        try:
            part = _parse_range(text, size)
        except Unsatisfiable:
            continue
        if part is None:
            return ()
        found.append(part)
    if not found:
        raise Unsatisfiable
    ordered = sorted(found, key=lambda part: part.start)
    overlap = any(before.stop > after.start for before, after in pairwise(ordered))
    return () if overlap else tuple(found)


def _parse_range(text: str, size: int) -> ByteRange | None:
    """None for nonsense."""
    matched = _RANGE.fullmatch(text)
    if matched is None:
        return None
    first, last = matched[1], matched[2]
    if len(first) > _DIGITS_MAX or len(last) > _DIGITS_MAX or not (first or last):
        return None
    if not first:
        return _suffix(int(last), size)
    start, stop = int(first), size if not last else int(last) + 1
    if stop <= start and last:
        return None
    if start >= size:
        raise Unsatisfiable
    return ByteRange(start, min(stop, size))


def _suffix(length: int, size: int) -> ByteRange | None:
    if length == 0:
        raise Unsatisfiable
    return ByteRange(max(0, size - length), size) if size else None


def is_unchanged(if_none_match: str | None, etag: str) -> bool:
    """The reader's copy is still good (weak comparison): 304."""
    if if_none_match is None:
        return False
    if if_none_match.strip() == "*":
        return True
    return etag.removeprefix("W/") in {known.removeprefix("W/") for known in _ETAG.findall(if_none_match)}


def is_other(if_match: str | None, etag: str) -> bool:
    """The reader wants another version than this (strong comparison): 412."""
    if if_match is None or if_match.strip() == "*":
        return False
    return etag.startswith("W/") or etag not in _ETAG.findall(if_match)


def range_applies(if_range: str | None, etag: str) -> bool:
    """Whether a Range may be honoured: no If-Range, or the very same version. Dates never match: we send none."""
    return if_range is None or (if_range.strip() == etag and not etag.startswith("W/"))
