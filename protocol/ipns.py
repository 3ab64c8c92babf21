"""IPNS records: made, decoded, verified and compared, without I/O or clock (docs/spec/ipns.md; ipfs/specs ipns-record).

Only what `data` says counts, and only once `verify` passed; the V1 fields are copies for old readers.
"""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from protocol import dagcbor, multibase, varint
from protocol.cid import IDENTITY, LIBP2P_KEY, SHA2_256, Cid
from protocol.errors import (
    BadSignature,
    DecodeError,
    Malformed,
    OverLimit,
    Truncated,
    UnsupportedCodec,
    UnsupportedHash,
)
from protocol.limits import CID_TEXT_MAX_CHARS, IPNS_RECORD_MAX_BYTES, RSA_MAX_BITS, RSA_MIN_BITS, SITE_ID_BYTES
from protocol.site_id import SiteId

SIGNING_PREFIX = b"ipns-signature:"
MEDIA_TYPE = "application/vnd.ipfs.ipns-record"

_UINT64_END = 2**64
_SECOND_NS = 10**9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EOL = b"EOL"  # how validity type 0 is written under signature V1
# RFC 3339, with any number of digits after the point
_TIME = re.compile(
    rb"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d{1,32}))?(?:[Zz]|([+-])(\d\d):([0-5]\d))",
)

# IpnsEntry, by protobuf field number
_VALUE, _SIGNATURE_V1, _VALIDITY_TYPE, _VALIDITY, _SEQUENCE, _TTL, _PUBLIC_KEY, _SIGNATURE_V2, _DATA = range(1, 10)
_INTEGERS = frozenset((_VALIDITY_TYPE, _SEQUENCE, _TTL))
_V1_KEYS = {
    _VALUE: "Value",
    _VALIDITY: "Validity",
    _VALIDITY_TYPE: "ValidityType",
    _SEQUENCE: "Sequence",
    _TTL: "TTL",
}

_RSA, _ED25519, _SECP256K1 = 0, 1, 2
_SECP256K1_BYTES = 33  # a compressed point
_NAME_PREFIX = b"\x01" + bytes((LIBP2P_KEY,))

_Key = SiteId | RSAPublicKey | ec.EllipticCurvePublicKey


@dataclass(frozen=True, slots=True)
class IpnsRecord:
    """A record as decoded; nothing in it is to be believed before verify().

    value: a path such as `/ipfs/CID`. validity_ns: Unix time in nanoseconds after which it is void. ttl_ns: how long
    it may be cached. public_key: libp2p protobuf of the key, for names that do not hold it.
    """

    raw: bytes = field(repr=False)
    value: bytes
    validity_ns: int
    sequence: int
    ttl_ns: int
    public_key: bytes | None = field(repr=False)
    data: bytes = field(repr=False)
    signature_v2: bytes = field(repr=False)
    signature_v1: bytes | None = field(repr=False)

    @classmethod
    def decode(cls, raw: bytes) -> "IpnsRecord":
        """Steps 1, 2, 4 and 7 of the spec's verification. Raises DecodeError."""
        if len(raw) > IPNS_RECORD_MAX_BYTES:
            raise OverLimit(f"an IPNS record of {len(raw)} bytes, at most {IPNS_RECORD_MAX_BYTES}")
        fields = _read_entry(raw)
        data, signature = fields.get(_DATA, b""), fields.get(_SIGNATURE_V2, b"")
        if not isinstance(data, bytes) or not isinstance(signature, bytes) or not data or not signature:
            raise Malformed("ipns: a record without data or signature of version 2")
        value, validity, validity_type, sequence, ttl = found = _read_data(data)
        if fields.get(_SIGNATURE_V1) or fields.get(_VALUE):
            _compare_v1(fields, dict(zip(_V1_KEYS, found, strict=True)))
        if validity_type != 0:
            raise Malformed("ipns: validity type is not 0")
        key, old_signature = fields.get(_PUBLIC_KEY), fields.get(_SIGNATURE_V1)
        return cls(
            raw=raw,
            value=value,
            validity_ns=_parse_time(validity),
            sequence=sequence,
            ttl_ns=ttl,
            public_key=key if isinstance(key, bytes) and key else None,
            data=data,
            signature_v2=signature,
            signature_v1=old_signature if isinstance(old_signature, bytes) else None,
        )

    def verify(self, name: bytes) -> None:
        """Steps 3, 5 and 6: raises BadSignature unless the key of `name`, a multihash, signed the data.

        UnsupportedHash or Malformed for keys that are not Ed25519, RSA or secp256k1.
        """
        _check_signature(_key_of(name, self.public_key), self.signature_v2, SIGNING_PREFIX + self.data)

    def is_valid_at(self, now_ns: int) -> bool:
        """Step 8: not expired at a Unix time in nanoseconds."""
        return self.validity_ns > now_ns

    @property
    def order(self) -> tuple[int, int, bytes]:
        """Of two verified records of a name the one with the higher order is newer: sequence, validity, then bytes."""
        return self.sequence, self.validity_ns, self.raw


