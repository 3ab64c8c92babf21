"""The part of compact denylists (IPIP-383) that is acted upon: `/ipns/SITE` and `/ipfs/CID[/PATH][*]`.

Other valid kinds of lines (hashes, allow rules, DNSLink names, paths below /ipns) raise UnsupportedRule, so
that the operator is told which lines of a list have no effect.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias
from urllib.parse import quote, unquote_to_bytes

from protocol import varint
from protocol.cid import LIBP2P_KEY, RAW, Cid
from protocol.errors import DecodeError, Malformed, OverLimit, UnknownVersion, UnsupportedCodec, UnsupportedRule
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
    """A line (counted from 1) without effect, and why."""

    line: int
    error: DecodeError


class Denylist(NamedTuple):
    rules: list[DenyRule]
    errors: list[LineError]  # the first DENYLIST_ERRORS_MAX
    error_count: int


_BLANKS = " \t\r\n"
_HINT = re.compile(r"([^\s:]+):(\S*)")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_HEADER_END = re.compile(rb"^---[ \t]*\r?$", re.MULTILINE)
_HEADER_VERSION = re.compile(rb"^version[ \t]*:[ \t]*([^\s#]*)", re.MULTILINE)
_HEADER_RULE = re.compile(rb"^!?/", re.MULTILINE)


def parse_line(text: str) -> DenyRule | None:
    """The rule of one line; None for a blank line or a comment. Raises DecodeError."""
    text = text.strip(_BLANKS)
    if not text or text.startswith("#"):
        return None
    target, *words = re.split(r"[ \t]+", text)
    if target.startswith("!"):
        raise UnsupportedRule("allow rules are not supported yet")
    if target.startswith("//"):
        raise UnsupportedRule("hashed rules are not supported yet")
    hints = []
    for word in words:
        if word.startswith("#"):
            break
        match = _HINT.fullmatch(word)
        if match is None:
            raise Malformed(
                "a rule is followed by something that is no hint of the form name:value",
                hint="a space in a path is written %20",
            )
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
            return CidPath(_parse_cid(cid), "", False)
        case ["", "ipfs", cid, path]:
            return CidPath(_parse_cid(cid), *_parse_path(path))
    raise Malformed("a rule begins with /ipfs/CID or /ipns/NAME")


def format_target(target: Target) -> str:
    """The one text of a target, which parse_target reads back; a multihash is written as a raw CID in base32."""
    if isinstance(target, SiteId):
        return f"/ipns/{target}"
    cid = Cid(b"\x01" + varint.encode(RAW) + target.multihash)
    if not target.path and not target.is_prefix:
        return f"/ipfs/{cid}"
    return f"/ipfs/{cid}/{quote(target.path, safe='/')}{'*' if target.is_prefix else ''}"


def _parse_name(name: str) -> SiteId:
    if "." in name:
        raise UnsupportedRule("rules on domain names are not supported yet")
    return SiteId.from_text(name)


def _parse_cid(text: str) -> bytes:
    cid = Cid.from_text(text)
    if cid.codec == LIBP2P_KEY:
        raise UnsupportedCodec("the name of a site, not of content", hint="write /ipns/ before it")
    return cid.multihash


def _parse_path(path: str) -> tuple[str, bool]:
    """(path, whether it is a prefix); `ab/*` means `ab*`, as IPIP-383 has it."""
    is_prefix = path.endswith("*")
    if _BAD_ESCAPE.search(path):
        raise Malformed("a path has a % that is no escape", hint="a percent sign in a path is written %25")
    try:
        decoded = unquote_to_bytes(path.removesuffix("*")).decode("utf-8").strip("/")
    except UnicodeError:
        raise Malformed("a path is not UTF-8") from None
    if len(decoded) > RULE_PATH_MAX_CHARS:
        raise OverLimit(f"path of {len(decoded)} characters, at most {RULE_PATH_MAX_CHARS}")
    segments = decoded.split("/")
    # The last one of a prefix is only the beginning of a name: `.well-known` begins with a dot.
    if decoded and not {"", ".", ".."}.isdisjoint(segments[:-1] if is_prefix else segments):
        raise Malformed("a path with empty or dot segments matches nothing")
    return decoded, is_prefix


def parse_denylist(raw: bytes) -> Denylist:
    """All rules of a list, and the lines that gave none.

    Raises DecodeError for a list that cannot be used as a whole: OverLimit (too large), UnknownVersion, or Malformed
    (rules above the `---` that ends a header, where they would have no effect).
    """
    if len(raw) > DENYLIST_MAX_BYTES:
        raise OverLimit(f"denylist of {len(raw)} bytes, at most {DENYLIST_MAX_BYTES}")
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    rules: list[DenyRule] = []
    errors: list[LineError] = []
    error_count = 0
    start, first_line = _skip_header(raw)
    for number, line in enumerate(raw[start:].split(b"\n"), first_line):
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


def _skip_header(raw: bytes) -> tuple[int, int]:
    """(offset, number of the first line) of what follows the header; (0, 1) when there is none within its limit."""
    match = _HEADER_END.search(raw, 0, DENYLIST_HEADER_MAX_BYTES)
    if match is None:
        return 0, 1
    header = raw[: match.start()]
    if _HEADER_RULE.search(header):
        raise Malformed("the list has rules above a line ---, which ends a header")
    version = _HEADER_VERSION.search(header)
    if version is not None and version[1].strip(b"'\"") != b"1":
        raise UnknownVersion("the list is of a version that is not known")
    return match.end(), header.count(b"\n") + 1


def _parse_raw_line(line: bytes) -> DenyRule | None:
    if len(line) >= DENYLIST_LINE_MAX_BYTES:  # the limit includes the line's end
        raise OverLimit(f"line of {len(line)} bytes, at most {DENYLIST_LINE_MAX_BYTES} with its end")
    try:
        return parse_line(line.decode("utf-8"))
    except UnicodeDecodeError:
        raise Malformed("a line is not UTF-8") from None
