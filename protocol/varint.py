"""Unsigned varints (multiformats): 7 bits a byte, low bits first, at most 9 bytes, minimal form only."""

from protocol.errors import NotCanonical, OverLimit, Truncated
from protocol.limits import VARINT_MAX_BYTES

Buffer = bytes | bytearray | memoryview

_END = 1 << (7 * VARINT_MAX_BYTES)


def encode(value: int) -> bytes:
    """Bytes of `value`; ValueError outside 0 ≤ value < 2^63."""
    if not 0 <= value < _END:
        raise ValueError(f"varint out of range: {value}")
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode(buf: Buffer, offset: int = 0) -> tuple[int, int]:
    """(value, offset after it). Raises Truncated, OverLimit (over 9 bytes) or NotCanonical (not minimal)."""
    value = shift = 0
    for position in range(offset, min(len(buf), offset + VARINT_MAX_BYTES)):
        byte = buf[position]
        if byte < 0x80:
            if byte == 0 and position > offset:
                raise NotCanonical("varint is not minimal", offset=offset)
            return value | byte << shift, position + 1
        value |= (byte & 0x7F) << shift
        shift += 7
    if len(buf) - offset < VARINT_MAX_BYTES:
        raise Truncated("varint ends early", offset=offset)
    raise OverLimit(f"varint is longer than {VARINT_MAX_BYTES} bytes", offset=offset)