def create(
    private_key: Ed25519PrivateKey, *, value: bytes, sequence: int, validity_s: int, ttl_s: int, with_v1: bool = True
) -> bytes:
    """A record under an Ed25519 key, valid until `validity_s` (Unix time). Deterministic.

    Without V1 fields readers from before 2021 cannot use it. OverLimit for one that is too large.
    """
    validity = format_time(validity_s)
    data = encode_data(value, validity, sequence, ttl_s * _SECOND_NS)
    v1 = private_key.sign(value + validity + _EOL) if with_v1 else None
    return encode_entry(value, validity, sequence, ttl_s * _SECOND_NS, v1, private_key.sign(SIGNING_PREFIX + data))


def encode_data(value: bytes, validity: bytes, sequence: int, ttl_ns: int) -> bytes:
    """What signature V2 is over, after its prefix."""
    return dagcbor.encode(
        {"Value": value, "Validity": validity, "ValidityType": 0, "Sequence": sequence, "TTL": ttl_ns}
    )


def encode_entry(value: bytes, validity: bytes, sequence: int, ttl_ns: int, v1: bytes | None, v2: bytes) -> bytes:
    """The record from its parts, fields in ascending order. OverLimit when it is too large."""
    out = bytearray()
    if v1 is not None:
        _write_field(out, _VALUE, value)
        _write_field(out, _SIGNATURE_V1, v1)
        _write_field(out, _VALIDITY_TYPE, 0)
        _write_field(out, _VALIDITY, validity)
        _write_field(out, _SEQUENCE, sequence)
        _write_field(out, _TTL, ttl_ns)
    _write_field(out, _SIGNATURE_V2, v2)
    _write_field(out, _DATA, encode_data(value, validity, sequence, ttl_ns))
    if len(out) > IPNS_RECORD_MAX_BYTES:
        raise OverLimit(f"an IPNS record of {len(out)} bytes, at most {IPNS_RECORD_MAX_BYTES}")
    return bytes(out)


def verify_v1(site: SiteId, record: IpnsRecord, validity: bytes) -> None:
    """Raises BadSignature unless the old signature is the site's, too. No reader of today looks at it."""
    _check_signature(site, record.signature_v1 or b"", record.value + validity + _EOL)


def read_value(value: bytes) -> tuple[str, str, str] | None:
    """("ipfs" or "ipns", CID or name, path behind) of a path such as `/ipfs/CID/a/b`; None for any other value."""
    try:
        parts = value.decode().split("/", 3)
    except UnicodeDecodeError:
        return None
    if len(parts) < 3 or parts[0] or parts[1] not in ("ipfs", "ipns") or not parts[2]:
        return None
    return parts[1], parts[2], parts[3].strip("/") if len(parts) == 4 else ""


