"""The grammar of compact denylists (IPIP-383), line by line: what a rule names, whether it allows, its hints.

What a rule matches is in protocol/deny_keys.py, a whole list that can be asked in protocol/deny_index.py.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias
from urllib.parse import quote, unquote_to_bytes

from protocol import multibase, varint
from protocol.cid import LIBP2P_KEY, RAW, Cid
from protocol.errors import DecodeError, Malformed, OverLimit, UnknownVersion, UnsupportedCodec, UnsupportedHash
from protocol.limits import (
    CID_TEXT_MAX_CHARS,
    DENYLIST_ERRORS_MAX,
    DENYLIST_HEADER_MAX_BYTES,
    DENYLIST_LINE_MAX_BYTES,
    DENYLIST_MAX_BYTES,
    DOMAIN_MAX_CHARS,
    RULE_PATH_MAX_CHARS,
)
from protocol.site_id import SiteId


class CidPath(NamedTuple):
    """Content under a multihash: the path below it, decoded; a prefix when the rule ended in `*`."""

    multihash: bytes
    path: str
    is_prefix: bool


class NamePath(NamedTuple):
    """Content under an IPNS name: a site, a domain (lower case, with dots), or the multihash of another key.

    A rule on a site as a whole is the SiteId itself.
    """

    name: SiteId | str | bytes
    path: str
    is_prefix: bool


class PeerTarget(NamedTuple):
    """A node, by the multihash of its key. IPIP-383 has no such rule: `/p2p/PEER` is fednode's own."""

    multihash: bytes


class HashTarget(NamedTuple):
    """What a double-hashed rule names: `text` is the rule's; `multihash` its modern reading, `legacy` the SHA-256
    of the older one. Both when the text can be read either way."""

    text: str
    multihash: bytes | None
    legacy: bytes | None


Target: TypeAlias = SiteId | CidPath | NamePath | PeerTarget | HashTarget


@dataclass(frozen=True, slots=True)
class DenyRule:
    """One rule; `allow` when its line begins with `!`."""

    target: Target
    hints: tuple[tuple[str, str], ...] = ()
    allow: bool = False


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
_DOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_]([a-z0-9_-]{0,62}))+")
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
    allow = target.startswith("!")
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
    return DenyRule(parse_target(target.removeprefix("!")), tuple(hints), allow)


def parse_target(text: str) -> Target:
    """What `/ipns/NAME[/PATH][*]`, `/ipfs/CID[/PATH][*]`, `/p2p/PEER` or `//HASH` names. Raises DecodeError."""
    if text.startswith("//"):
        return parse_hash(text[2:])
    match text.split("/", 3):
        case ["", "ipns", name] | ["", "ipns", name, ""]:
            known = parse_name(name)
            return known if isinstance(known, SiteId) else NamePath(known, "", False)
        case ["", "ipns", name, path]:
            return NamePath(parse_name(name), *_parse_path(path))
        case ["", "ipfs", cid]:
            return CidPath(_parse_cid(cid), "", False)
        case ["", "ipfs", cid, path]:
            return CidPath(_parse_cid(cid), *_parse_path(path))
        case ["", "p2p", peer] | ["", "p2p", peer, ""]:
            key = _parse_key(peer)
            return PeerTarget(key.cid.multihash if isinstance(key, SiteId) else key)
    raise Malformed("a rule begins with /ipfs/CID, /ipns/NAME, /p2p/PEER or //HASH")


def format_target(target: Target) -> str:
    """The one text of a target, which parse_target reads back; the multihash of content is written as a raw CID in
    base32, that of a peer in base58."""
    if isinstance(target, SiteId):
        return f"/ipns/{target}"
    if isinstance(target, HashTarget):
        return f"//{target.text}"
    if isinstance(target, PeerTarget):
        return f"/p2p/{multibase.encode_bare('base58btc', target.multihash)}"
    base = f"/ipfs/{_raw_cid(target.multihash)}" if isinstance(target, CidPath) else f"/ipns/{name_text(target.name)}"
    if not target.path and not target.is_prefix:
        return base
    return f"{base}/{quote(target.path, safe='/')}{'*' if target.is_prefix else ''}"


def name_text(name: SiteId | str | bytes) -> str:
    """An IPNS name as text: `k51…`, a domain, or the base58 multihash of another key."""
    if isinstance(name, SiteId | str):
        return str(name)
    return multibase.encode_bare("base58btc", name)


