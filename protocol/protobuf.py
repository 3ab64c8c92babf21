"""Protocol buffers (proto3) as far as formats of others need them: reading fields strictly, writing them in order."""

from collections.abc import Iterator

from protocol import varint
from protocol.errors import Malformed, Truncated

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5

_FIXED_BYTES = {FIXED64: 8, FIXED32: 4}
_UINT64_MAX_BYTES = 10
_UINT64_END = 1 << 64
_FIELD_MAX = (1 << 29) - 1

Field = tuple[int, int, int | memoryview]
"""Field number, wire type, and the value: an integer for VARINT, else the bytes without their length."""


def fields(buf: memoryview, what: str) -> Iterator[Field]:
    """The fields of one message, in order. Raises Malformed and Truncated; `what` names the format in them."""
    at, end = 0, len(buf)
    while at < end:
        tag, at = read_uint64(buf, at, what)
        number, wire_type = tag >> 3, tag & 7
        if not 0 < number <= _FIELD_MAX:
            raise Malformed(f"{what}: field number {number}", offset=at)
        if wire_type == VARINT:
            value, at = read_uint64(buf, at, what)
            yield number, wire_type, value
            continue
        if wire_type == LENGTH:
            length, at = read_uint64(buf, at, what)
        elif wire_type in _FIXED_BYTES:
            length = _FIXED_BYTES[wire_type]
        else:
            raise Malformed(f"{what}: wire type {wire_type}", offset=at)
        if length > end - at:
            raise Truncated(f"{what}: field {number} ends early", offset=at)
        yield number, wire_type, buf[at : at + length]
        at += length


def read_uint64(buf: memoryview, at: int, what: str) -> tuple[int, int]:
    """(value, offset after it) of a varint of protobuf: up to ten bytes, and not always the shortest form."""
    if at < len(buf) and buf[at] < 0x80:
        return buf[at], at + 1
    value = shift = 0
    for position in range(at, min(at + _UINT64_MAX_BYTES, len(buf))):
        byte = buf[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >= _UINT64_END:
                break
            return value, position + 1
        shift += 7
    if len(buf) - at < _UINT64_MAX_BYTES:
        raise Truncated(f"{what}: a number ends early", offset=at)
    raise Malformed(f"{what}: a number over 64 bits", offset=at)


def number(field: int, value: int) -> bytes:
    """A varint field, nothing for the default 0; a negative value as the ten bytes that protobuf wants."""
    if value == 0:
        return b""
    if value > 0:
        return varint.encode(field << 3) + varint.encode(value)
    value += _UINT64_END
    groups = [value >> shift & 0x7F for shift in range(0, 7 * _UINT64_MAX_BYTES, 7)]
    return varint.encode(field << 3) + bytes(group | 0x80 for group in groups[:-1]) + bytes(groups[-1:])


def head(field: int, length: int) -> bytes:
    """What goes before the bytes of a field that has a length."""
    return varint.encode(field << 3 | LENGTH) + varint.encode(length)