def root_of(record: IpnsRecord) -> Cid | None:
    """The CID that a record names by itself, as version 1; None for one that names another name."""
    found = read_value(record.value)
    try:
        return Cid.from_text(found[1]).canonical if found is not None and found[0] == "ipfs" else None
    except DecodeError:
        return None


def name_of(text: str) -> bytes:
    """The multihash that an IPNS name stands for: CIDv1 (libp2p-key) in any base, or a bare peer id. DecodeError."""
    if text.startswith(("1", "Qm")) and len(text) <= CID_TEXT_MAX_CHARS:
        return Cid.from_bytes(_NAME_PREFIX + multibase.decode_bare("base58btc", text)).multihash
    cid = Cid.from_text(text)
    if cid.version != 1 or cid.codec != LIBP2P_KEY:
        raise UnsupportedCodec("a CID, but not of a libp2p key")
    return cid.multihash


def name_text(name: bytes) -> str:
    """The canonical text of a name, a multihash: CIDv1 (libp2p-key) in base36. Raises DecodeError."""
    return multibase.encode("base36", Cid.from_bytes(_NAME_PREFIX + name))


def format_time(at_s: int) -> bytes:
    """RFC 3339 in UTC, without a fraction."""
    return (_EPOCH + timedelta(seconds=at_s)).strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0").encode()


def _parse_time(text: bytes) -> int:
    found = _TIME.fullmatch(text)
    if found is None:
        raise Malformed("ipns: validity is not a time of RFC 3339")
    date, clock, fraction, sign, hours, minutes = found.groups(b"")
    try:
        moment = datetime.fromisoformat(f"{date.decode()}T{clock.decode()}+00:00")
    except ValueError:
        raise Malformed("ipns: validity is no time that there is") from None
    since = moment - _EPOCH
    offset_s = (int(hours) * 3600 + int(minutes) * 60) * (-1 if sign == b"-" else 1) if sign else 0
    return (since.days * 86_400 + since.seconds - offset_s) * _SECOND_NS + int(fraction[:9].ljust(9, b"0"))


def _read_entry(raw: bytes) -> dict[int, int | bytes]:
    """The fields of an IpnsEntry, each at most once; fields that do not exist today are skipped."""
    found: dict[int, int | bytes] = {}
    at = 0
    while at < len(raw):
        tag, at = _read_uint64(raw, at)
        number, wire_type = tag >> 3, tag & 7
        known = _VALUE <= number <= _DATA
        if known and (wire_type != (0 if number in _INTEGERS else 2) or number in found):
            raise Malformed(f"ipns: field {number} has another type or occurs twice", offset=at)
        value: int | bytes
        if wire_type == 0:
            value, at = _read_uint64(raw, at)
        else:
            value, at = _read_span(raw, at, wire_type)
        if known:
            found[number] = value
    return found


def _read_span(raw: bytes, at: int, wire_type: int) -> tuple[bytes, int]:
    if wire_type == 2:
        length, at = _read_uint64(raw, at)
    elif wire_type in (1, 5):
        length = 8 if wire_type == 1 else 4
    else:
        raise Malformed(f"ipns: wire type {wire_type}", offset=at)
    if length > len(raw) - at:
        raise Truncated("ipns: a field ends early", offset=at)
    return raw[at : at + length], at + length


def _read_uint64(raw: bytes, at: int) -> tuple[int, int]:
    """A protobuf varint; it may need ten bytes, which those of multiformats may not have."""
    value = shift = 0
    for position in range(at, min(at + 10, len(raw))):
        value |= (raw[position] & 0x7F) << shift
        if raw[position] < 0x80:
            if value >= _UINT64_END:
                break
            return value, position + 1
        shift += 7
    if len(raw) - at < 10:
        raise Truncated("ipns: a number ends early", offset=at)
    raise Malformed("ipns: a number over 64 bits", offset=at)


def _write_field(out: bytearray, number: int, value: int | bytes) -> None:
    if isinstance(value, int):
        out += varint.encode(number << 3) + varint.encode(value)
    else:
        out += varint.encode(number << 3 | 2) + varint.encode(len(value)) + value


