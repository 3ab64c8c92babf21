from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol import dagcbor
from protocol.errors import BadSignature, DecodeError, Malformed, NotCanonical, OverLimit, Truncated, UnsupportedHash
from protocol.ipns import IpnsRecord, create, encode_data, encode_entry, format_time, name_of
from protocol.site_id import SiteId

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NAME = SiteId.of(KEY).cid.multihash
UNTIL_S = 4_000_000_000


def made(**changes: object) -> IpnsRecord:
    parts = {"value": b"/ipfs/bafkqaaa", "sequence": 1, "validity_s": UNTIL_S, "ttl_s": 60} | changes
    return IpnsRecord.decode(create(KEY, **parts))  # type: ignore[arg-type]


def test_a_record_comes_back() -> None:
    record = made(sequence=2**63 - 2)
    record.verify(NAME)
    assert (record.value, record.sequence, record.ttl_ns) == (b"/ipfs/bafkqaaa", 2**63 - 2, 60 * 10**9)
    assert record.validity_ns == UNTIL_S * 10**9
    assert record.is_valid_at(UNTIL_S * 10**9 - 1)
    assert not record.is_valid_at(UNTIL_S * 10**9)


def test_another_key() -> None:
    with pytest.raises(BadSignature):
        made().verify(SiteId.of(Ed25519PrivateKey.generate()).cid.multihash)


def test_the_newer_record_has_the_higher_sequence_then_the_later_validity() -> None:
    old, longer, newer = made(), made(validity_s=UNTIL_S + 1), made(sequence=2, validity_s=UNTIL_S - 1)
    assert old.order < longer.order < newer.order


def test_without_v1_fields() -> None:
    record = made(with_v1=False)
    record.verify(NAME)
    assert record.signature_v1 is None
    assert len(record.raw) < len(made().raw)


@pytest.mark.parametrize("field", ["value", "validity", "sequence", "ttl_ns"])
def test_v1_copies_must_be_those_of_the_data(field: str) -> None:
    parts: dict[str, object] = {"value": b"/a", "validity": format_time(9), "sequence": 1, "ttl_ns": 5}
    data = encode_data(**parts)  # type: ignore[arg-type]
    other = parts | {field: b"/b" if field == "value" else format_time(8) if field == "validity" else 2}
    raw = encode_entry(**other, v1=bytes(64), v2=bytes(64))  # type: ignore[arg-type]
    wrong = raw.replace(encode_data(**other), data)  # type: ignore[arg-type]
    with pytest.raises(Malformed, match="another one"):
        IpnsRecord.decode(wrong)


def test_unknown_fields_are_skipped_and_known_ones_come_once() -> None:
    raw = made().raw
    for more in (b"\x50\x07", b"\x52\x03abc", b"\x51" + bytes(8), b"\x55" + bytes(4), b"\xfa\x7f\x01x"):
        IpnsRecord.decode(raw + more).verify(NAME)
    for more in (b"\x4a\x01\xa0", b"\x0a\x01x", b"\x48\x01", b"\x53", b"\x07"):
        with pytest.raises(Malformed):
            IpnsRecord.decode(raw + more)


@pytest.mark.parametrize("more", [b"\x50", b"\x52\x05abc", b"\x50\xff\xff", b"\x51\x00"])
def test_a_record_cut_short(more: bytes) -> None:
    with pytest.raises(Truncated):
        IpnsRecord.decode(made().raw + more)


def test_too_large() -> None:
    with pytest.raises(OverLimit):
        made(value=bytes(10_240))
    with pytest.raises(OverLimit):
        IpnsRecord.decode(bytes(10_241))


@pytest.mark.parametrize(
    ("text", "at_ns"),
    [
        (b"1970-01-01T00:00:00.000000001Z", 1),
        (b"1970-01-01T00:00:00.1234567891Z", 123_456_789),
        (b"1970-01-01t00:00:01z", 10**9),
        (b"1970-01-01T02:00:00+02:00", 0),
        (b"1969-12-31T22:30:00-01:30", 0),
        (b"1969-12-31T23:59:59.5Z", -(10**9) // 2),
        (b"9999-12-31T23:59:59Z", 253_402_300_799 * 10**9),
    ],
)
def test_times(text: bytes, at_ns: int) -> None:
    assert IpnsRecord.decode(encode_entry(b"/", text, 0, 0, None, bytes(64))).validity_ns == at_ns


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"2026-01-01",
        b"2026-13-01T00:00:00Z",
        b"2026-02-30T00:00:00Z",
        b"2026-01-01T00:00:00",
        b"0000-01-01T00:00:00Z",
        b"2026-01-01T00:00:00.Z",
        b"2026-01-01 00:00:00Z",
        b"\xff",
        b"2026-01-01T24:00:00Z",
        b"2026-01-01T00:00:00Z ",
    ],
)
def test_no_times(text: bytes) -> None:
    with pytest.raises(Malformed):
        IpnsRecord.decode(encode_entry(b"/", text, 0, 0, None, bytes(64)))


@pytest.mark.parametrize("key", ["Value", "Validity", "ValidityType", "Sequence", "TTL"])
def test_every_key_of_the_data_is_needed_and_others_are_ignored(key: str) -> None:
    data = dagcbor.decode(encode_data(b"/", format_time(0), 0, 0))
    assert isinstance(data, dict)

    def entry(content: dict[str, dagcbor.Value]) -> bytes:
        encoded = dagcbor.encode(content)
        return b"\x42\x01x\x4a" + bytes((len(encoded),)) + encoded

    IpnsRecord.decode(entry(data | {"_more": [1, None]}))
    del data[key]
    with pytest.raises(Malformed, match=key):
        IpnsRecord.decode(entry(data))


def test_names() -> None:
    site = SiteId.of(KEY)
    assert name_of(str(site)) == NAME
    for text in ("bafkqaaa", "QmVujd5Vb7moysJj8itnGufN7MEtPRCNHkKpNuA4onsRa", "1", "", "x"):
        with pytest.raises(DecodeError):
            name_of(text)
    with pytest.raises(UnsupportedHash):
        made().verify(b"\x13\x40" + bytes(64))
    for key, error in (("0803122102", UnsupportedHash), ("0802122102", Malformed)):  # ECDSA; no point of secp256k1
        raw = bytes.fromhex(key) + bytes(32)
        with pytest.raises(error):
            made().verify(bytes((0, len(raw))) + raw)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("1800", NotCanonical),
        ("19000a", NotCanonical),
        ("5f41004100ff", Malformed),
        ("f7", Malformed),
        ("f90000", Malformed),
        ("fb7ff8000000000000", Malformed),
        ("c100", Malformed),
        ("d82a4101", Malformed),
        ("d82a01", Malformed),
        ("a262616101616202", NotCanonical),
        ("a1f600", Malformed),
        ("61ff", Malformed),
        ("81" * 65 + "00", OverLimit),
        ("82", Truncated),
        ("9bffffffffffffffff", Truncated),
        ("1c", Malformed),
    ],
)
def test_cbor_of_another_form(text: str, error: type[DecodeError]) -> None:
    with pytest.raises(error):
        dagcbor.decode(bytes.fromhex(text))
