"""Frames of the stream protocols (docs/spec/sync.md, 2): u32 big-endian length of the rest, u8 kind, body."""

from collections import deque
from typing import NamedTuple

from protocol import messages
from protocol.cid import Cid
from protocol.errors import DecodeError, Malformed, OverLimit, Truncated, UnknownType
from protocol.limits import CID_BYTES, FRAME_HEADER_BYTES, FRAME_MAX_BYTES, MESSAGE_MAX_BYTES
from protocol.messages import Block, Kind, Message
from protocol.varint import Buffer

_FEW_CHUNKS = 64
_SMALL_CHUNK_BYTES = 1024


class Frame(NamedTuple):
    kind: int
    body: bytes


def encode_block(cid: Cid, data: Buffer) -> list[Buffer]:
    """A block frame as pieces to send one after the other; `data` is passed on, not copied."""
    header = (1 + CID_BYTES + len(data)).to_bytes(4, "big") + b"\x01" + cid
    return [header, data]


def encode_message(message: Message) -> list[Buffer]:
    """The frame of any message as pieces to send one after the other."""
    if isinstance(message, Block):
        return encode_block(message.cid, message.data)
    body = messages.encode(message)
    return [(1 + len(body)).to_bytes(4, "big") + b"\x00" + body]


class FrameDecoder:
    """Cuts a byte stream into frames.

    Holds at most one frame and what one feed() brought beyond it, provided that the caller feeds only when
    next_frame() gave None. After an error the stream is lost: every later call raises it again.
    """

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._start = 0  # bytes of the first chunk that are used up
        self._buffered = 0
        self._wanted: tuple[int, int] | None = None  # (kind, body length) of the frame being read
        self._error: DecodeError | None = None

    def feed(self, data: bytes) -> None:
        """Takes what the stream brought; the object must not change afterwards."""
        if data:
            self._chunks.append(data)
            self._buffered += len(data)
            if len(self._chunks) > _FEW_CHUNKS + self._buffered // _SMALL_CHUNK_BYTES:
                self._join()

    def next_frame(self) -> Frame | None:
        """The next whole frame, None when more bytes are needed. Raises DecodeError."""
        if self._error is not None:
            raise self._error
        if self._wanted is None:
            if self._buffered < FRAME_HEADER_BYTES:
                return None
            try:
                self._wanted = _parse_header(self._take(FRAME_HEADER_BYTES))
            except DecodeError as error:
                self._error = error
                raise
        kind, length = self._wanted
        if self._buffered < length:
            return None
        self._wanted = None
        return Frame(kind, self._take(length))

    def at_eof(self) -> None:
        """To be called at the end of the stream: raises Truncated inside a frame, or the error met before."""
        if self._error is not None:
            raise self._error
        if self._buffered or self._wanted is not None:
            raise Truncated("the stream ends inside a frame")

    def _join(self) -> None:
        """Joins the chunks: a peer that sends byte by byte must not cost an object for every byte."""
        joined = b"".join(self._chunks)[self._start :]
        self._chunks.clear()
        self._chunks.append(joined)
        self._start = 0

    def _take(self, count: int) -> bytes:
        self._buffered -= count
        parts: list[bytes] = []
        while count:
            first = self._chunks[0]
            stop = self._start + count
            if stop < len(first):
                parts.append(first[self._start : stop])
                self._start = stop
                break
            parts.append(first[self._start :] if self._start else first)
            count -= len(first) - self._start
            self._start = 0
            self._chunks.popleft()
        return parts[0] if len(parts) == 1 else b"".join(parts)


def _parse_header(header: bytes) -> tuple[int, int]:
    """(kind, body length), refused as soon as the header is there: no over-long body is ever buffered."""
    length, kind = int.from_bytes(header[:4], "big"), header[4]
    if length == 0:
        raise Malformed("a frame without a kind")
    body = length - 1
    if kind == Kind.MESSAGE:
        limit = MESSAGE_MAX_BYTES
    elif kind == Kind.BLOCK:
        limit = FRAME_MAX_BYTES - 1
        if body < CID_BYTES:
            raise Malformed("a block frame too short for its CID")
    else:
        raise UnknownType(f"frame kind {kind}")
    if body > limit:
        raise OverLimit(f"frame body of {body} bytes, at most {limit}")
    return kind, body
