"""HTTP/1.1 request heads as bytes: framing and limits are ours, the grammar is httptools'. No I/O.

RFC 9112. Stricter than it allows: lines end in CRLF, no NUL, no folding, no body, no HTTP/0.9.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import unquote

import httptools

from node.gateway.limits import Limits
from protocol.errors import PeerError
from protocol.limits import IPNS_RECORD_MAX_BYTES

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}")
_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)(.*)", re.IGNORECASE)
REPORTS_PATH = "/.well-known/fednode/reports"
REPORT_BODY_MAX_BYTES = 16 * 1024  # a form with its texts at their limits, most of them ASCII
RECORDS_PREFIX = "/routing/v1/ipns/"  # with the one above the only places that take bodies
_FRAMING = ("transferencoding", "contentlength")
_NO_LETTER = re.compile(r"[^a-z]")
_LEADING_CRLF_MAX = 2  # RFC 9112, 2.2 asks to skip at least one


class BadRequest(PeerError):
    """A reader's request that gets `status` and, because what follows it cannot be trusted, a closed connection."""

    code: ClassVar[str] = "bad-request"

    def __init__(self, status: int, reason: str, *, retry_s: float | None = None) -> None:
        """retry_s: when another try makes sense."""
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.retry_s = retry_s


@dataclass(frozen=True, slots=True)
class Request:
    """A complete head. target: origin form, percent-encoded ASCII, starts with "/"; host as sent, None only in 1.0."""

    method: str
    target: str
    host: str | None
    headers: dict[str, str]
    keep_alive: bool
    chunks: bool = True
    """The client understands chunks: it speaks HTTP/1.1."""
    body_bytes: int = 0
    """What follows the head; only of a POST to REPORTS_PATH, or a PUT below RECORDS_PREFIX."""
    body: bytes = b""
    reader: str = ""
    """The address that a body comes from."""


