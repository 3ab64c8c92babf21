"""Vectors of frames and messages (docs/spec/sync.md)."""

from __future__ import annotations

from dataclasses import fields

from protocol import canonical, member_messages, messages
from protocol.audit import proof_of
from protocol.cid import RAW, Cid
from protocol.frames import encode_message
from protocol.limits import BLOCK_MAX_BYTES, MESSAGE_MAX_BYTES
from protocol.release import SignedRelease
from protocol.site_filter import SiteFilter
from protocol.statement import SignedStatement, Statement, Takes, sign_statement
from protocol.summary import Entry
from tests.vectors.make_ids import KEYS, SITES
from tests.vectors.make_records import ROOT, first_release, second_release

BLOCK = b"hello world"
CID = Cid.of(RAW, BLOCK)


def a_statement() -> SignedStatement:
    """Of a node that holds the first two sites."""
    statement = Statement(
        node=SITES[1],
        made_s=1_800_000_000,
        addresses=("/ip4/203.0.113.7/tcp/4101",),
        takes=Takes.OPEN,
        room_bytes=5 * 1024**3,
        sites=2,
        holdings=SiteFilter.of(SITES[:2]),
        operator="example.org",
        region="eu-north",
        lists=(bytes(range(8)),),
    )
    return sign_statement(statement, KEYS[1])


MESSAGES: dict[str, messages.Message] = {
    "offer": messages.Offer(first_release()),
    "ask": messages.Ask(SITES[0]),
    "fetch": messages.Fetch(SITES[0], first_release().cid),
    "want": messages.Want((CID, ROOT)),
    "block": messages.Block(CID, BLOCK),
    "block, empty": messages.Block(Cid.of(RAW, b""), b""),
    "missing": messages.Missing(ROOT),
    "have": messages.Have(SITES[0], 1, 3, 1234),
    "refuse": messages.Refuse("blocked-law", "court order 12/26", bytes(SITES[0])),
    "refuse, a code from the future": messages.Refuse("not-on-mondays", ""),
    "progress": messages.Progress(1024, 4096, 512),
    "invited": messages.Invited(bytes(range(16))),
    "end": messages.End(),
    "statement": member_messages.Stated(a_statement()),
    "summary": member_messages.Summary(member_messages.Of.SITES, bytes(range(128)), 1_800_000_000),
    "listing": member_messages.Listing(
        member_messages.Of.SITES,
        (Entry(SITES[0], 3, ROOT.digest[:8]), Entry(SITES[1], 70_000, CID.digest[:8])),
        done=True,
    ),
    "wanted": member_messages.Wanted(first_release()),
    "audit": member_messages.Challenge(bytes(range(16)), SITES[0], (ROOT, CID)),
    "proofs": member_messages.Proofs((proof_of(bytes(range(16)), SITES[0], SITES[1], CID, BLOCK), b"")),
}


def _plain(value: object) -> object:
    """A field as JSON: ids as text, other bytes as hex, a release by its CID."""
    match value:
        case SignedRelease():
            return str(value.cid)
        case SignedStatement():
            return value.encode().hex()
        case tuple():
            return [_plain(item) for item in value]
        case bytes():
            return value.hex() if type(value) is bytes else str(value)
    return value


def describe(message: messages.Message) -> dict[str, object]:
    return {"type": type(message).__name__.lower()} | {
        field.name: _plain(getattr(message, field.name)) for field in fields(message)
    }


def frames() -> dict[str, object]:
    return {
        "valid": [
            {
                "name": name,
                "message": describe(message),
                "hex": b"".join(bytes(piece) for piece in encode_message(message)).hex(),
            }
            for name, message in MESSAGES.items()
        ],
        "invalid": [{"why": why, "hex": raw.hex(), "error": error} for why, raw, error in _bad_frames()],
    }


def _frame(kind: int, body: bytes) -> bytes:
    return (1 + len(body)).to_bytes(4, "big") + bytes((kind,)) + body


def _message(value: canonical.Packable) -> bytes:
    return _frame(0, canonical.pack(value))


def _bad_frames() -> list[tuple[str, bytes, str]]:
    return [*_bad_headers(), *_bad_shapes(), *_bad_values()]


def _bad_headers() -> list[tuple[str, bytes, str]]:
    ask = b"".join(bytes(piece) for piece in encode_message(MESSAGES["ask"]))
    return [
        ("the stream ends in the length", ask[:3], "truncated"),
        ("the stream ends before the body", ask[:5], "truncated"),
        ("the stream ends in the body", ask[:-1], "truncated"),
        ("a length of zero", bytes(5), "malformed"),
        ("kind 2", _frame(2, b""), "unknown-type"),
        ("a message over the limit", (MESSAGE_MAX_BYTES + 2).to_bytes(4, "big") + b"\0", "over-limit"),
        ("a block over the limit", (BLOCK_MAX_BYTES + 38).to_bytes(4, "big") + b"\1", "over-limit"),
        ("four gigabytes", b"\xff\xff\xff\xff\1", "over-limit"),
        ("a block frame without a whole CID", _frame(1, bytes(CID[:35])), "malformed"),
        ("a block under a version 0 CID", _frame(1, bytes(CID.multihash) + b"xx"), "malformed"),
        ("a block under sha2-512", _frame(1, b"\x01\x55\x13\x40" + bytes(64)), "malformed"),
        ("a block as dag-cbor", _frame(1, b"\x01\x71" + CID[2:] + BLOCK), "malformed"),
    ]


