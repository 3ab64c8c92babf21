"""A notice in words."""

from __future__ import annotations

import time

from cli.tables import echo_fields, moment
from protocol.notice import Notice


def echo_notice(notice: Notice) -> None:
    """What it says, and what its publisher can do."""
    fields: list[tuple[str, object]] = [
        ("notice", f"{notice.number}, {moment(notice.issued_s)}"),
        ("site", notice.site),
    ]
    fields += [("says", _says(notice)), ("reason", notice.reason), ("rule", notice.rule), ("list", notice.list_name)]
    if notice.kind != "lifted":
        kept = f"at least until {moment(notice.keep_until_s)}" if notice.keep_until_s else "not any more"
        fields += [("kept for you", kept)]
    fields += [("log entry", notice.entry), ("contact", notice.contact)]
    echo_fields(fields)


def _says(notice: Notice) -> str:
    if notice.kind == "lifted":
        return "no longer refused"
    ground = "a legal demand" if notice.ground == "legal" else "the node's policy"
    upheld = "your appeal was heard, and it stays: " if notice.kind == "upheld" else ""
    if notice.effective_s > time.time():
        return f"{upheld}served until {moment(notice.effective_s)}, then refused because of {ground}"
    return f"{upheld}refused since {moment(notice.effective_s)} because of {ground}"
