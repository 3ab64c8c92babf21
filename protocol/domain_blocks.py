"""Domain blocks as Mastodon's administrators exchange them: CSV with a header of #domain, #severity, #public_comment
and other columns. A block of severity `suspend` is a rule on the domain; nothing here corresponds to the weaker ones.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import Final, NamedTuple

from protocol.denylist import LineError, NamePath, format_target, parse_name
from protocol.errors import DecodeError, Malformed, OverLimit, UnsupportedRule
from protocol.limits import DENYLIST_ERRORS_MAX, DOMAIN_BLOCKS_MAX, DOMAIN_CSV_MAX_BYTES, REASON_MAX_CHARS

COLUMNS: Final = ("#domain", "#severity", "#reject_media", "#reject_reports", "#public_comment", "#obfuscate")
_NEEDED: Final = ("domain", "severity")
_HEADER_MAX_BYTES: Final = 1000
_BOM: Final = b"\xef\xbb\xbf"


class DomainBlock(NamedTuple):
    """domain: lower case, A-labels. comment: one line of printable text, at most REASON_MAX_CHARS characters."""

    domain: str
    comment: str = ""


class DomainBlocks(NamedTuple):
    blocks: list[DomainBlock]
    errors: list[LineError]  # the first DENYLIST_ERRORS_MAX
    error_count: int


def is_domain_csv(raw: bytes) -> bool:
    """Whether the first line is a header with a domain and a severity; in a denylist it would be a comment."""
    first = raw[:_HEADER_MAX_BYTES].removeprefix(_BOM).splitlines()[:1]
    names = [_column(name) for name in first[0].decode("utf-8", "replace").split(",")] if first else []
    return all(name in names for name in _NEEDED)


def parse_domain_csv(raw: bytes) -> DomainBlocks:
    """The blocks of severity `suspend`, and the lines that gave none, obfuscated domains (`ex*****.org`) among them.

    Raises DecodeError for a file that cannot be used as a whole: OverLimit, or Malformed (header, quotes, not UTF-8).
    """
    if len(raw) > DOMAIN_CSV_MAX_BYTES:
        raise OverLimit(f"CSV of {len(raw)} bytes, at most {DOMAIN_CSV_MAX_BYTES}")
    blocks: list[DomainBlock] = []
    errors: list[LineError] = []
    error_count = 0
    try:
        text = raw.removeprefix(_BOM).decode("utf-8")
        reader = csv.reader((f"{line}\n" for line in text.split("\n")), strict=True)
        names = _header(next(reader, []))
        for row in reader:
            if not any(row):
                continue
            try:
                blocks.append(_block(names, row))
            except DecodeError as error:
                error_count += 1
                if len(errors) < DENYLIST_ERRORS_MAX:
                    errors.append(LineError(reader.line_num, error))
            if len(blocks) + error_count > DOMAIN_BLOCKS_MAX:
                raise OverLimit(f"more than {DOMAIN_BLOCKS_MAX} domains")
    except UnicodeDecodeError:
        raise Malformed("the CSV is not UTF-8") from None
    except csv.Error as error:
        raise Malformed(f"the CSV cannot be read: {error}") from None
    return DomainBlocks(blocks, errors, error_count)


def format_domain_csv(blocks: Iterable[DomainBlock]) -> str:
    """The blocks as CSV, each of severity `suspend`."""
    rows = [f"{domain},suspend,False,False,{_quoted(comment)},False\n" for domain, comment in blocks]
    return "".join([",".join(COLUMNS), "\n", *rows])


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if any(char in text for char in ',"\r\n') else text


def denylist_of(blocks: Iterable[DomainBlock]) -> bytes:
    """The same rules as lines of a denylist; a hint has no spaces, so that words of a comment are joined by dashes."""
    lines = []
    for domain, comment in blocks:
        reason = f" reason:{'-'.join(comment.split())}" if comment else ""
        lines.append(f"{format_target(NamePath(domain, '', False))}{reason}\n")
    return "".join(lines).encode()


def plain_comment(text: str) -> str:
    """In one line, without unprintable characters, and not too long."""
    shown = "".join(char for char in text if char.isprintable() or char.isspace())
    return " ".join(shown.split())[:REASON_MAX_CHARS].strip()


def _column(name: str) -> str:
    return name.strip().strip('"').removeprefix("#").lower()


def _header(row: list[str]) -> list[str]:
    names = [_column(name) for name in row]
    if any(names.count(name) != 1 for name in _NEEDED) or names.count("public_comment") > 1:
        raise Malformed("the header of the CSV must name domain and severity once")
    return names


def _block(names: list[str], row: list[str]) -> DomainBlock:
    if len(row) != len(names):
        raise Malformed(f"{len(row)} fields, where the header has {len(names)}")
    fields = dict(zip(names, row, strict=True))
    domain = fields["domain"].strip()
    if "*" in domain:
        raise UnsupportedRule("the domain is obfuscated")
    severity = fields["severity"].strip().lower()
    if severity not in ("suspend", "silence", "noop"):
        raise Malformed("the severity is not suspend, silence or noop")
    if severity != "suspend":
        raise UnsupportedRule(f"severity {severity}: only suspend makes a rule")
    known = parse_name(domain) if "." in domain else None
    if not isinstance(known, str):
        raise Malformed("not a domain name")
    return DomainBlock(known, plain_comment(fields.get("public_comment", "")))
