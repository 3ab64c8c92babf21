"""A site's `_headers` file: response headers by path, in Netlify's syntax. docs/spec/gateway.md, 9."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from protocol.limits import SITE_HEADERS_ANSWER_MAX_CHARS, SITE_HEADERS_MAX_BYTES, SITE_HEADERS_VALUE_MAX_CHARS
from protocol.redirects import RedirectRule, parse_source

ALLOWED: dict[str, str] = {
    name.lower(): name
    for name in (
        "Access-Control-Allow-Origin",
        "Access-Control-Expose-Headers",
        "Cache-Control",
        "Content-Disposition",
        "Content-Language",
        "Content-Security-Policy",
        "Content-Security-Policy-Report-Only",
        "Cross-Origin-Embedder-Policy",
        "Cross-Origin-Opener-Policy",
        "Cross-Origin-Resource-Policy",
        "Link",
        "Permissions-Policy",
        "Referrer-Policy",
        "X-Frame-Options",
        "X-Robots-Tag",
    )
}
"""What a site may set: nothing here reaches beyond its own origin. Lower case → as it is sent."""

SHARED_MAX_AGE_S = 60
"""How long caches that many readers share may go on showing what the node would refuse by now."""

_VALUE = re.compile(r"[\x20-\x7e]*")
_FLAGS = {"immutable", "must-revalidate", "no-cache", "no-store", "no-transform", "private", "public"}


class LineProblem(NamedTuple):
    """A line (counted from 1; 0: the file) without effect, and why."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class HeaderRule:
    """Headers for the paths that `source` is about; names in lower case, each once."""

    source: RedirectRule
    headers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class SiteHeaders:
    """What one file says. problems: the lines without effect."""

    rules: tuple[HeaderRule, ...]
    problems: tuple[LineProblem, ...]

    def for_path(self, segments: Sequence[str], trailing_slash: bool) -> list[tuple[str, str]]:
        """The headers for a path (decoded names), as they are to be sent; where rules differ, the last one wins."""
        found: dict[str, str] = {}
        for rule in self.rules:
            if rule.source.match(segments, trailing_slash) is not None:
                found.update(rule.headers)
        headers, left = [], SITE_HEADERS_ANSWER_MAX_CHARS
        for name, value in found.items():
            left -= len(name) + len(value) + 4
            if left >= 0:
                headers.append((ALLOWED[name], value))
        return headers


def parse_site_headers(raw: bytes) -> SiteHeaders:
    """The rules of a file. A bad line is a problem and has no effect; the others have."""
    if len(raw) > SITE_HEADERS_MAX_BYTES:
        return SiteHeaders((), (LineProblem(0, f"the file has more than {SITE_HEADERS_MAX_BYTES} bytes"),))
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return SiteHeaders((), (LineProblem(0, "the file is not UTF-8"),))
    return _Parser().parse(text)


class _Parser:
    def __init__(self) -> None:
        self._rules: list[HeaderRule] = []
        self._problems: list[LineProblem] = []
        self._source: RedirectRule | None = None
        self._headers: dict[str, str] = {}

    def parse(self, text: str) -> SiteHeaders:
        for number, ended in enumerate(text.split("\n"), 1):
            line = ended.removesuffix("\r").strip(" \t")
            try:
                if line.startswith("/"):
                    self._close()
                    self._source = RedirectRule(*parse_source(line), target="", status=200)
                elif line and not line.startswith("#"):
                    self._add(*_parse_header(line))
            except ValueError as error:
                self._problems.append(LineProblem(number, str(error)))
        self._close()
        return SiteHeaders(tuple(self._rules), tuple(self._problems))

    def _close(self) -> None:
        """Without a source, headers would fall to the wrong paths."""
        if self._source is not None and self._headers:
            self._rules.append(HeaderRule(self._source, tuple(self._headers.items())))
        self._source, self._headers = None, {}

    def _add(self, name: str, value: str) -> None:
        if self._source is None:
            raise ValueError("a header without a path before it")
        if name in self._headers:
            value = f"{self._headers[name]}, {value}"
        if len(value) > SITE_HEADERS_VALUE_MAX_CHARS:
            raise ValueError(f"a value of more than {SITE_HEADERS_VALUE_MAX_CHARS} characters")
        self._headers[name] = _cache_control(value) if name == "cache-control" else value


def _parse_header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    name, value = name.strip(" \t").lower(), value.strip(" \t")
    if not colon or not value:
        raise ValueError("a header has the form: Name: value")
    if name not in ALLOWED:
        raise ValueError(f"the header {name[:60]!r} is not one that a site may set")
    if not _VALUE.fullmatch(value):
        raise ValueError("a value with characters that are not printable ASCII")
    return name, value


def _cache_control(value: str) -> str:
    """The directives, with those for shared caches replaced by the bound. Raises ValueError for unknown ones."""
    kept: list[str] = []
    for part in value.split(","):
        directive = part.strip(" \t").lower()
        name, mark, seconds = directive.partition("=")
        if name == "s-maxage" or not directive or directive in kept:
            continue
        timed = name == "max-age" and re.fullmatch(r"[0-9]{1,9}", seconds, re.ASCII)
        if not timed and (mark or name not in _FLAGS):
            raise ValueError(f"Cache-Control {directive[:40]!r} is not one that a site may set")
        kept.append(directive)
    if {"private", "no-store"}.isdisjoint(kept):
        kept.append(f"s-maxage={SHARED_MAX_AGE_S}")
    return ", ".join(kept)
