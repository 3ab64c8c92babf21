"""Vectors of notices, appeals and export proofs (docs/spec/notice.md)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from protocol import canonical, messages, signing
from protocol.frames import encode_message
from protocol.limits import NOTICE_MAX_BYTES
from protocol.notice import (
    APPEAL_DOMAIN,
    NOTICE_DOMAIN,
    Appeal,
    Notice,
    prove_export,
    sign_appeal,
    sign_notice,
)
from tests.vectors.make_ids import KEYS, SITES

NODE_KEY, SITE_KEY = KEYS[0], KEYS[1]
NODE, SITE = SITES[0], SITES[1]
NONCE = bytes(range(32))

REFUSAL = Notice(
    node=NODE,
    site=SITE,
    number=1,
    kind="refusal",
    verdict="quarantine",
    ground="policy",
    reason="spam",
    rule=f"/ipns/{SITE}",
    list_name=None,
    entry=4,
    issued_s=1_800_000_000,
    effective_s=1_800_259_200,
    keep_until_s=1_802_851_200,
    contact="op@example.org",
)
SECRET = Notice(NODE, SITE, 2, "refusal", "refuse", "legal", "", "", None, None, 1_800_000_000, 1_800_000_000, None, "")
UPHELD = Notice(NODE, SITE, 3, "upheld", "quarantine", "policy", "it stays", "//Qm", "bad", 9, 5, 4, 9, "", 1)
LIFTED = Notice(NODE, SITE, 4, "lifted", "", "", "so it is", "", None, 12, 7, 7, None, "", 3)
APPEAL = Appeal(NODE, SITE, 1, "It was one word.\nIt is gone now.", "me@example.org", 1_800_000_100)


def _payload(changes: dict[str, Any]) -> bytes:
    """A signed notice with other values; what a `Notice` would not allow, too."""
    fields = canonical.unpack(REFUSAL.encode(), max_bytes=NOTICE_MAX_BYTES)
    assert isinstance(fields, dict)
    kept = {key: value for key, value in (fields | changes).items() if value != "-"}
    payload = canonical.pack(kept)
    return canonical.pack([1, payload, signing.sign(NODE_KEY, NOTICE_DOMAIN, payload)])


def _bad() -> list[tuple[str, bytes, str]]:
    good = REFUSAL.encode()
    return [
        ("signed by the site", canonical.pack([1, good, signing.sign(SITE_KEY, NOTICE_DOMAIN, good)]), "bad-signature"),
        ("of another domain", canonical.pack([1, good, signing.sign(NODE_KEY, APPEAL_DOMAIN, good)]), "bad-signature"),
        ("of a later version", canonical.pack([2, good, bytes(64)]), "unknown-version"),
        ("a payload of a later version", _payload({"v": 2}), "unknown-version"),
        ("a short signature", canonical.pack([1, good, bytes(63)]), "malformed"),
        ("no array", canonical.pack({}), "malformed"),
        ("a field too many", _payload({"note": "private"}), "malformed"),
        ("a field too few", _payload({"rule": "-"}), "malformed"),
        ("a kind that is none", _payload({"kind": "threat"}), "malformed"),
        ("lifted with a verdict", _payload({"kind": "lifted"}), "malformed"),
        ("a refusal that allows", _payload({"verdict": ""}), "malformed"),
        ("number 0", _payload({"number": 0}), "malformed"),
        ("a reason of two lines", _payload({"reason": "a\nb"}), "malformed"),
        ("a long reason", _payload({"reason": "x" * 501}), "over-limit"),
        ("a time after 9999", _payload({"issued_s": 253_402_300_800}), "over-limit"),
        ("a time that is a truth value", _payload({"effective_s": True}), "malformed"),
        ("a key of small order", _payload({"node": bytes(32)}), "malformed"),
        ("trailing bytes", sign_notice(REFUSAL, NODE_KEY).encode() + b"\0", "trailing-bytes"),
        ("too long", bytes(NOTICE_MAX_BYTES + 1), "over-limit"),
    ]


def _plain(record: Notice | Appeal) -> dict[str, Any]:
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in asdict(record).items()}


MESSAGES: dict[str, messages.Message] = {
    "ask-notices": messages.AskNotices(SITE),
    "notices": messages.Notices((sign_notice(LIFTED, NODE_KEY).encode(),)),
    "appeal": messages.HandAppeal(sign_appeal(APPEAL, SITE_KEY).encode()),
    "ask-export": messages.AskExport(SITE),
    "challenge": messages.Challenge(NONCE),
    "proof": messages.Proof(prove_export(SITE_KEY, NODE, NONCE)),
}


def notices() -> dict[str, object]:
    return {
        "notices": [
            {"notice": _plain(each), "hex": sign_notice(each, NODE_KEY).encode().hex()}
            for each in (REFUSAL, SECRET, UPHELD, LIFTED)
        ],
        "appeals": [{"appeal": _plain(APPEAL), "hex": sign_appeal(APPEAL, SITE_KEY).encode().hex()}],
        "proofs": [
            {
                "node": NODE.hex(),
                "site": SITE.hex(),
                "nonce": NONCE.hex(),
                "signature": prove_export(SITE_KEY, NODE, NONCE).hex(),
            }
        ],
        "frames": [
            {"type": name, "hex": b"".join(map(bytes, encode_message(message))).hex()}
            for name, message in MESSAGES.items()
        ],
        "invalid": [{"why": why, "hex": raw.hex(), "error": error} for why, raw, error in _bad()],
    }
