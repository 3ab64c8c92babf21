"""Messages behind their length as an unsigned varint, as libp2p's protocols frame their protobuf."""

from __future__ import annotations


def delimited(body: bytes) -> bytes:
    prefix = bytearray()
    length = len(body)
    while length >= 0x80:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    prefix.append(length)
    return bytes(prefix) + body
