"""Vectors of site ids and CIDs (docs/spec/site-id.md)."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol import multibase
from protocol.cid import DAG_CBOR, DAG_PB, RAW, Cid
from protocol.site_id import SiteId

# The secret keys of the first three test vectors in RFC 8032, 7.1.
SECRETS = (
    "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
    "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
    "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
)
KEYS = tuple(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret)) for secret in SECRETS)
SITES = tuple(SiteId.of(key) for key in KEYS)


def _texts(site: SiteId) -> dict[str, str]:
    return {
        "public_key": site.hex(),
        "cid": site.cid.hex(),
        "text": str(site),
        "base32": multibase.encode("base32", site.cid),
        "base16": multibase.encode("base16", site.cid),
        "base58btc": multibase.encode("base58btc", site.cid),
        "base64url": multibase.encode("base64url", site.cid),
        "multihash_base58btc": multibase.encode_bare("base58btc", site.cid.multihash),
    }


def site_ids() -> dict[str, object]:
    site = SITES[0]
    text = str(site)
    rsa = bytes.fromhex("1220") + hashlib.sha256(b"an RSA key").digest()
    secp256k1 = bytes.fromhex("002508021221") + b"\x02" * 33
    return {
        "valid": [{"secret_key": secret, **_texts(SiteId.of(key))} for secret, key in zip(SECRETS, KEYS, strict=True)],
        # From the test list of IPIP-383, not made here: the same key in three forms.
        "foreign": [
            "k51qzi5uqu5dhmzyv3zac033i7rl9hkgczxyl81lwoukda2htteop7d3x0y1mf",
            "bafzaajaiaejcaotjfs57kieazxny5japcmy5p2pgv2cic77tu6ogghttvurnrufx",
            "12D3KooWDkNqEJNmreF3NYYFK1ws7Ra2fuW6cHBTu567SPV3LdYA",
        ],
        "same": [text.upper(), "k" + text[1:].upper(), multibase.encode("base32", site.cid).upper()],
        "invalid": [
            _bad("empty", "", "malformed"),
            _bad("no multibase prefix", text[1:], "malformed"),
            _bad("a character outside the alphabet", text[:-1] + "!", "malformed"),
            _bad("cut short", text[:-1], "unknown-version"),
            _bad("mixed case in base58", "Z" + multibase.encode("base58btc", site.cid)[1:], "malformed"),
            _bad("content, not a key", str(Cid.of(RAW, b"content")), "unsupported-codec"),
            _bad("content, version 0", str(Cid(rsa)), "unsupported-codec"),
            _bad("an RSA key", multibase.encode("base36", b"\x01\x72" + rsa), "unsupported-hash"),
            _bad("a secp256k1 key", multibase.encode("base36", b"\x01\x72" + secp256k1), "unsupported-hash"),
            _bad("a key of 31 bytes", _name_of("002308011220", bytes(site[:31])), "unsupported-hash"),
            _bad("a key of 31 bytes that says 32", _name_of("002308011220", bytes(site[:31])), "unsupported-hash"),
            _bad("trailing bytes", multibase.encode("base36", site.cid + b"\0"), "trailing-bytes"),
            _bad("the neutral element", _name_of("002408011220", b"\x01" + bytes(31)), "malformed"),
            _bad("its non-reduced form", _name_of("002408011220", b"\xee" + b"\xff" * 30 + b"\x7f"), "malformed"),
            _bad("a point of order 4, negative", _name_of("002408011220", bytes(31) + b"\x80"), "malformed"),
            _bad("too long", "k" + "0" * 1000, "over-limit"),
        ],
    }


def _name_of(prefix: str, key: bytes) -> str:
    return multibase.encode("base36", b"\x01\x72" + bytes.fromhex(prefix) + key)


def _bad(why: str, text: str, error: str) -> dict[str, str]:
    return {"why": why, "text": text, "error": error}


def _cid(cid: Cid, data: bytes) -> dict[str, object]:
    return {
        "cid": cid.hex(),
        "text": str(cid),
        "version": cid.version,
        "codec": cid.codec,
        "hash_code": cid.hash_code,
        "digest": cid.digest.hex(),
        "data": data.hex(),
    }


BLAKE3_OF_HELLO_WORLD = "d74981efa70a0c880b8d8c1985d075dbcbf679b99a5f9914e5aaf96b831a9e24"


def cids() -> dict[str, object]:
    data = b"hello world"
    digest = hashlib.sha256(data).digest()
    own = Cid.of(RAW, data)
    return {
        "valid": [
            _cid(own, data),
            _cid(Cid.of(DAG_PB, b""), b""),
            _cid(Cid.of(DAG_CBOR, b"\xa0"), b"\xa0"),
            _cid(Cid(bytes.fromhex("1220") + digest), data),
            _cid(Cid(bytes.fromhex("01550000")), b""),
            _cid(Cid(bytes.fromhex("0155000b") + data), data),
            _cid(Cid(bytes.fromhex("01551340") + hashlib.sha512(data).digest()), data),
            _cid(Cid(bytes.fromhex("0155a0e40220") + hashlib.blake2b(data, digest_size=32).digest()), data),
            _cid(Cid(bytes.fromhex("01551e20" + BLAKE3_OF_HELLO_WORLD)), data),
            _cid(Cid(bytes.fromhex("01a902") + bytes.fromhex("1220") + digest), data),
        ],
        "unverifiable": [
            {"why": "sha3-512", "cid": "01551440" + hashlib.sha3_512(data).hexdigest()},
            {"why": "sha1", "cid": "01551114" + hashlib.sha1(data, usedforsecurity=False).hexdigest()},
            {"why": "a truncated digest", "cid": "01551214" + digest[:20].hex()},
        ],
        "invalid": [
            _bad_bytes("empty", b"", "truncated"),
            _bad_bytes("version 0 without its digest", bytes.fromhex("1220"), "truncated"),
            _bad_bytes("version 0, one byte short", bytes.fromhex("1220") + digest[:31], "truncated"),
            _bad_bytes("version 0 with a byte more", bytes.fromhex("1220") + digest + b"\0", "trailing-bytes"),
            _bad_bytes("version 2", b"\x02" + own[1:], "unknown-version"),
            _bad_bytes("version 1 as two bytes", b"\x81\x00" + own[1:], "not-canonical"),
            _bad_bytes("codec as two bytes", b"\x01\xd5\x00" + own[2:], "not-canonical"),
            _bad_bytes("codec of ten bytes", b"\x01" + b"\xff" * 9 + b"\x01" + own[2:], "over-limit"),
            _bad_bytes("cut in the digest", bytes(own[:35]), "truncated"),
            _bad_bytes("a byte more", own + b"\0", "trailing-bytes"),
            _bad_bytes("an empty sha2-256 digest", bytes.fromhex("01551200"), "malformed"),
            _bad_bytes("identity of 129 bytes", bytes.fromhex("0155008101") + bytes(129), "over-limit"),
        ],
    }


def _bad_bytes(why: str, raw: bytes, error: str) -> dict[str, str]:
    return {"why": why, "hex": raw.hex(), "error": error}