def _bad_shapes() -> list[tuple[str, bytes, str]]:
    return [
        ("an empty message", _frame(0, b""), "truncated"),
        ("a message with a byte more", _frame(0, canonical.pack({"type": "end"}) + b"\0"), "trailing-bytes"),
        ("a key twice", _frame(0, bytes.fromhex("82a474797065a3656e64a474797065a3656e64")), "duplicate-key"),
        ("a type as str8", _frame(0, bytes.fromhex("81a474797065d903656e64")), "not-canonical"),
        ("no map", _message(["end"]), "malformed"),
        ("no type", _message({"site": bytes(SITES[0])}), "malformed"),
        ("type as integer", _message({"type": 1}), "malformed"),
        ("an unknown type", _message({"type": "gossip"}), "unknown-type"),
        ("a block as message", _message({"type": "block", "cid": bytes(CID)}), "unknown-type"),
        ("an unknown field", _message({"type": "end", "why": ""}), "malformed"),
        ("a field missing", _message({"type": "ask"}), "malformed"),
    ]


def _bad_values() -> list[tuple[str, bytes, str]]:
    site, cid = bytes(SITES[0]), bytes(CID)
    have: dict[str, canonical.Packable] = {"type": "have", "site": site, "seq": 1, "new_blocks": 0, "new_bytes": 0}
    refuse: dict[str, canonical.Packable] = {"type": "refuse", "code": "full", "reason": "", "subject": b""}
    progress: dict[str, canonical.Packable] = {"type": "progress", "done_bytes": 1, "total_bytes": 2, "new_bytes": 1}
    listing: dict[str, canonical.Packable] = {"type": "listing", "of": "sites", "entries": [], "done": True}
    summary: dict[str, canonical.Packable] = {"type": "summary", "of": "sites", "sums": bytes(128), "now_s": 1}
    tag = bytes(8)
    first = first_release()
    tampered = first.encode().replace(first.signature, first.signature[:-1] + b"\0")
    swapped = canonical.pack([1, second_release().payload, first_release().signature, second_release().ipns_record])
    return [
        ("a site of 31 bytes", _message({"type": "ask", "site": site[:31]}), "malformed"),
        ("a site as text", _message({"type": "ask", "site": str(SITES[0])}), "malformed"),
        ("an offer with a broken signature", _message({"type": "offer", "release": tampered}), "bad-signature"),
        ("an offer with another's signature", _message({"type": "offer", "release": swapped}), "bad-signature"),
        ("an offer of version 2", _message({"type": "offer", "release": b"\x91\x02"}), "unknown-version"),
        ("an empty offer", _message({"type": "offer", "release": b""}), "truncated"),
        ("a want for nothing", _message({"type": "want", "cids": []}), "malformed"),
        ("a want for one CID twice", _message({"type": "want", "cids": [cid, cid]}), "malformed"),
        ("a want for dag-cbor", _message({"type": "want", "cids": [b"\x01\x71" + cid[2:]]}), "malformed"),
        ("one key twice", _message(listing | {"entries": [[site, 1, tag], [site, 2, tag]]}), "malformed"),
        ("an entry without a tag", _message(listing | {"entries": [[site, 1]]}), "malformed"),
        ("an entry of four", _message(listing | {"entries": [[site, 1, tag, 1]]}), "over-limit"),
        (
            "a summary of nothing known",
            _message(summary | {"of": "all"}),
            "malformed",
        ),
        (
            "sums of nine buckets",
            _message(summary | {"sums": bytes(72)}),
            "malformed",
        ),
        ("done as integer", _message(listing | {"done": 1}), "malformed"),
        ("have of seq 0", _message(have | {"seq": 0}), "malformed"),
        ("have of a negative count", _message(have | {"new_blocks": -1}), "malformed"),
        ("have over the limit", _message(have | {"new_bytes": 2**63}), "over-limit"),
        ("a refuse code in upper case", _message(refuse | {"code": "Full"}), "malformed"),
        ("an empty refuse code", _message(refuse | {"code": ""}), "malformed"),
        ("a refuse code of 33 characters", _message(refuse | {"code": "f" * 33}), "over-limit"),
        ("a reason with a line break", _message(refuse | {"reason": "a\nb"}), "malformed"),
        ("a reason with an escape", _message(refuse | {"reason": "\x1b[2J"}), "malformed"),
        ("a reason that turns its direction", _message(refuse | {"reason": "\u202e"}), "malformed"),
        ("a reason of 501 characters", _message(refuse | {"reason": "r" * 501}), "over-limit"),
        ("a subject of 65 bytes", _message(refuse | {"subject": bytes(65)}), "over-limit"),
        ("done over total", _message(progress | {"done_bytes": 3}), "over-limit"),
        ("new over done", _message(progress | {"new_bytes": 2}), "over-limit"),
    ]
