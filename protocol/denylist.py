"""The part of compact denylists (IPIP-383) that is acted upon: `/ipns/SITE` and `/ipfs/CID[/PATH][*]`.

Other valid kinds of lines (hashes, allow rules, DNSLink names, paths below /ipns) raise UnsupportedRule, so
that the operator is told which lines of a list have no effect.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias
from urllib.parse import quote, unquote_to_bytes

from protocol import varint
from protocol.cid import RAW, Cid
from protocol.errors import DecodeError, Malformed, OverLimit, UnsupportedRule
from protocol.limits import (
    DENYLIST_ERRORS_MAX,
    DENYLIST_HEADER_MAX_BYTES,
    DENYLIST_LINE_MAX_BYTES,
    DENYLIST_MAX_BYTES,
    RULE_PATH_MAX_CHARS,
)
from protocol.site_id import SiteId


class CidPath(NamedTuple):
    """Content under a multihash: the path below it, decoded; a prefix when the rule ended in `*`."""

    multihash: bytes
    path: str
    is_prefix: bool


Target: TypeAlias = SiteId | CidPath


@dataclass(frozen=True, slots=True)
class DenyRule:
    target: Target
    hints: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class LineError:
    """A line (from 1) without effect, and why."""

    line: int
    error: DecodeError


class Denylist(NamedTuple):
    rules: list[DenyRule]
    errors: list[LineError]  # the first DENYLIST_ERRORS_MAX
    error_count: int


_HINT = re.compile(r"([^\s:=]+)[:=](\S*)")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def parse_line(text: str) -> DenyRule | None:
    """The rule of one line; None for a blank line or a comment. Raises DecodeError."""
    text = text.strip()
    if not text or text.startswith("#"):
        return None
    target, *words = text.split()
    if target.startswith(("!", "//")):
        raise UnsupportedRule("allow rules and hashed rules are not supported yet")
    hints = []
    for word in words:
        if word.startswith("#"):
            break
        match = _HINT.fullmatch(word)
        if match is None:
            raise Malformed("a hint is not of the form name:value")
        hints.append((match[1], match[2]))
    return DenyRule(parse_target(target), tuple(hints))


def parse_target(text: str) -> Target:
    """What `/ipns/SITE` or `/ipfs/CID[/PATH][*]` names. Raises DecodeError."""
    match text.split("/", 3):
        case ["", "ipns", name] | ["", "ipns", name, ""]:
            return _parse_name(name)
        case ["", "ipns", _, _]:
            raise UnsupportedRule("paths below /ipns are not supported yet")
        case ["", "ipfs", cid]:
            return CidPath(Cid.from_text(cid).multihash, "", False)
        case ["", "ipfs", cid, path]:
            return CidPath(Cid.from_text(cid).multihash, *_parse_path(path))
    raise Malformed("a rule begins with /ipfs/CID or /ipns/NAME")


def format_target(target: Target) -> str:
    """The text of a target, which parse_target reads back."""
    if isinstance(target, SiteId):
        return f"/ipns/{target}"
    cid = Cid(b"\x01" + varint.encode(RAW) + target.multihash)
    text = f"/ipfs/{cid}"
    if target.path or target.is_prefix:
        text += "/" + quote(target.path, safe="/") + ("*" if target.is_prefix else "")
    return text


def _parse_name(name: str) -> SiteId:
    if "." in name:
        raise UnsupportedRule("rules on domain names are not supported yet")
    return SiteId.from_text(name)


def _parse_path(path: str) -> tuple[str, bool]:
    is_prefix = path.endswith("*")
    if _BAD_ESCAPE.search(path):
        raise Malformed("a path has a % that is no escape")
    try:
        decoded = unquote_to_bytes(path[:-1] if is_prefix else path).decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("a path is not UTF-8") from None
    if len(decoded) > RULE_PATH_MAX_CHARS:
        raise OverLimit(f"path of {len(decoded)} characters, at most {RULE_PATH_MAX_CHARS}")
    return decoded.strip("/"), is_prefix


def parse_denylist(raw: bytes) -> Denylist:
    """All rules of a list, and the lines that gave none. Raises OverLimit for a list too large as a whole."""
    if len(raw) > DENYLIST_MAX_BYTES:
        raise OverLimit(f"denylist of {len(raw)} bytes, at most {DENYLIST_MAX_BYTES}")
    result = Denylist([], [], 0)
    rules, errors, error_count = result
    lines = raw.split(b"\n")
    for number, line in list(enumerate(lines, 1))[_header_lines(raw) :]:
        try:
            rule = _parse_raw_line(line)
        except DecodeError as error:
            error_count += 1
            if len(errors) < DENYLIST_ERRORS_MAX:
                errors.append(LineError(number, error))
        else:
            if rule is not None:
                rules.append(rule)
    return Denylist(rules, errors, error_count)


def _header_lines(raw: bytes) -> int:
    """Lines of the YAML header with its end mark, 0 when there is none within the limit."""
    head = raw[: DENYLIST_HEADER_MAX_BYTES + 4]
    match = re.search(rb"^---[ \t]*\r?$", head, re.MULTILINE)
    return head.count(b"\n", 0, match.start()) + 1 if match else 0


def _parse_raw_line(line: bytes) -> DenyRule | None:
    if len(line) > DENYLIST_LINE_MAX_BYTES:
        raise OverLimit(f"line of {len(line)} bytes, at most {DENYLIST_LINE_MAX_BYTES}")
    try:
        return parse_line(line.decode("utf-8"))
    except UnicodeDecodeError:
        raise Malformed("a line is not UTF-8") from None
