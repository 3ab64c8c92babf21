from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from protocol import multibase
from protocol.cid import DAG_PB, LIBP2P_KEY, RAW, Cid, read_cid
from protocol.errors import HashMismatch, Malformed, Truncated, UnsupportedHash

MULTIHASHES: list[dict[str, Any]] = json.loads((Path(__file__).parents[2] / "vectors/multihash.json").read_text())[
    "cases"
]
# "hello world" as IPFS clients write it.
HELLO_V0 = "QmaozNR7DZHQK1ZcU9p7QdrshMvXqWK6gpu5rmrkPdT3L4"
HELLO_V1 = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"


def test_of_is_what_ipfs_clients_make() -> None:
    cid = Cid.of(RAW, b"hello world")
    assert str(cid) == HELLO_V1
    assert cid == Cid.from_text(HELLO_V1)
    assert (cid.version, cid.codec, cid.hash_code) == (1, RAW, 0x12)
    assert cid.digest == hashlib.sha256(b"hello world").digest()


def test_a_cid_is_its_bytes() -> None:
    cid = Cid.of(RAW, b"x")
    assert isinstance(cid, bytes)
    assert {bytes(cid): 1}[cid] == 1
    assert repr(cid) == f"Cid({cid})"
    assert sorted([cid, Cid.of(DAG_PB, b"x")])[0] == cid


def test_version_0() -> None:
    cid = Cid.from_text(HELLO_V0)
    assert (cid.version, cid.codec, len(cid)) == (0, DAG_PB, 34)
    assert str(cid) == HELLO_V0
    assert cid.multihash == cid
    assert not cid.is_own_kind()


@pytest.mark.parametrize("base", ["base16", "base32", "base36", "base58btc", "base64url"])
def test_a_version_0_cid_takes_no_multibase_prefix(base: str) -> None:
    with pytest.raises(Malformed, match="prefix"):
        Cid.from_text(multibase.encode(base, Cid.from_text(HELLO_V0)))


def test_own_kind() -> None:
    assert Cid.of(RAW, b"").is_own_kind()
    assert Cid.of(DAG_PB, b"").is_own_kind()
    assert not Cid.of(LIBP2P_KEY, b"").is_own_kind()
    assert not Cid(Cid.of(RAW, b"") + b"\0").is_own_kind()


@pytest.mark.parametrize("codec", [RAW, DAG_PB, LIBP2P_KEY, 0x0129, 2**40])
def test_of_any_codec(codec: int) -> None:
    cid = Cid.of(codec, b"data")
    assert Cid.from_bytes(cid) == cid
    assert cid.codec == codec
    cid.verify(b"data")
    assert cid.multihash == Cid.of(RAW, b"data").multihash


@pytest.mark.parametrize("case", MULTIHASHES, ids=lambda case: f"{case['algorithm']}-{case['bits']}")
def test_the_multihash_table(case: dict[str, Any]) -> None:
    """Whole digests of sha2 are verified; truncated ones and other functions are parsed and not verified."""
    data = case["input"].encode()
    cid = Cid.from_bytes(b"\x01\x55" + bytes.fromhex(case["multihash"]))
    assert cid.multihash.hex() == case["multihash"]
    if (case["algorithm"], case["bits"]) in {("sha2-256", 256), ("sha2-512", 512)}:
        cid.verify(data)
        with pytest.raises(HashMismatch):
            cid.verify(data + b"\0")
    else:
        with pytest.raises(UnsupportedHash):
            cid.verify(data)


def test_an_unsupported_hash_is_named() -> None:
    with pytest.raises(UnsupportedHash, match="keccak-256"):
        Cid.from_bytes(bytes.fromhex("01551b20") + bytes(32)).verify(b"")


def test_verify_takes_any_buffer() -> None:
    data = b"some bytes"
    for cid in (Cid.of(RAW, data), Cid(b"\x01\x55\x00\x0a" + data)):
        for buffer in (data, bytearray(data), memoryview(data)):
            cid.verify(buffer)
            with pytest.raises(HashMismatch):
                cid.verify(buffer[1:])


@pytest.mark.parametrize("text", [HELLO_V0, HELLO_V1, "bafkqaaa"])
def test_read_cid_in_the_middle(text: str) -> None:
    cid = Cid.from_text(text)
    buffer = b"before" + cid + b"after"
    for wrapped in (buffer, bytearray(buffer), memoryview(buffer)):
        assert read_cid(wrapped, 6) == (cid, 6 + len(cid))
    with pytest.raises(Truncated):
        read_cid(b"before" + cid[:-1], 6)


def test_from_bytes_copies_out_of_its_buffer() -> None:
    raw = bytearray(Cid.of(RAW, b"x"))
    cid = Cid.from_bytes(memoryview(raw))
    raw[5] ^= 1
    assert cid == Cid.of(RAW, b"x")
