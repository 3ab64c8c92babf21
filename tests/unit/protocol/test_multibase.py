from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from protocol import multibase
from protocol.errors import Malformed, NotCanonical, OverLimit
from protocol.limits import CID_TEXT_MAX_CHARS

TABLES: list[dict[str, Any]] = json.loads((Path(__file__).parents[2] / "vectors/multibase.json").read_text())["tables"]
SUPPORTED = ("base16", "base32", "base36", "base58btc", "base64url")
EITHER_CASE = ("base16", "base32", "base36")


@pytest.mark.parametrize("table", TABLES, ids=lambda table: str(table["name"]))
def test_the_multibase_table(table: dict[str, Any]) -> None:
    raw = bytes.fromhex(table["bytes"])
    seen = set()
    for name, text in table["texts"].items():
        base = name.removesuffix("upper")
        if base in SUPPORTED:
            assert multibase.decode(text) == (base, raw)
            seen.add(base)
            if table["canonical"] and base == name:
                assert multibase.encode(base, raw) == text
        else:
            with pytest.raises(Malformed, match="prefix"):
                multibase.decode(text)
    assert seen >= set(EITHER_CASE)


@pytest.mark.parametrize("base", SUPPORTED)
def test_no_bytes_at_all(base: str) -> None:
    assert multibase.decode(multibase.encode(base, b"")) == (base, b"")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "?abc",
        "f0",  # half a byte
        "b" + "a" * 3,  # 15 bits: one byte and a whole digit that belongs to none
        "u" + "A" * 5,
        "baa======",
        "uAA==",
        "fa_b",
        "k1_0",  # int() would take it
        "k 10",
        "k+1",
        "b aa",
        "z0",
        "zl",
        "k\u212a",  # the Kelvin sign, whose lower case is an ASCII letter
        "f٠٠",  # Arabic digits
        "k\ud800",
        "k\n",
    ],
)
def test_text_that_is_no_multibase(text: str) -> None:
    with pytest.raises(Malformed):
        multibase.decode(text)


@pytest.mark.parametrize("text", ["bab", "uAB", "uAAB"])
def test_spare_bits_must_be_zero(text: str) -> None:
    with pytest.raises(NotCanonical):
        multibase.decode(text)


def test_the_length_is_bounded() -> None:
    longest = "k" + "1" * CID_TEXT_MAX_CHARS
    assert multibase.decode(longest)[0] == "base36"
    with pytest.raises(OverLimit):
        multibase.decode(longest + "1")


def test_an_unknown_base_is_a_bug_of_the_caller() -> None:
    with pytest.raises(KeyError):
        multibase.encode("base64", b"")
