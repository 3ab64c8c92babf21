"""Vectors of canonical msgpack and of releases (docs/spec/release.md)."""

from __future__ import annotations

from typing import Any

import msgpack  # type: ignore[import-untyped]

from protocol import canonical, ipns, signing
from protocol.cid import DAG_PB, RAW, Cid
from protocol.limits import RELEASE_MAX_BYTES, RELEASE_RECORD_TTL_S, RELEASE_RECORD_VALIDITY_S, SEQ_MAX
from protocol.release import SIGNING_DOMAIN, Band, Release, SignedRelease, sign_release
from tests.vectors.make_ids import KEYS, SITES

ROOT = Cid.of(DAG_PB, b"a folder")


def _bad(why: str, raw: bytes, error: str) -> dict[str, str]:
    return {"why": why, "hex": raw.hex(), "error": error}


def canonical_values() -> dict[str, object]:
    values: list[canonical.Packable] = [
        None,
        False,
        True,
        0,
        127,
        128,
        255,
        256,
        65535,
        65536,
        2**32 - 1,
        2**32,
        2**63 - 1,
        2**64 - 1,
        -1,
        -32,
        -33,
        -128,
        -129,
        -32768,
        -32769,
        -(2**31),
        -(2**31) - 1,
        -(2**63),
        "",
        "Zürich",
        "x" * 31,
        "x" * 32,
        [],
        [1, [2, [3]]],
        list(range(16)),
        {},
        {"a": 1, "aa": 2, "b": 3, "é": 4},
        {"b": [], "a": {"c": None}},
    ]
    return {
        "valid": [{"value": value, "hex": canonical.pack(value).hex()} for value in values],
        "bytes": [{"bytes": raw.hex(), "hex": canonical.pack(raw).hex()} for raw in (b"", b"\0", b"x" * 256)],
        "invalid": [_bad(why, bytes.fromhex(text), error) for why, text, error in _NOT_CANONICAL],
    }


_NOT_CANONICAL = [
    ("nothing", "", "truncated"),
    ("an array cut short", "9201", "truncated"),
    ("a string cut short", "a261", "truncated"),
    ("a byte more", "c0c0", "trailing-bytes"),
    ("1 as uint8", "cc01", "not-canonical"),
    ("255 as uint16", "cd00ff", "not-canonical"),
    ("1 as int8", "d001", "not-canonical"),
    ("-1 as int8", "d0ff", "not-canonical"),
    ("a short string as str8", "d90161", "not-canonical"),
    ("a short byte string as bin16", "c5000161", "not-canonical"),
    ("an empty array as array16", "dc0000", "not-canonical"),
    ("an empty map as map16", "de0000", "not-canonical"),
    ("keys out of order", "82a16201a16101", "not-canonical"),
    ("keys ordered by length first", "82a16201a2616101", "not-canonical"),
    ("a key twice", "82a16101a16101", "duplicate-key"),
    ("a key twice, deeper", "9182a16101a16102", "duplicate-key"),
    ("an integer key", "810101", "malformed"),
    ("a byte string as key", "81c4016101", "malformed"),
    ("float 32", "ca00000000", "malformed"),
    ("float 64", "cb0000000000000000", "malformed"),
    ("a timestamp", "d6ff00000000", "malformed"),
    ("an extension", "d40100", "malformed"),
    ("the reserved byte", "c1", "malformed"),
    ("a string that is not UTF-8", "a1ff", "malformed"),
    ("a surrogate in a string", "a3eda080", "malformed"),
    ("nine arrays deep", "91" * 9 + "c0", "over-limit"),
    ("two thousand arrays deep", "91" * 2000 + "c0", "over-limit"),
    ("an array of 2^32-1", "ddffffffff", "over-limit"),
    ("an array of 1025", "dc0401" + "c0" * 1025, "over-limit"),
    ("a map of 1025", "de0401", "over-limit"),
]


def _fields(signed: SignedRelease) -> dict[str, object]:
    release = signed.release
    return {
        "site": str(release.site),
        "seq": release.seq,
        "prev": None if release.prev is None else str(release.prev),
        "root": None if release.root is None else str(release.root),
        "size_bytes": release.size_bytes,
        "block_count": release.block_count,
        "band": [release.band.min_hosts, release.band.max_hosts],
        "domains": list(release.domains),
        "created_s": release.created_s,
        "ended": release.ended,
        "hosts": list(release.hosts),
    }


