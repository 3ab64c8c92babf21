from __future__ import annotations

import pytest

from protocol import varint
from protocol.errors import NotCanonical, OverLimit, Truncated

# Examples of the multiformats unsigned-varint spec, and both ends of the range.
EXAMPLES = [
    (0, "00"),
    (1, "01"),
    (127, "7f"),
    (128, "8001"),
    (255, "ff01"),
    (300, "ac02"),
    (16384, "808001"),
    (2**63 - 1, "ffffffffffffffff7f"),
]


@pytest.mark.parametrize(("value", "text"), EXAMPLES)
def test_examples(value: int, text: str) -> None:
    raw = bytes.fromhex(text)
    assert varint.encode(value) == raw
    assert varint.decode(raw) == (value, len(raw))
    assert varint.decode(b"\xff" + raw + b"\x01", 1) == (value, 1 + len(raw))
    assert varint.decode(memoryview(raw)) == (value, len(raw))


@pytest.mark.parametrize("text", ["8000", "ff8000", "80" * 8 + "00"])
def test_only_the_minimal_form(text: str) -> None:
    with pytest.raises(NotCanonical):
        varint.decode(bytes.fromhex(text))


@pytest.mark.parametrize("text", ["", "80", "ff" * 8])
def test_cut_short(text: str) -> None:
    with pytest.raises(Truncated):
        varint.decode(bytes.fromhex(text))


@pytest.mark.parametrize("text", ["80" * 9 + "01", "ff" * 9, "ff" * 100])
def test_too_long(text: str) -> None:
    with pytest.raises(OverLimit):
        varint.decode(bytes.fromhex(text))


def test_an_error_says_where() -> None:
    with pytest.raises(Truncated, match="at byte 2") as caught:
        varint.decode(b"\x00\x00\x80", 2)
    assert caught.value.offset == 2


@pytest.mark.parametrize("value", [-1, 2**63])
def test_out_of_range_is_a_bug_of_the_caller(value: int) -> None:
    with pytest.raises(ValueError, match="range"):
        varint.encode(value)