def _raw_cid(multihash: bytes) -> Cid:
    return Cid(b"\x01" + varint.encode(RAW) + multihash)


def parse_name(name: str) -> SiteId | str | bytes:
    """An IPNS name: a key in any text form, or a domain, also with its dots written as in subdomains (`-` for a dot,
    `--` for a dash). Raises DecodeError."""
    if "." not in name:
        try:
            return _parse_key(name)
        except DecodeError:
            if "-" not in name:
                raise
        name = name.replace("--", "\0").replace("-", ".").replace("\0", "-")
    return _parse_domain(name)


def _parse_key(name: str) -> SiteId | bytes:
    if name.startswith(("1", "Qm")) and len(name) <= CID_TEXT_MAX_CHARS:
        multihash = multibase.decode_bare("base58btc", name)
    else:
        cid = Cid.from_text(name)
        if cid.version != 1 or cid.codec != LIBP2P_KEY:
            raise UnsupportedCodec("a CID, but not of a libp2p key", hint="content is written /ipfs/CID")
        multihash = cid.multihash
    try:
        return SiteId.from_multihash(multihash)
    except UnsupportedHash:  # a key of another type: no site of fednode, yet a name
        return _raw_cid_checked(multihash)


def _raw_cid_checked(multihash: bytes) -> bytes:
    return Cid.from_bytes(_raw_cid(multihash)).multihash


def _parse_domain(name: str) -> str:
    try:
        domain = name.removesuffix(".").lower() if name.isascii() else name.encode("idna").decode("ascii").lower()
    except UnicodeError:
        domain = ""
    if len(name) > 2 * DOMAIN_MAX_CHARS or _DOMAIN.fullmatch(domain) is None:
        raise Malformed("neither a key nor a domain name")
    return domain


def parse_hash(text: str) -> HashTarget:
    """The text of a double-hashed rule after `//`: the base58 of a multihash, or 64 hex digits of SHA-256; a text that
    is both counts as both. Raises DecodeError."""
    legacy = multihash = None
    if len(text) == 64:
        try:
            legacy = bytes.fromhex(text) if text.isalnum() else None
        except ValueError:
            legacy = None
    try:
        multihash = _raw_cid_checked(multibase.decode_bare("base58btc", text))
    except DecodeError:
        if legacy is None:
            raise
    return HashTarget(text, multihash, legacy)


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
    rules: list[DenyRule] = []
    errors: list[LineError] = []
    error_count = 0
    start, first_line = rules_start(raw)
    for number, line in enumerate(raw[start:].split(b"\n"), first_line):
        try:
            rule = parse_raw_line(line)
        except DecodeError as error:
            error_count += 1
            if len(errors) < DENYLIST_ERRORS_MAX:
                errors.append(LineError(number, error))
        else:
            if rule is not None:
                rules.append(rule)
    return Denylist(rules, errors, error_count)


def rules_start(raw: bytes) -> tuple[int, int]:
    """(offset, line number) of a list's first line after its header. Raises DecodeError as parse_denylist."""
    if len(raw) > DENYLIST_MAX_BYTES:
        raise OverLimit(f"denylist of {len(raw)} bytes, at most {DENYLIST_MAX_BYTES}")
    return _skip_header(raw)


def _skip_header(raw: bytes) -> tuple[int, int]:
    """(offset, number of the first line) of what follows the header; (0, 1) when there is none within its limit."""
    begin = 3 if raw.startswith(b"\xef\xbb\xbf") else 0
    match = _HEADER_END.search(raw, begin, DENYLIST_HEADER_MAX_BYTES)
    if match is None:
        return begin, 1
    header = raw[begin : match.start()]
    if _HEADER_RULE.search(header):
        raise Malformed("the list has rules above a line ---, which ends a header")
    version = _HEADER_VERSION.search(header)
    if version is not None and version[1].strip(b"'\"") != b"1":
        raise UnknownVersion("the list is of a version that is not known")
    return match.end(), header.count(b"\n") + 1


def parse_raw_line(line: bytes) -> DenyRule | None:
    """As parse_line, of bytes without the line's end."""
    if len(line) >= DENYLIST_LINE_MAX_BYTES:  # the limit includes the line's end
        raise OverLimit(f"line of {len(line)} bytes, at most {DENYLIST_LINE_MAX_BYTES} with its end")
    try:
        return parse_line(line.decode("utf-8"))
    except UnicodeDecodeError:
        raise Malformed("a line is not UTF-8") from None
