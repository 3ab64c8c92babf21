"""multistream-select 1.0.0: agree on one protocol at the start of a byte stream.

Written here because what libp2p ships reads messages of any length and lets a peer's invalid UTF-8 escape as
UnicodeDecodeError. Works on any pair of `read(n)` (at most n bytes, b"" at the end) and `write(data)`, and
reads not one byte too many.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container, Sequence
from typing import ClassVar

from node.net.port import ProtocolUnsupported
from protocol.errors import PeerError

HEADER = "/multistream/1.0.0"
_NOT_AVAILABLE = "na"
_MESSAGE_MAX_BYTES = 1024  # the longest protocol name in use is under 100
_PROPOSALS_MAX = 32  # a peer that has not found a protocol by then is wasting our time

Read = Callable[[int], Awaitable[bytes]]
Write = Callable[[bytes], Awaitable[None]]


class NegotiationFailed(PeerError):
    """The peer broke multistream-select, or ended the stream within it."""

    code: ClassVar[str] = "negotiation-failed"


def encode(message: str) -> bytes:
    """One message: unsigned varint length, the text, a newline."""
    body = message.encode() + b"\n"
    if len(body) > _MESSAGE_MAX_BYTES:
        raise ValueError(f"protocol name of {len(body)} bytes")
    if len(body) < 0x80:
        return bytes([len(body)]) + body
    return bytes([len(body) & 0x7F | 0x80, len(body) >> 7]) + body


async def propose(read: Read, write: Write, protocols: Sequence[str]) -> str:
    """The first of `protocols` that the other side speaks. Raises ProtocolUnsupported, NegotiationFailed."""
    await write(encode(HEADER) + encode(protocols[0]))
    if await _receive(read) != HEADER:
        raise NegotiationFailed("the peer does not speak multistream-select")
    for position, protocol in enumerate(protocols):
        if position:
            await write(encode(protocol))
        answer = await _receive(read)
        if answer == protocol:
            return protocol
        if answer != _NOT_AVAILABLE:
            raise NegotiationFailed("the peer answered with another protocol")
    raise ProtocolUnsupported(f"the peer does not speak {', '.join(protocols)}")


async def answer(read: Read, write: Write, supported: Container[str]) -> str:
    """Take the first proposal that is `supported`. Raises NegotiationFailed."""
    await write(encode(HEADER))
    if await _receive(read) != HEADER:
        raise NegotiationFailed("the peer does not speak multistream-select")
    for _ in range(_PROPOSALS_MAX):
        proposal = await _receive(read)
        if proposal in supported:
            await write(encode(proposal))
            return proposal
        await write(encode(_NOT_AVAILABLE))
    raise NegotiationFailed(f"no common protocol after {_PROPOSALS_MAX} proposals")


async def _receive(read: Read) -> str:
    length = (await _exactly(read, 1))[0]
    if length & 0x80:
        length = length & 0x7F | (await _exactly(read, 1))[0] << 7
    if not 0 < length <= _MESSAGE_MAX_BYTES:
        raise NegotiationFailed(f"multistream message of {length} bytes")
    body = await _exactly(read, length)
    if not body.endswith(b"\n"):
        raise NegotiationFailed("multistream message without a newline")
    try:
        return body[:-1].decode()
    except UnicodeDecodeError:
        raise NegotiationFailed("multistream message that is not UTF-8") from None


async def _exactly(read: Read, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = await read(count - len(data))
        if not more:
            raise NegotiationFailed("the stream ended within multistream-select")
        data += more
    return data
