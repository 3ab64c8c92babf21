"""CIDs in their binary form, as bytes: hashable, sortable, and stored or sent without conversion.

`Cid(raw)` trusts its argument; whatever comes from outside goes through from_bytes, from_text or read_cid.
"""

import hashlib
from collections.abc import Callable
from typing import Final

import blake3

from protocol import multibase, varint
from protocol.errors import (
    HashMismatch,
    Malformed,
    OverLimit,
    TrailingBytes,
    Truncated,
    UnknownVersion,
    UnsupportedHash,
)
from protocol.limits import CID_BYTES, DIGEST_MAX_BYTES
from protocol.varint import Buffer

RAW: Final = 0x55
DAG_PB: Final = 0x70
DAG_CBOR: Final = 0x71
LIBP2P_KEY: Final = 0x72
DAG_JSON: Final = 0x0129
CBOR: Final = 0x51
JSON: Final = 0x0200

IDENTITY: Final = 0x00
SHA2_256: Final = 0x12
SHA2_512: Final = 0x13
BLAKE3: Final = 0x1E
BLAKE2B_256: Final = 0xB220

_SHA2_256_BYTES = b"\x12\x20"
_V1_DAG_PB = b"\x01\x70"
_V0_BYTES = 34
_V0_TEXT_CHARS = 46
_sha256 = hashlib.sha256


def _prefix(codec: int) -> bytes:
    return b"\x01" + varint.encode(codec) + _SHA2_256_BYTES


_PREFIXES: dict[int, bytes] = {codec: _prefix(codec) for codec in (RAW, DAG_PB, DAG_CBOR)}
# The CIDs that sites are made of: one comparison of four bytes tells all that there is to know of them.
_OWN_PREFIXES = frozenset((_PREFIXES[RAW], _PREFIXES[DAG_PB]))
_SHA2_256_PREFIXES = frozenset(_PREFIXES.values())

# hash code: (digest length in bytes, digest of data)
_HASHES: dict[int, tuple[int, Callable[[Buffer], bytes]]] = {
    SHA2_256: (32, lambda data: hashlib.sha256(data).digest()),
    SHA2_512: (64, lambda data: hashlib.sha512(data).digest()),
    BLAKE3: (32, lambda data: blake3.blake3(data).digest()),
    BLAKE2B_256: (32, lambda data: hashlib.blake2b(data, digest_size=32).digest()),
}
_HASH_NAMES = {
    0x11: "sha1",
    0x14: "sha3-512",
    0x16: "sha3-256",
    0x1B: "keccak-256",
    0xD5: "md5",
}


