from __future__ import annotations

import tracemalloc
from enum import IntEnum, StrEnum
from typing import Any

import pytest

from protocol import canonical
from protocol.cid import RAW, Cid
from protocol.errors import DecodeError, Malformed, OverLimit
from protocol.limits import CANONICAL_MAX_DEPTH, CANONICAL_MAX_ITEMS


def test_keys_are_sorted_whatever_order_they_come_in() -> None:
    assert canonical.pack({"b": 1, "a": {"d": 2, "c": 3}}) == canonical.pack({"a": {"c": 3, "d": 2}, "b": 1})
    # By code point, which is the order of the UTF-8 bytes; UTF-16 would have the first two the other way round.
    keys = ["\U00010000", "\uffff", "Z", "a"]
    found = canonical.unpack(canonical.pack(dict.fromkeys(keys)), max_bytes=100)
    assert isinstance(found, dict)
    assert list(found) == sorted(keys, key=lambda key: key.encode())


def test_subclasses_are_packed_as_what_they_are() -> None:
    class Number(IntEnum):
        ONE = 1

    class Word(StrEnum):
        YES = "yes"

    cid = Cid.of(RAW, b"")
    raw = canonical.pack((Number.ONE, Word.YES, cid, True))
    assert canonical.unpack(raw, max_bytes=100) == [1, "yes", bytes(cid), True]


@pytest.mark.parametrize(
    "value", [1.0, {1: 2}, {b"a": 1}, {"a"}, object(), bytearray(b"x"), "\ud800", {"\ud800": 1}, [[1.5]]]
)
def test_what_has_no_canonical_form(value: Any) -> None:
    with pytest.raises(Malformed):
        canonical.pack(value)


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1])
def test_integers_are_bounded(value: int) -> None:
    with pytest.raises(OverLimit):
        canonical.pack(value)


def nested(levels: int) -> canonical.Packable:
    value: canonical.Packable = None
    for _ in range(levels):
        value = [value]
    return value


def test_depth_is_bounded() -> None:
    raw = canonical.pack(nested(CANONICAL_MAX_DEPTH))
    assert canonical.unpack(raw, max_bytes=100) == nested(CANONICAL_MAX_DEPTH)
    with pytest.raises(OverLimit):
        canonical.pack(nested(CANONICAL_MAX_DEPTH + 1))


def test_breadth_is_bounded() -> None:
    for value in ([None] * CANONICAL_MAX_ITEMS, {f"{n:05}": None for n in range(CANONICAL_MAX_ITEMS)}):
        raw = canonical.pack(value)
        assert canonical.unpack(raw, max_bytes=len(raw)) == value
    with pytest.raises(OverLimit):
        canonical.pack([None] * (CANONICAL_MAX_ITEMS + 1))
    with pytest.raises(OverLimit):
        canonical.unpack(b"\xdc\x04\x01" + b"\xc0" * 1025, max_bytes=2000)


def test_size_is_bounded_before_anything_is_read() -> None:
    raw = canonical.pack(b"x" * 100)
    assert canonical.unpack(raw, max_bytes=len(raw))
    with pytest.raises(OverLimit, match="at most"):
        canonical.unpack(raw, max_bytes=len(raw) - 1)
    with pytest.raises(OverLimit):
        canonical.unpack(b"\xc1" * 101, max_bytes=100)


@pytest.mark.parametrize(
    "raw",
    [bytes.fromhex(header) for header in ("ddffffffff", "dfffffffff", "dbffffffff", "c6ffffffff")]
    + [bytes.fromhex("dc0400") * 1000, bytes.fromhex("de0400a161") * 1000],
    ids=["array", "map", "string", "bytes", "nested arrays", "nested maps"],
)
def test_large_claims_take_little_memory(raw: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError):
            canonical.unpack(raw, max_bytes=len(raw))
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()
