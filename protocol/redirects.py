"""A site's `_redirects` file: parser and matcher. IPFS "Web _redirects File Specification"; docs/spec/gateway.md, 8."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import quote, unquote, unquote_to_bytes

from protocol.errors import DecodeError
from protocol.limits import REDIRECTS_MAX_BYTES

REDIRECTS = frozenset({301, 302, 303, 307, 308})
REWRITES = frozenset({200, 404, 410, 451})
DEFAULT_STATUS = 301
SPLAT = "splat"

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_PLACEHOLDER = re.compile(r":([A-Za-z_][A-Za-z0-9_]*)")
_URL = re.compile(r"(?:https?|ipfs|ipns)://[^/?#]+", re.IGNORECASE)
# What may stand in a URL unescaped (RFC 3986, 2), and % of escapes that are there already.
_URL_SAFE = "%:/?#[]@!$&'()*+,;=-._~"
_SEGMENT_SAFE = "!$&'()*+,;=:@-._~"


class BadRedirects(DecodeError):
    """The file cannot be used. The message says why, with the line if there is one."""

    code: ClassVar[str] = "bad-redirects"


@dataclass(frozen=True, slots=True)
class Redirected:
    """The reader is to go to another URL. location: ASCII, percent-encoded, absolute or beginning with a slash."""

    status: int
    location: str


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The reader gets another place in the site, with this status. segments: decoded names."""

    status: int
    segments: tuple[str, ...]
    trailing_slash: bool


@dataclass(frozen=True, slots=True)
class RedirectRule:
    """`source to status`. source: names to match, a placeholder as (its name,); splat: whatever follows matches."""

    source: tuple[str | tuple[str], ...]
    trailing_slash: bool
    splat: bool
    target: str
    status: int

    def match(self, segments: Sequence[str], trailing_slash: bool) -> dict[str, str] | None:
        """The placeholders' values, percent-encoded; None if the rule is not about this path."""
        fixed = len(self.source)
        if self.splat:
            # What `/a/*` is about begins with `/a/`.
            if len(segments) < fixed or (len(segments) == fixed and fixed and not trailing_slash):
                return None
        elif len(segments) != fixed or (fixed and trailing_slash != self.trailing_slash):
            return None
        values: dict[str, str] = {}
        for wanted, name in zip(self.source, segments, strict=False):
            if isinstance(wanted, tuple):
                values[wanted[0]] = quote(name, safe=_SEGMENT_SAFE)
            elif wanted != name:
                return None
        if self.splat:
            rest = "/".join(quote(name, safe=_SEGMENT_SAFE) for name in segments[fixed:])
            values[SPLAT] = rest + "/" if rest and trailing_slash else rest
        return values


@dataclass(frozen=True, slots=True)
class Redirects:
    """The rules of one file, in order."""

    rules: tuple[RedirectRule, ...]

    def find(self, segments: Sequence[str], trailing_slash: bool, query: str) -> Redirected | Rewritten | None:
        """What the first rule says that matches the path (decoded names). query: the reader's, with its "?", or ""."""
        for rule in self.rules:
            values = rule.match(segments, trailing_slash)
            if values is not None:
                target = _filled(rule.target, values)
                if rule.status in REDIRECTS:
                    return Redirected(rule.status, _with_query(target, query))
                return _rewritten(rule.status, target)
        return None


def parse_redirects(raw: bytes) -> Redirects:
    """The rules of a file. Raises BadRedirects: a file with one bad line is bad."""
    if len(raw) > REDIRECTS_MAX_BYTES:
        raise BadRedirects(f"redirects file size cannot exceed {REDIRECTS_MAX_BYTES} bytes")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise BadRedirects("the file is not UTF-8") from None
    rules = []
    for number, ended in enumerate(text.split("\n"), 1):
        line = ended.removesuffix("\r").strip(" \t")
        if line and not line.startswith("#"):
            try:
                rules.append(_parse_line(line))
            except ValueError as error:
                raise BadRedirects(f"line {number}: {error}") from None
    return Redirects(tuple(rules))


def _parse_line(line: str) -> RedirectRule:
    """Raises ValueError with what is wrong."""
    if _CONTROL.search(line):
        raise ValueError("a control character")
    fields = line.replace("\t", " ").split(" ")
    fields = [field for field in fields if field]
    if not 2 <= len(fields) <= 3:
        raise ValueError("a rule has the form: from to [status]")
    status = _status(fields[2]) if len(fields) == 3 else DEFAULT_STATUS
    source, trailing_slash, splat = parse_source(fields[0])
    target = _target(fields[1], status)
    return RedirectRule(source, trailing_slash, splat, target, status)


