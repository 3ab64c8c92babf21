"""Reports in a file: JSON lines, each an object with what the form takes (docs/operators/reports.md). Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from node.casework.model import BadReport, Report, read_report

LINE_MAX_BYTES: Final = 64 * 1024
"""With its end; the longest report has 62,400 bytes when every character is escaped."""


def read_reports(lines: Iterable[bytes]) -> Iterator[Report]:
    """A report for each line that is not blank; BadReport with the number of the first line that is none."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield read_report(_fields(line))
        except BadReport as error:
            raise BadReport(f"line {number}: {error}") from error


def write_report(report: Report) -> str:
    """The line of a report, which read_reports takes."""
    texts = {"where": report.where, "category": report.category, "why": report.why}
    more = {"contact": report.contact, "evidence": report.evidence}
    return json.dumps(texts | {name: text for name, text in more.items() if text}, ensure_ascii=False) + "\n"


def _fields(line: bytes) -> dict[str, str]:
    if len(line) > LINE_MAX_BYTES:
        raise BadReport(f"it has more than {LINE_MAX_BYTES} bytes")
    try:
        value = json.loads(line.decode("utf-8"), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError):
        raise BadReport("it is not JSON in UTF-8") from None
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise BadReport("it is not an object of texts")
    for text in value.values():
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise BadReport("a text has half a character")
    return value


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadReport("a field is there twice")
    return found
