"""Notices as JSON, for whoever shows them (docs/spec/notice.md)."""

from __future__ import annotations

from typing import Any

from protocol.notice import SignedNotice

Json = dict[str, Any]
PREFIX = "/.well-known/fednode/notices"


def notice_json(signed: SignedNotice) -> Json:
    """`notice` is what counts; the rest says the same in words."""
    notice = signed.notice
    return {
        "notice": signed.encode().hex(),
        "node": str(notice.node),
        "site": str(notice.site),
        "number": notice.number,
        "kind": notice.kind,
        "verdict": notice.verdict,
        "ground": notice.ground,
        "reason": notice.reason,
        "rule": notice.rule,
        "list": notice.list_name,
        "entry": notice.entry,
        "issued_s": notice.issued_s,
        "effective_s": notice.effective_s,
        "keep_until_s": notice.keep_until_s,
        "contact": notice.contact,
        "refers": notice.refers,
    }