def first_release() -> SignedRelease:
    return sign_release(Release(SITES[0], 1, None, ROOT, 1234, 3, Band(3, 12), (), 1_800_000_000, ended=False), KEYS[0])


def second_release() -> SignedRelease:
    release = Release(
        site=SITES[0],
        seq=2,
        prev=first_release().cid,
        root=Cid.of(RAW, b"one file"),
        size_bytes=8,
        block_count=1,
        band=Band(1, 1),
        domains=("example.com", "www.xn--zrich-kva.example"),
        created_s=1_800_086_400,
        ended=False,
    )
    return sign_release(release, KEYS[0])


HOSTS = (
    "/dns4/host.example/tcp/4101/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN",
    "/ip6/2001:db8::7/tcp/4101/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp",
)


def hosts_release() -> SignedRelease:
    """As the first one, and names hosts."""
    return sign_release(Release(SITES[0], 1, None, ROOT, 1234, 3, Band(3, 12), (), 1_800_000_000, hosts=HOSTS), KEYS[0])


def end_release() -> SignedRelease:
    return sign_release(Release.end_of(SITES[0], prev=second_release().cid, created_s=1_800_172_800), KEYS[0])


def releases() -> dict[str, object]:
    valid = []
    made = {"first": first_release(), "second": second_release(), "end": end_release(), "hosts": hosts_release()}
    for name, signed in made.items():
        valid.append(
            {
                "name": name,
                "fields": _fields(signed),
                "payload": signed.payload.hex(),
                "signed_bytes": (SIGNING_DOMAIN + b"\0" + signed.payload).hex(),
                "signature": signed.signature.hex(),
                "ipns_record": signed.ipns_record.hex(),
                "envelope": signed.encode().hex(),
                "cid": str(signed.cid),
            }
        )
    return {"valid": valid, "invalid": [*_bad_envelopes(), *_bad_ipns_records(), *_bad_payloads()]}


def _bad_envelopes() -> list[dict[str, str]]:
    signed = first_release()
    raw, payload, signature, record = signed.encode(), signed.payload, signed.signature, signed.ipns_record
    flipped = bytes([signature[0] ^ 1]) + signature[1:]
    other_key = signing.sign(KEYS[1], SIGNING_DOMAIN, payload)
    other_domain = signing.sign(KEYS[0], b"fednode/other/1", payload)
    undecorated = KEYS[0].sign(payload)
    return [
        _bad("empty", b"", "truncated"),
        _bad("one byte short", raw[:-1], "truncated"),
        _bad("one byte more", raw + b"\0", "trailing-bytes"),
        _bad("over the limit", raw + bytes(RELEASE_MAX_BYTES), "over-limit"),
        _bad("version 2", canonical.pack([2, payload, signature, record]), "unknown-version"),
        _bad("version as string", canonical.pack(["1", payload, signature, record]), "malformed"),
        _bad("version as boolean", canonical.pack([True, payload, signature, record]), "malformed"),
        _bad("version as uint8", b"\x94\xcc" + raw[1:], "not-canonical"),
        _bad("two elements", canonical.pack([1, payload]), "malformed"),
        _bad("three elements", canonical.pack([1, payload, signature]), "malformed"),
        _bad("five elements", canonical.pack([1, payload, signature, record, None]), "malformed"),
        _bad("a map", canonical.pack({"payload": payload}), "malformed"),
        _bad("payload as string", canonical.pack([1, "payload", signature, record]), "malformed"),
        _bad("signature of 63 bytes", canonical.pack([1, payload, signature[:63], record]), "bad-signature"),
        _bad("signature of 65 bytes", canonical.pack([1, payload, signature + b"\0", record]), "over-limit"),
        _bad("a flipped bit in the signature", canonical.pack([1, payload, flipped, record]), "bad-signature"),
        _bad("signed by another key", canonical.pack([1, payload, other_key, record]), "bad-signature"),
        _bad("signed in another domain", canonical.pack([1, payload, other_domain, record]), "bad-signature"),
        _bad("signed without a domain", canonical.pack([1, payload, undecorated, record]), "bad-signature"),
        _bad(
            "S not below the group order", canonical.pack([1, payload, _malleated(signature), record]), "bad-signature"
        ),
    ]


