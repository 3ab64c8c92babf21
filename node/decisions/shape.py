"""The decision log as JSON, for whoever serves it and whoever checks it (docs/spec/log.md)."""

from __future__ import annotations

from typing import Any

from protocol.decision import Entry, SignedLogHead

Json = dict[str, Any]
PREFIX = "/.well-known/fednode/log"


def head_json(signed: SignedLogHead) -> Json:
    """`head` is what counts; the rest says the same in words."""
    head = signed.head
    return {
        "head": signed.encode().hex(),
        "key": str(head.key),
        "size": head.size,
        "root": head.root.hex(),
        "time_s": head.time_s,
    }


def entry_json(raw: bytes, entry: Entry, opened: dict[str, tuple[bytes, str]], *, withheld: bool) -> Json:
    """`entry` is what is hashed; `opened` are texts that fit its commitments; the rest says the same in words."""
    return {
        "number": entry.number,
        "entry": raw.hex(),
        "time_s": entry.time_s,
        "act": entry.act,
        "verdict": entry.verdict,
        "ground": entry.ground,
        "list": entry.list_name,
        "list_digest": entry.list_digest.hex() if entry.list_digest else None,
        "list_rules": entry.list_rules,
        "refers": entry.refers,
        "withheld": withheld,
        "opened": {name: {"salt": salt.hex(), "text": text} for name, (salt, text) in sorted(opened.items())},
    }
