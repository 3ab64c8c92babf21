from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocol import multibase, varint
from protocol.cid import Cid, read_cid
from protocol.errors import DecodeError
from protocol.limits import CID_MAX_BYTES
from protocol.site_id import SiteId
from tests.property.protocol_values import mutated, own_cids, sites

BASES = ("base16", "base32", "base36", "base58btc", "base64url")

foreign_cids = st.builds(
    lambda codec, code, digest: Cid(
        b"\x01" + varint.encode(codec) + varint.encode(code) + varint.encode(len(digest)) + digest
    ),
    st.integers(0, 2**63 - 1),
    st.sampled_from([0x11, 0x12, 0x13, 0x1E, 0xB220]) | st.integers(1, 2**63 - 1),
    st.binary(min_size=1, max_size=128),
)
identity_cids = st.binary(max_size=128).map(lambda data: Cid(b"\x01\x55\x00" + varint.encode(len(data)) + data))
version_0_cids = st.binary(min_size=32, max_size=32).map(lambda digest: Cid(b"\x12\x20" + digest))
any_cids = own_cids | foreign_cids | identity_cids | version_0_cids
# Texts that get past the first checks more often than arbitrary ones.
likely_texts = st.builds(
    lambda prefix, rest: prefix + rest,
    st.sampled_from(["k", "K", "b", "B", "f", "z", "u", "Qm", "1", "12D3KooW", "k51qzi5uqu5d", "bafy", "bafk"]),
    st.text("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_", max_size=70),
)


@given(st.integers(0, 2**63 - 1), st.binary(max_size=3), st.binary(max_size=3))
def test_a_varint_comes_back(value: int, before: bytes, after: bytes) -> None:
    raw = varint.encode(value)
    assert varint.decode(before + raw + after, len(before)) == (value, len(before) + len(raw))


@given(st.binary(max_size=12))
def test_any_bytes_are_one_varint_or_none(raw: bytes) -> None:
    try:
        value, end = varint.decode(raw)
    except DecodeError:
        return
    assert varint.encode(value) == raw[:end]


@pytest.mark.parametrize("base", BASES)
@given(raw=st.binary(max_size=CID_MAX_BYTES))
def test_multibase_comes_back(base: str, raw: bytes) -> None:
    text = multibase.encode(base, raw)
    assert multibase.decode(text) == (base, raw)
    if base in BASES[:3]:
        assert multibase.decode(text.upper()) == (base, raw)


@given(st.text(max_size=80) | likely_texts)
def test_any_text_is_multibase_in_one_way_or_not_at_all(text: str) -> None:
    try:
        base, raw = multibase.decode(text)
    except DecodeError:
        return
    assert multibase.encode(base, raw) == (text.lower() if base in BASES[:3] else text)


@given(any_cids)
def test_a_cid_comes_back(cid: Cid) -> None:
    assert Cid.from_bytes(cid) == cid
    assert Cid.from_bytes(memoryview(cid)) == cid
    assert Cid.from_text(str(cid)) == cid


@given(st.binary(max_size=200) | mutated(any_cids), st.binary(max_size=20))
def test_any_bytes_are_one_cid_or_none(raw: bytes, data: bytes) -> None:
    try:
        cid = Cid.from_bytes(raw)
    except DecodeError:
        return
    assert cid == raw
    assert cid.multihash.endswith(cid.digest)
    assert cid.version in (0, 1)
    assert Cid.from_text(str(cid)) == cid
    assert cid.codec >= 0
    try:
        cid.verify(data)
    except DecodeError:
        return
    assert cid.hash_code == 0
    assert cid.digest == data


@given(st.binary(max_size=60), st.integers(0, 60))
def test_a_cid_within_any_bytes(raw: bytes, offset: int) -> None:
    try:
        cid, end = read_cid(raw, offset)
    except DecodeError:
        return
    assert raw[offset:end] == cid == Cid.from_bytes(raw[offset:end])


@given(sites)
def test_a_site_id_comes_back(site: SiteId) -> None:
    assert SiteId.from_text(str(site)) == site
    for base in BASES:
        assert SiteId.from_text(multibase.encode(base, site.cid)) == site
    assert SiteId.from_text(multibase.encode_bare("base58btc", site.cid.multihash)) == site
    assert len(str(site)) == 62


@given(st.text(max_size=80) | likely_texts)
@example("k\ud800")
@example("1" * 500)
def test_any_text_is_a_site_id_or_not(text: str) -> None:
    for read in (SiteId.from_text, Cid.from_text):
        try:
            found = read(text)
        except DecodeError:
            continue
        assert read(str(found)) == found


@given(st.binary(max_size=40) | mutated(sites.map(lambda site: site.cid.multihash)))
def test_any_multihash_is_a_site_id_or_not(raw: bytes) -> None:
    try:
        site = SiteId.from_multihash(raw)
    except DecodeError:
        return
    assert site.cid.multihash == raw