def _bad_ipns_records() -> list[dict[str, str]]:
    first, end = first_release(), end_release()
    value, seq = f"/ipfs/{ROOT}".encode(), 1
    until_s = first.release.created_s + RELEASE_RECORD_VALIDITY_S

    def record(key: int = 0, **changes: Any) -> bytes:
        parts: dict[str, Any] = {"value": value, "sequence": seq, "validity_s": until_s, "ttl_s": RELEASE_RECORD_TTL_S}
        return ipns.create(KEYS[key], **(parts | changes))

    v1 = ipns.IpnsRecord.decode(first.ipns_record).signature_v1 or b""
    made = [
        ("the IPNS record as nil", None, "malformed"),
        ("no IPNS record", b"", "bad-ipns-record"),
        ("an IPNS record cut short", first.ipns_record[:-1], "bad-ipns-record"),
        ("an IPNS record with an unknown field", first.ipns_record + b"\x50\x01", "bad-ipns-record"),
        ("an IPNS record without V1 fields", record(with_v1=False), "bad-ipns-record"),
        ("an IPNS record with another V1 signature", first.ipns_record.replace(v1, bytes(64)), "bad-ipns-record"),
        ("an IPNS record of another key", record(1), "bad-ipns-record"),
        ("an IPNS record of another root", record(value=b"/ipfs/bafkqaaa"), "bad-ipns-record"),
        ("an IPNS record of another number", record(sequence=2), "bad-ipns-record"),
        ("an IPNS record of another validity", record(validity_s=until_s - 1), "bad-ipns-record"),
        ("an IPNS record of another TTL", record(ttl_s=RELEASE_RECORD_TTL_S + 1), "bad-ipns-record"),
        ("an IPNS record over the limit", record(value=value + bytes(512)), "bad-ipns-record"),
    ]
    found = [_bad(why, canonical.pack([1, first.payload, first.signature, raw]), error) for why, raw, error in made]
    ended = canonical.pack([1, end.payload, end.signature, first.ipns_record])
    return [*found, _bad("an end with an IPNS record", ended, "bad-ipns-record")]


def _malleated(signature: bytes) -> bytes:
    """The same signature with the group order added to S: a verifier that does not check the range takes it."""
    order = 2**252 + 27742317777372353535851937790883648493
    return signature[:32] + (int.from_bytes(signature[32:], "little") + order).to_bytes(32, "little")


def _envelope(payload: bytes) -> bytes:
    """Signed by the site; its record is that of the first release, so it fits only when that is what was changed."""
    signature = signing.sign(KEYS[0], SIGNING_DOMAIN, payload)
    return canonical.pack([1, payload, signature, first_release().ipns_record])


