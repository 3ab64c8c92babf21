"""Bitswap messages on a stream: each after its length."""

from __future__ import annotations

import trio

from node.net.port import Stream
from protocol import bitswap
from protocol.errors import Malformed, OverLimit, Truncated

_LENGTH_MAX_BYTES = 4
# Hashing this much takes less than a millisecond; more is done beside the loop.
_INLINE_BYTES = 256 * 1024


async def message_begins(stream: Stream, *, idle_s: float) -> int | None:
    """The first byte of the next message; None when the stream ended or nothing came for `idle_s`."""
    first = b""
    with trio.move_on_after(idle_s):
        first = bytes(await stream.receive_some(1))
    return first[0] if first else None


async def receive_rest(stream: Stream, first: int, *, max_bytes: int, message_s: float) -> bitswap.Message:
    """The message that began with the byte `first`.

    Raises PeerError, trio.BrokenResourceError, trio.TooSlowError (a message that takes longer than `message_s`).
    """
    with trio.fail_after(message_s):
        body = await _receive_body(stream, first, max_bytes)
    if len(body) <= _INLINE_BYTES:
        return bitswap.decode(body)
    return await trio.to_thread.run_sync(bitswap.decode, body)


async def _receive_body(stream: Stream, first: int, max_bytes: int) -> bytes:
    length = await _rest_of_length(stream, first)
    if length > max_bytes:
        raise OverLimit(f"a bitswap message of {length} bytes, at most {max_bytes} here")
    body = bytearray()
    while len(body) < length:
        body += await _some(stream, length - len(body))
    return bytes(body)


async def _rest_of_length(stream: Stream, byte: int) -> int:
    length, shift = byte & 0x7F, 7
    while byte & 0x80:
        if shift == 7 * _LENGTH_MAX_BYTES:
            raise Malformed("the length of a bitswap message has more than four bytes")
        byte = (await _some(stream, 1))[0]
        length |= (byte & 0x7F) << shift
        shift += 7
    return length


async def _some(stream: Stream, max_bytes: int) -> bytes:
    data = await stream.receive_some(max_bytes)
    if not data:
        raise Truncated("the stream ended within a bitswap message")
    return bytes(data)