class HeadReader:
    """Bytes in, requests out; holds at most one head plus what arrived with it."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._scanned = 0
        self._skipped = 0  # empty lines before the next request

    @property
    def is_empty(self) -> bool:
        """No byte of a next request has arrived."""
        return not self._buffer

    def feed(self, data: bytes) -> None:
        """Add what was received."""
        self._buffer += data

    def take_body(self, count: int) -> bytes | None:
        """The `count` bytes after a head, once they are all there."""
        if len(self._buffer) < count:
            return None
        body = bytes(self._buffer[:count])
        del self._buffer[:count]
        return body

    def next_request(self) -> Request | None:
        """The next request once its head is complete; raises BadRequest, after which nothing more may be read."""
        self._skip_empty_lines()
        end = self._buffer.find(b"\r\n\r\n", max(0, self._scanned - 3))
        stop = len(self._buffer) if end < 0 else end + 4
        self._check_bytes(stop)
        self._check_sizes(stop)
        if end < 0:
            self._scanned = len(self._buffer)
            return None
        head = bytes(self._buffer[:stop])
        del self._buffer[:stop]
        self._scanned = self._skipped = 0
        return parse_head(head, self._limits.headers_max)

    def _skip_empty_lines(self) -> None:
        while self._buffer.startswith(b"\r\n"):
            del self._buffer[:2]
            self._scanned = 0
            self._skipped += 1
            if self._skipped > _LEADING_CRLF_MAX:
                raise BadRequest(400, "empty lines where a request should be")

    def _check_bytes(self, stop: int) -> None:
        """Refuse at once what could never become a head, rather than wait for its end."""
        buffer, start = self._buffer, self._scanned
        if start and buffer[start - 1] == 0x0D:
            start -= 1
        if buffer.find(b"\0", start, stop) >= 0:
            raise BadRequest(400, "NUL byte in the request head")
        if buffer.count(b"\n", start, stop) != buffer.count(b"\r\n", start, stop):
            raise BadRequest(400, "line that does not end in CRLF")

    def _check_sizes(self, stop: int) -> None:
        line_max = self._limits.request_line_max_bytes
        line_end = self._buffer.find(b"\r\n", 0, line_max + 2)
        if line_end < 0 and stop > line_max:
            raise BadRequest(414, f"request line over {line_max} bytes")
        if stop > self._limits.head_max_bytes:
            raise BadRequest(431, f"request head over {self._limits.head_max_bytes} bytes")


class _Fields:
    """Collects what httptools finds."""

    def __init__(self) -> None:
        self.pairs: list[tuple[bytes, bytes]] = []
        self.complete = False
        self.headed = False

    def on_headers_complete(self) -> None:
        self.headed = True

    def on_header(self, name: bytes, value: bytes) -> None:
        self.pairs.append((name, value))

    def on_message_complete(self) -> None:
        self.complete = True


def parse_head(head: bytes, headers_max: int) -> Request:
    """One head, from its request line to its empty line."""
    line, _, rest = head.partition(b"\r\n")
    method, target, version = _split_request_line(line)
    if rest.count(b"\r\n") - 1 > headers_max:
        raise BadRequest(431, f"more than {headers_max} headers")
    takes = _may_take(method, target)
    answered = method in (b"GET", b"HEAD") or (method == b"OPTIONS" and target != b"*")
    if not answered and not takes:
        raise BadRequest(405, "only GET and HEAD")
    fields = _Fields()
    parser = httptools.HttpRequestParser(fields)
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        pass  # RFC 9110, 7.8: an upgrade that is not wanted is ignored
    except httptools.HttpParserError as error:
        raise BadRequest(400, f"not HTTP/1.1: {error}") from None
    headers = _index_headers(fields.pairs)
    if not (fields.headed if takes else fields.complete) or "transfer-encoding" in headers:
        raise BadRequest(413, "a request with a body")
    host, origin_form = _split_target(target, headers.get("host"))
    body_bytes = _body_bytes(headers, _body_max_bytes(method, origin_form)) if takes else 0
    if host is None and version != b"HTTP/1.0":
        raise BadRequest(400, "no Host header")
    keep_alive = version == b"HTTP/1.1" and not _asks_to_close(headers)
    return Request(
        method.decode(), origin_form, host, headers, keep_alive, chunks=version == b"HTTP/1.1", body_bytes=body_bytes
    )


def _may_take(method: bytes, target: bytes) -> bool:
    """A body follows, unless the target turns out to be another one."""
    path = target.partition(b"?")[0]
    return (method == b"POST" and path.endswith(REPORTS_PATH.encode())) or (
        method == b"PUT" and RECORDS_PREFIX.encode() in path
    )


def _body_max_bytes(method: bytes, target: str) -> int:
    """Raises BadRequest where no body is taken. target: in origin form."""
    if method == b"POST" and target == REPORTS_PATH:
        return REPORT_BODY_MAX_BYTES
    if method == b"PUT" and target.startswith(RECORDS_PREFIX):
        return IPNS_RECORD_MAX_BYTES
    raise BadRequest(405, "only GET and HEAD")


def _body_bytes(headers: dict[str, str], max_bytes: int) -> int:
    text = headers.get("content-length", "")
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise BadRequest(411, "a body without its length")
    if not 0 < int(text) <= max_bytes:
        raise BadRequest(413, f"a body has 1 to {max_bytes} bytes here")
    return int(text)


def _split_request_line(line: bytes) -> tuple[bytes, bytes, bytes]:
    parts = line.split(b" ")
    if len(parts) != 3 or not _TOKEN.fullmatch(parts[0]) or not parts[1]:
        raise BadRequest(400, "not a request line")
    if not _VERSION.fullmatch(parts[2]):
        raise BadRequest(400, "not HTTP")
    if parts[2] not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise BadRequest(505, "only HTTP/1.1 and HTTP/1.0")
    return parts[0], parts[1], parts[2]


def _index_headers(pairs: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """Names in lower case; repeated headers joined by a comma, but a repeated Host is an attack."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in pairs:
        name, value = raw_name.decode("ascii").lower(), raw_value.decode("latin-1").strip(" \t")
        if name not in headers:
            headers[name] = value
        elif name == "host":
            raise BadRequest(400, "more than one Host header")
        else:
            headers[name] += ", " + value
        if ("encoding" in name or "length" in name or "%" in name) and _looks_like_framing(name):
            raise BadRequest(400, "a header that could pass for Content-Length or Transfer-Encoding")
    return headers


def _looks_like_framing(name: str) -> bool:
    """Transfer_Encoding and its like: what a proxy in front makes of them is what request smuggling lives on."""
    return name not in ("content-length", "transfer-encoding") and _NO_LETTER.sub("", unquote(name).lower()) in _FRAMING


def _split_target(target: bytes, host: str | None) -> tuple[str | None, str]:
    """Host and origin form; an absolute target's host wins over the header (RFC 9112, 3.2.2)."""
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute:
        host, target = absolute[1].decode("latin-1"), absolute[2]
        if not target.startswith(b"/"):
            target = b"/" + target
    if not target.startswith(b"/") or b"#" in target:
        raise BadRequest(400, "not a path")
    if not target.isascii():
        raise BadRequest(400, "path that is not percent-encoded")
    return host, target.decode("ascii")


def _asks_to_close(headers: dict[str, str]) -> bool:
    options = headers.get("connection")
    return options is not None and any(option.strip().lower() == "close" for option in options.split(","))
