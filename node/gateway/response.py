"""Answers as values, and their heads as bytes. No I/O."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol

Header = tuple[str, str]
_REASONS = {status.value: status.phrase for status in HTTPStatus}


class Body(Protocol):
    """Bytes to come. What cannot be had after the head was sent raises BodyCut."""

    @property
    def length(self) -> int | None:
        """Exact; None if nobody knows it."""
        ...

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
    def length(self) -> int | None:
        """Bytes of the body; None: sent in chunks, or to the end of the connection."""
        return len(self.body) if isinstance(self.body, bytes) else self.body.length


def encode_head(response: Response, *, keep_alive: bool, date: str, chunked: bool = False) -> bytes:
    """Status line and headers, with the empty line; chunked: how a body of unknown length is sent.

    ValueError for a header that would break out of its line.
    """
    lines = [f"HTTP/1.1 {response.status} {_REASONS.get(response.status, '')}"]
    lines += [f"{name}: {value}" for name, value in response.headers]
    if response.length is None:
        if chunked:
            lines.append("Transfer-Encoding: chunked")
    elif response.status != HTTPStatus.NOT_MODIFIED:
        lines.append(f"Content-Length: {response.length}")
    lines.append(f"Date: {date}")
    if not keep_alive:
        lines.append("Connection: close")
    head = "\r\n".join(lines)
    if head.count("\r") != len(lines) - 1 or head.count("\n") != len(lines) - 1 or "\0" in head:
        raise ValueError("line break in a header")
    return f"{head}\r\n\r\n".encode("latin-1")


def public_json(status: int, value: object, *, cache_control: str = "no-cache") -> Response:
    """What the node says of itself, for programs of any origin."""
    headers = [
        ("Content-Type", "application/json"),
        ("Cache-Control", cache_control),
        ("X-Content-Type-Options", "nosniff"),
        ("Access-Control-Allow-Origin", "*"),
    ]
    return Response(status, headers, json.dumps(value, ensure_ascii=False, indent=1).encode() + b"\n")