class Cid(bytes):
    """A binary CID, version 0 or 1; compares and hashes as its bytes."""

    __slots__ = ()

    @classmethod
    def from_bytes(cls, raw: Buffer) -> "Cid":
        """The CID that `raw` is, all of it. Raises DecodeError: TrailingBytes, UnknownVersion, …"""
        if len(raw) == CID_BYTES and bytes(raw[:4]) in _OWN_PREFIXES:
            return cls(raw)
        cid, end = read_cid(raw, 0)
        if end != len(raw):
            raise TrailingBytes("bytes after the CID", offset=end)
        return cid

    @classmethod
    def from_text(cls, text: str) -> "Cid":
        """The CID of a text: base58 of version 0 (`Qm…`) or multibase of version 1. Raises DecodeError."""
        if len(text) == _V0_TEXT_CHARS and text.startswith("Qm"):
            raw = multibase.decode_bare("base58btc", text)
        else:
            _, raw = multibase.decode(text)
            if raw[:1] == b"\x12":
                raise Malformed("a version 0 CID takes no multibase prefix")
        return cls.from_bytes(raw)

    @classmethod
    def of(cls, codec: int, data: Buffer) -> "Cid":
        """The CIDv1 of `data` under sha2-256."""
        return cls((_PREFIXES.get(codec) or _prefix(codec)) + _sha256(data).digest())

    @property
    def version(self) -> int:
        return 0 if self[0] == SHA2_256 else 1

    @property
    def codec(self) -> int:
        """Multicodec of the content; version 0 is always dag-pb."""
        if self[0] == SHA2_256:
            return DAG_PB
        return self[1] if self[1] < 0x80 else varint.decode(self, 1)[0]

    @property
    def canonical(self) -> "Cid":
        """The CIDv1 of the same block; stores and walks know a block under this one."""
        return self if self[0] != SHA2_256 else Cid(_V1_DAG_PB + self)

    @property
    def multihash(self) -> bytes:
        """Hash code, digest length, digest; the same for all CIDs of the same bytes under one hash."""
        if self[0] == SHA2_256:
            return bytes(self)
        return self[2:] if self[1] < 0x80 else self[varint.decode(self, 1)[1] :]

    @property
    def hash_code(self) -> int:
        return varint.decode(self.multihash)[0]

    @property
    def digest(self) -> bytes:
        multihash = self.multihash
        _, offset = varint.decode(multihash)
        _, offset = varint.decode(multihash, offset)
        return multihash[offset:]

    def is_own_kind(self) -> bool:
        """True for what sites are made of: version 1, raw or dag-pb, sha2-256 (36 bytes)."""
        return len(self) == CID_BYTES and self[:4] in _OWN_PREFIXES

    def verify(self, data: Buffer) -> None:
        """Raises HashMismatch unless `data` hashes to this CID, UnsupportedHash when that cannot be told."""
        if self[:4] in _SHA2_256_PREFIXES:
            matches = _sha256(data).digest() == self[4:]
        elif self.hash_code == IDENTITY:
            matches = self.digest == data
        else:
            matches = _digest_of(self.hash_code, len(self.digest), data) == self.digest
        if not matches:
            raise HashMismatch(f"{len(data)} bytes are not those of {self}")

    def __str__(self) -> str:
        return multibase.encode("base32", self) if self.version else multibase.encode_bare("base58btc", self)

    def __repr__(self) -> str:
        return f"Cid({self})"


def multihash_of(code: int, length: int, data: Buffer) -> bytes:
    """Hash code, digest length and digest of `data`. Raises UnsupportedHash, OverLimit (a long identity digest)."""
    if code != IDENTITY:
        return varint.encode(code) + varint.encode(length) + _digest_of(code, length, data)
    if len(data) != length or length > DIGEST_MAX_BYTES:
        raise OverLimit(f"{len(data)} bytes in an identity multihash of {length}, at most {DIGEST_MAX_BYTES}")
    return varint.encode(code) + varint.encode(length) + bytes(data)


def is_supported_hash(code: int) -> bool:
    """Whether bytes can be checked under it here."""
    return code == IDENTITY or code in _HASHES


def hash_name(code: int) -> str:
    """Of a hash function that is not supported, as far as its name is known."""
    return _HASH_NAMES.get(code, hex(code))


def _digest_of(code: int, length: int, data: Buffer) -> bytes:
    known = _HASHES.get(code)
    if known is None:
        raise UnsupportedHash(f"hash function {hash_name(code)} is not supported")
    if length != known[0]:
        raise UnsupportedHash(f"a digest of {length} bytes where the hash function gives {known[0]}")
    return known[1](data)


def read_cid(buf: Buffer, offset: int) -> tuple[Cid, int]:
    """(CID, offset after it) of the CID that starts at `offset`. Raises DecodeError with its offset."""
    if bytes(buf[offset : offset + 2]) == _SHA2_256_BYTES:
        end = offset + _V0_BYTES
    else:
        version, start = varint.decode(buf, offset)
        if version != 1:
            raise UnknownVersion(f"CID version {version}", offset=offset)
        _, start = varint.decode(buf, start)
        code, start = varint.decode(buf, start)
        length, start = varint.decode(buf, start)
        if length > DIGEST_MAX_BYTES:
            raise OverLimit(f"digest of {length} bytes, at most {DIGEST_MAX_BYTES}", offset=start)
        if length == 0 and code != IDENTITY:
            raise Malformed("empty digest", offset=start)
        end = start + length
    if end > len(buf):
        raise Truncated("CID ends early", offset=offset)
    return Cid(buf[offset:end]), end
