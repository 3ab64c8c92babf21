"""Answers as values, and their heads as bytes. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol

Header = tuple[str, str]
_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_FORBIDDEN = ("\r", "\n", "\0")


class Body(Protocol):
    """Bytes to come. `length` is exact; what cannot be had after the head was sent raises BodyCut."""

    length: int

    async def next_piece(self) -> bytes | memoryview:
        """The next bytes, empty at the end."""
        ...

    def on_abort(self, abort: Callable[[], None]) -> None:
        """What the body calls when, while it is sent, it may no longer be sent."""
        ...


class BodyCut(Exception):
    """The rest of a body cannot be sent: the connection is to be reset, so that nobody takes the part for the whole."""


@dataclass(slots=True)
class Response:
    """An answer. headers: without Content-Length, Date and Connection, which the server adds."""

    status: int
    headers: list[Header] = field(default_factory=list)
    body: bytes | Body = b""

    @property
    def length(self) -> int:
        """Bytes of the body."""
        return len(self.body) if isinstance(self.body, bytes) else self.body.length


def encode_head(response: Response, *, keep_alive: bool, date: str) -> bytes:
    """Status line and headers, with the empty line; ValueError for a header that would break out of its line."""
    lines = [b"HTTP/1.1 %d %b" % (response.status, _REASONS.get(response.status, b""))]
    for name, value in response.headers:
        if any(char in value for char in _FORBIDDEN):
            raise ValueError(f"line break in header {name}")
        lines.append(f"{name}: {value}".encode("latin-1"))
    if response.status != HTTPStatus.NOT_MODIFIED:
        lines.append(b"Content-Length: %d" % response.length)
    lines.append(b"Date: " + date.encode("ascii"))
    if not keep_alive:
        lines.append(b"Connection: close")
    return b"\r\n".join(lines) + b"\r\n\r\n"