def _read_data(raw: bytes) -> tuple[bytes, bytes, int, int, int]:
    """(Value, Validity, ValidityType, Sequence, TTL); other keys are ignored, as the spec says."""
    found = dagcbor.decode(raw)
    if not isinstance(found, dict):
        raise Malformed("ipns: data is not a map")
    value, validity = found.get("Value"), found.get("Validity")
    if not isinstance(value, bytes) or not isinstance(validity, bytes):
        raise Malformed("ipns: Value or Validity in the data is missing or not bytes")
    numbers: list[int] = []
    for key in ("ValidityType", "Sequence", "TTL"):
        number = found.get(key)
        if type(number) is not int or not 0 <= number < _UINT64_END:
            raise Malformed(f"ipns: {key} in the data is missing or not an unsigned integer")
        numbers.append(number)
    return value, validity, numbers[0], numbers[1], numbers[2]


def _compare_v1(fields: dict[int, int | bytes], signed: dict[int, int | bytes]) -> None:
    for number, value in signed.items():
        if fields.get(number, 0 if number in _INTEGERS else b"") != value:
            raise Malformed(f"ipns: {_V1_KEYS[number]} is another one outside of the signed data")


def _key_of(name: bytes, embedded: bytes | None) -> _Key:
    """The public key that `name` stands for. `embedded`: the key in the record, which must be that one."""
    cid = Cid.from_bytes(_NAME_PREFIX + name)
    if cid.hash_code == IDENTITY:
        if embedded is not None and embedded != cid.digest:
            raise BadSignature("ipns: the key in the record is not that of the name")
        return _parse_key(cid.digest)
    if cid.hash_code != SHA2_256:
        raise UnsupportedHash("ipns: a name with another hash than identity or sha2-256")
    if embedded is None:
        raise Malformed("ipns: neither the name nor the record holds the public key")
    try:
        cid.verify(embedded)
    except DecodeError:
        raise BadSignature("ipns: the key in the record is not that of the name") from None
    return _parse_key(embedded)


def _parse_key(raw: bytes) -> _Key:
    """A libp2p PublicKey: field 1 the type, field 2 the key."""
    if raw[:1] != b"\x08" or raw[2:3] != b"\x12":
        raise Malformed("ipns: not a public key")
    length, at = varint.decode(raw, 3)
    key = raw[at:]
    if len(key) != length:
        raise Malformed("ipns: the public key has another length than it says")
    if raw[1] == _ED25519 and length == SITE_ID_BYTES:
        return SiteId.from_public_bytes(key)
    if raw[1] == _SECP256K1:
        return _parse_secp256k1(key)
    if raw[1] != _RSA:
        raise UnsupportedHash(f"ipns: key type {raw[1]}; Ed25519, RSA and secp256k1 are supported")
    try:
        found = load_der_public_key(key)
    except (ValueError, UnsupportedAlgorithm):
        raise Malformed("ipns: not an RSA key") from None
    if not isinstance(found, RSAPublicKey) or not RSA_MIN_BITS <= found.key_size <= RSA_MAX_BITS:
        raise Malformed(f"ipns: not an RSA key of {RSA_MIN_BITS} to {RSA_MAX_BITS} bits")
    return found


def _parse_secp256k1(key: bytes) -> ec.EllipticCurvePublicKey:
    if len(key) != _SECP256K1_BYTES:
        raise Malformed("ipns: not a compressed secp256k1 key")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), key)
    except (ValueError, UnsupportedAlgorithm):
        raise Malformed("ipns: not a secp256k1 key") from None


def _check_signature(key: _Key, signature: bytes, message: bytes) -> None:
    try:
        if isinstance(key, RSAPublicKey):
            key.verify(signature, message, padding.PKCS1v15(), SHA256())
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, message, ec.ECDSA(SHA256()))
        else:
            key.verify_key().verify(signature, message)
    except InvalidSignature:
        raise BadSignature("ipns: the signature does not match") from None
