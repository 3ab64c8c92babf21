"""Answers with a part of something, or several parts: 206 and 416. RFC 9110, 14 and 15.3.7."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from node.gateway.body import FileBody, GatedBody, Way
from node.gateway.ranges import ByteRange, Unsatisfiable, parse_ranges, range_applies
from node.gateway.reading import Reading
from node.gateway.response import Header, Response
from protocol.file_cursor import FileCursor


def ranges_of(reading: Reading, etag: str, size: int) -> tuple[ByteRange, ...]:
    """What a request wants of `size` bytes; none: all of them. Raises Unsatisfiable."""
    if reading.request.method != "GET" or not range_applies(reading.asked("if-range"), etag):
        return ()
    return parse_ranges(reading.asked("range"), size)


def answer_bytes(reading: Reading, headers: Sequence[Header], etag: str, data: bytes) -> Response:
    """All of some bytes in memory, or the parts that are asked for."""
    headers = [*headers, ("Accept-Ranges", "bytes")]
    try:
        parts = ranges_of(reading, etag, len(data))
    except Unsatisfiable:
        return unsatisfiable(headers, len(data))
    if not parts:
        return Response(200, headers, data)
    if len(parts) == 1:
        return one_part(headers, parts[0], len(data), data[parts[0].start : parts[0].stop])
    frame = Frame.of(headers, parts, len(data))
    pieces = [before + data[part.start : part.stop] for before, part in zip(frame.before, parts, strict=True)]
    return Response(206, frame.headers, b"".join([*pieces, frame.end]))


def unsatisfiable(headers: Sequence[Header], size: int) -> Response:
    """416: there is nothing where the ranges are."""
    kept = [header for header in headers if header[0] not in ("Content-Type", "Content-Encoding")]
    return Response(416, [*kept, ("Content-Range", f"bytes */{size}")])


def one_part(headers: Sequence[Header], part: ByteRange, size: int, body: bytes | FileBody) -> Response:
    """206 with one range."""
    return Response(206, [*headers, ("Content-Range", part.content_range(size))], body)


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands around the parts of a multipart/byteranges body. before: of each part; end: behind the last."""

    headers: list[Header]
    before: list[bytes]
    end: bytes

    @classmethod
    def of(cls, headers: Sequence[Header], parts: Sequence[ByteRange], size: int) -> Frame:
        """headers: those of a whole answer; its Content-Type goes into the parts."""
        boundary = secrets.token_hex(16)
        kind = next((value for name, value in headers if name == "Content-Type"), "application/octet-stream")
        outer = [header for header in headers if header[0] != "Content-Type"]
        before = [
            f"\r\n--{boundary}\r\nContent-Type: {kind}\r\nContent-Range: {part.content_range(size)}\r\n\r\n".encode()
            for part in parts
        ]
        before[0] = before[0].removeprefix(b"\r\n")
        return cls(
            [("Content-Type", f"multipart/byteranges; boundary={boundary}"), *outer],
            before,
            f"\r\n--{boundary}--\r\n".encode(),
        )


class PartsBody(GatedBody):
    """Several parts of a file, as multipart/byteranges."""

    def __init__(
        self, frame: Frame, parts: Sequence[ByteRange], cursor: Callable[[ByteRange], FileCursor], way: Way
    ) -> None:
        super().__init__(way)
        self.length: int | None = sum(part.stop - part.start for part in parts)
        self.length += sum(map(len, frame.before)) + len(frame.end)
        self._waiting = deque(zip(frame.before, parts, strict=True))
        self._open = cursor
        self._cursor: FileCursor | None = None
        self._end = frame.end

    async def _next(self) -> bytes | memoryview:
        while self._cursor is not None:
            cid = self._cursor.want()
            if cid is None:
                self._cursor = None
                break
            piece = self._cursor.feed(await self._way.block(cid))
            if piece:
                return piece
        if self._waiting:
            before, part = self._waiting.popleft()
            self._cursor = self._open(part)
            return before
        end, self._end = self._end, b""
        return end