def _status(text: str) -> int:
    # int() would take "+301", " 301" and digits of other scripts.
    status = int(text) if re.fullmatch(r"[0-9]{3}", text, re.ASCII) else 0
    if status not in REDIRECTS | REWRITES:
        raise ValueError(f"status {text[:20]!r} is not supported")
    return status


def parse_source(text: str) -> tuple[tuple[str | tuple[str], ...], bool, bool]:
    """Names, trailing slash, splat of a path with placeholders. Raises ValueError with what is wrong."""
    if not text.startswith("/"):
        raise ValueError("the path to redirect from must begin with a slash")
    if "?" in text or "#" in text:
        raise ValueError("the path to redirect from can have no query and no fragment")
    splat = text.endswith("*")
    path = text.removesuffix("*")
    if "*" in path or (splat and not path.endswith("/")):
        raise ValueError("an asterisk can only be the last part of the path to redirect from")
    seen = {SPLAT} if splat else set()
    source: list[str | tuple[str]] = []
    for part in path.split("/"):
        if not part.startswith(":"):
            source += [_decoded(part)] if part else []
            continue
        name = part[1:]
        if not _PLACEHOLDER.fullmatch(part):
            raise ValueError(f"{part[:40]!r} is no placeholder")
        if name in seen:
            raise ValueError(f"the placeholder :{name[:40]} occurs twice")
        seen.add(name)
        source.append((name,))
    return tuple(source), path.endswith("/"), splat


def _target(text: str, status: int) -> str:
    if _BAD_ESCAPE.search(text):
        raise ValueError("a percent sign without two hexadecimal digits")
    if "\\" in text:
        raise ValueError("a backslash in the target")  # browsers take it for a slash
    if text.startswith("/") and not text.startswith("//"):
        if status in REWRITES:
            _check_names(text)
    else:
        url = _URL.match(text)
        if url is None:
            raise ValueError("the target must be a path or a URL with http, https, ipfs or ipns")
        if re.search(r":[A-Za-z_]", url[0].partition("://")[2]):
            raise ValueError("a placeholder in a host name")
        if status in REWRITES:
            raise ValueError(f"a rule with status {status} needs a path of this site")
    return quote(text, safe=_URL_SAFE)


def _filled(target: str, values: dict[str, str]) -> str:
    """The target with its placeholders replaced; names that the rule's source does not have stay as they are."""
    filled = _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), target)
    # An empty splat between slashes must not make a host name of what follows them.
    return "/" + filled.lstrip("/") if target.startswith("/") else filled


def _decoded(part: str) -> str:
    """A name of a path. Raises ValueError for one that no path can have."""
    if _BAD_ESCAPE.search(part):
        raise ValueError("a percent sign without two hexadecimal digits")
    try:
        name = unquote_to_bytes(part).decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("a path that is not UTF-8") from None
    if name in (".", "..") or "/" in name or "\0" in name:
        raise ValueError("a path with . or .. or an encoded slash or NUL")
    return name


def _check_names(target: str) -> None:
    """Raises ValueError for names that can become "." or ".." or hold an encoded slash."""
    for part in re.split(r"[?#]", target, maxsplit=1)[0].split("/"):
        name = _decoded(part)
        if _PLACEHOLDER.sub("", name) in (".", ".."):
            raise ValueError("a path with . or ..")


def _rewritten(status: int, target: str) -> Rewritten:
    path = re.split(r"[?#]", target, maxsplit=1)[0]
    segments = tuple(_decoded(part) for part in path.split("/") if part)
    return Rewritten(status, segments, path.endswith("/"))


def _with_query(target: str, query: str) -> str:
    """The reader's parameters are passed on, and win over those of the rule that have the same name."""
    if len(query) < 2:
        return target
    url, hash_mark, fragment = target.partition("#")
    base, mark, own = url.partition("?")
    asked = {_key(part) for part in query[1:].split("&")}
    kept = [part for part in own.split("&") if part and _key(part) not in asked] if mark else []
    return base + "?" + "&".join([*kept, query[1:]]) + hash_mark + fragment


def _key(parameter: str) -> str:
    return unquote(parameter.partition("=")[0].replace("+", " "))