def _bad_payloads() -> list[dict[str, str]]:
    """Payloads that the site's own key signed and that are wrong all the same."""
    good = canonical.unpack(first_release().payload, max_bytes=RELEASE_MAX_BYTES)
    assert isinstance(good, dict)
    end = canonical.unpack(end_release().payload, max_bytes=RELEASE_MAX_BYTES)
    assert isinstance(end, dict)
    prev = bytes(first_release().cid)
    short = dict(good)
    del short["band"]
    backwards = msgpack.packb(dict(reversed(good.items())))
    twice = b"\x8b" + first_release().payload[1:] + b"\xa4band\x92\x01\x01"
    made = [
        ("a field missing", _envelope(canonical.pack(short)), "malformed"),
        ("fields in reverse order", _envelope(backwards), "not-canonical"),
        ("a field twice", _envelope(twice), "duplicate-key"),
        ("payload with a byte more", _envelope(first_release().payload + b"\0"), "trailing-bytes"),
        ("payload cut short", _envelope(first_release().payload[:-1]), "truncated"),
        ("payload is an array", _envelope(canonical.pack([1])), "malformed"),
    ]
    changes: list[tuple[str, dict[str, canonical.Packable], str]] = [
        ("an unknown field", {"extra": 1}, "malformed"),
        ("a site of 31 bytes", {"site": bytes(31)}, "malformed"),
        ("a site of small order", {"site": b"\x01" + bytes(31)}, "malformed"),
        ("site as text", {"site": str(SITES[0])}, "malformed"),
        ("seq 0", {"seq": 0}, "malformed"),
        ("seq -1", {"seq": -1}, "malformed"),
        ("seq true", {"seq": True}, "malformed"),
        ("seq over the limit", {"seq": SEQ_MAX + 1}, "over-limit"),
        ("the end's seq without an end", {"seq": SEQ_MAX, "prev": prev}, "over-limit"),
        ("prev of the first release", {"prev": prev}, "malformed"),
        ("prev is no release block", {"seq": 2, "prev": bytes(ROOT)}, "malformed"),
        ("no root", {"root": None}, "malformed"),
        ("root as text", {"root": str(ROOT)}, "malformed"),
        ("root is a version 0 CID", {"root": bytes(ROOT.multihash)}, "malformed"),
        ("root is dag-cbor", {"root": b"\x01\x71" + ROOT[2:]}, "malformed"),
        ("root under sha2-512", {"root": b"\x01\x70\x13\x40" + bytes(64)}, "malformed"),
        ("no blocks", {"block_count": 0}, "malformed"),
        ("more blocks than bytes allow", {"size_bytes": 3, "block_count": 5}, "malformed"),
        ("blocks over the limit", {"size_bytes": 2**20 + 1, "block_count": 1}, "malformed"),
        ("negative size", {"size_bytes": -1}, "malformed"),
        ("size over the limit", {"size_bytes": 2**63}, "over-limit"),
        ("a band from 0", {"band": [0, 1]}, "malformed"),
        ("a band upside down", {"band": [2, 1]}, "malformed"),
        ("a band of three", {"band": [1, 2, 3]}, "over-limit"),
        ("a band of one", {"band": [1]}, "malformed"),
        ("a band over the limit", {"band": [1, 10_001]}, "over-limit"),
        ("domains not sorted", {"domains": ["b.example", "a.example"]}, "malformed"),
        ("a domain twice", {"domains": ["a.example", "a.example"]}, "malformed"),
        ("a domain in upper case", {"domains": ["A.example"]}, "malformed"),
        ("a domain with a final dot", {"domains": ["a.example."]}, "malformed"),
        ("a domain of one label", {"domains": ["localhost"]}, "malformed"),
        ("an address as domain", {"domains": ["127.0.0.1"]}, "malformed"),
        ("a domain not in ASCII", {"domains": ["zürich.example"]}, "malformed"),
        ("a label over 63 characters", {"domains": ["a" * 64 + ".example"]}, "malformed"),
        ("a domain over 253 characters", {"domains": ["a." * 126 + "aa"]}, "over-limit"),
        ("thirteen domains", {"domains": [f"{letter}.example" for letter in "abcdefghijklm"]}, "over-limit"),
        ("created before 1970", {"created_s": -1}, "malformed"),
        ("created after 9999", {"created_s": 253_402_300_800}, "over-limit"),
        ("ended as integer", {"ended": 1}, "malformed"),
        ("hosts, but none", {"hosts": []}, "malformed"),
        ("hosts not sorted", {"hosts": list(reversed(HOSTS))}, "malformed"),
        ("a host twice", {"hosts": [HOSTS[0], HOSTS[0]]}, "malformed"),
        ("a host without a peer id", {"hosts": ["/ip4/192.0.2.1/tcp/4101"]}, "malformed"),
        ("a host that is no multiaddr", {"hosts": ["host.example:4101"]}, "malformed"),
        ("a host as byte string", {"hosts": [HOSTS[0].encode()]}, "malformed"),
        ("five hosts", {"hosts": [HOSTS[0] + letter for letter in "abcde"]}, "over-limit"),
        ("a host over 180 characters", {"hosts": ["/dns4/" + "a" * 150 + HOSTS[0][18:]]}, "over-limit"),
    ]
    made += [(why, _envelope(canonical.pack(good | change)), error) for why, change, error in changes]
    ends: list[tuple[str, dict[str, canonical.Packable], str]] = [
        ("an end with a root", {"root": bytes(ROOT)}, "malformed"),
        ("an end with a size", {"size_bytes": 1}, "malformed"),
        ("an end with blocks", {"block_count": 1}, "malformed"),
        ("an end with an ordinary seq", {"seq": 3}, "malformed"),
        ("an end with hosts", {"hosts": list(HOSTS)}, "malformed"),
    ]
    made += [(why, _envelope(canonical.pack(end | change)), error) for why, change, error in ends]
    return [_bad(why, raw, error) for why, raw, error in made]
