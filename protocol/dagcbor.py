"""DAG-CBOR (codec 0x71): every value has one encoding, and decoding accepts no other (docs/spec/ipns.md, 2).

Values: null, booleans, integers of -2^64 … 2^64-1, finite 64-bit floats, UTF-8 strings, byte strings, lists, maps with
unique string keys ordered by length and then bytes, and CIDs.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias, Union

from protocol.cid import Cid
from protocol.errors import DuplicateKey, Malformed, NotCanonical, OverLimit, TrailingBytes, Truncated
from protocol.limits import CBOR_MAX_DEPTH

Value: TypeAlias = Union[bool, int, float, str, bytes, Cid, list["Value"], dict[str, "Value"], None]  # noqa: UP007 - forward references
Encodable: TypeAlias = Union[  # noqa: UP007 - forward references
    bool, int, float, str, bytes, Cid, Sequence["Encodable"], Mapping[str, "Encodable"], None
]

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _LIST, _MAP, _TAG, _SIMPLE = range(8)
_FALSE, _TRUE, _NULL, _FLOAT64 = 20, 21, 22, 27
_CID_TAG: Final = 42
_INT_END: Final = 2**64


def encode(value: Encodable) -> bytes:
    """The one encoding of `value`. Raises Malformed or OverLimit for what has none."""
    out = bytearray()
    _write(out, value, CBOR_MAX_DEPTH)
    return bytes(out)


def decode(raw: bytes) -> Value:
    """The value that `raw` is the encoding of.

    Raises Truncated, TrailingBytes, NotCanonical, DuplicateKey, OverLimit (nested too deep) or Malformed.
    """
    reader = _Reader(raw)
    value = reader.value(CBOR_MAX_DEPTH)
    if reader.at != len(raw):
        raise TrailingBytes("cbor: bytes after the value", offset=reader.at)
    return value


def _head(out: bytearray, major: int, value: int) -> None:
    if value < 24:
        out.append(major << 5 | value)
        return
    for info, width in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if value < 1 << 8 * width:
            out.append(major << 5 | info)
            out += value.to_bytes(width, "big")
            return
    raise OverLimit("cbor: integer outside -2^64 … 2^64-1")


def _write(out: bytearray, value: Encodable, depth: int) -> None:
    if depth == 0:
        raise OverLimit(f"cbor: nested deeper than {CBOR_MAX_DEPTH} levels")
    if value is None or isinstance(value, bool):
        out.append(_SIMPLE << 5 | (_NULL if value is None else _TRUE if value else _FALSE))
    elif isinstance(value, int):
        _head(out, *((_UNSIGNED, value) if value >= 0 else (_NEGATIVE, -1 - value)))
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise Malformed("cbor: a float that is not finite")
        out.append(_SIMPLE << 5 | _FLOAT64)
        out += struct.pack(">d", value)
    elif isinstance(value, Cid):
        _head(out, _TAG, _CID_TAG)
        _head(out, _BYTES, 1 + len(value))
        out += b"\0" + value
    elif isinstance(value, bytes):
        _head(out, _BYTES, len(value))
        out += value
    elif isinstance(value, str):
        _write_text(out, value)
    elif isinstance(value, Mapping):
        _write_map(out, value, depth)
    elif isinstance(value, Sequence):
        _head(out, _LIST, len(value))
        for item in value:
            _write(out, item, depth - 1)
    else:
        raise Malformed(f"{type(value).__name__} has no encoding in DAG-CBOR")


def _write_text(out: bytearray, text: str) -> None:
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        raise Malformed("cbor: string that UTF-8 cannot express") from None
    _head(out, _TEXT, len(encoded))
    out += encoded


def _write_map(out: bytearray, value: Mapping[str, Encodable], depth: int) -> None:
    if not all(isinstance(key, str) for key in value):
        raise Malformed("cbor: a map has a key that is not a string")
    _head(out, _MAP, len(value))
    for key in sorted(value, key=lambda key: (len(key.encode("utf-8", "replace")), key.encode("utf-8", "replace"))):
        _write_text(out, key)
        _write(out, value[key], depth - 1)


class _Reader:
    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.at = 0

    def value(self, depth: int) -> Value:
        if depth == 0:
            raise OverLimit(f"cbor: nested deeper than {CBOR_MAX_DEPTH} levels", offset=self.at)
        start = self.at
        major, info = self._first()
        if major == _SIMPLE:
            return self._simple(info, start)
        count = self._count(info, start)
        match major:
            case 0:
                return count
            case 1:
                return -1 - count
            case 2:
                return self._take(count)
            case 3:
                return self._text(count, start)
            case 4:
                return [self.value(depth - 1) for _ in range(count)]
            case 5:
                return self._map(count, depth)
            case _:
                return self._cid(count, start)

    def _first(self) -> tuple[int, int]:
        byte = self._take(1)[0]
        return byte >> 5, byte & 0x1F

    def _take(self, count: int) -> bytes:
        if count > len(self.raw) - self.at:
            raise Truncated("cbor: value ends early", offset=self.at)
        self.at += count
        return self.raw[self.at - count : self.at]

    def _count(self, info: int, start: int) -> int:
        if info < 24:
            return info
        if info > 27:
            raise Malformed("cbor: indefinite or reserved length", offset=start)
        width = 1 << info - 24
        count = int.from_bytes(self._take(width), "big")
        if count < (24 if width == 1 else 1 << 4 * width):
            raise NotCanonical("cbor: a number is not in its shortest form", offset=start)
        return count

    def _simple(self, info: int, start: int) -> Value:
        if info in (_FALSE, _TRUE, _NULL):
            return {_FALSE: False, _TRUE: True, _NULL: None}[info]
        if info != _FLOAT64:
            raise Malformed("cbor: undefined, short float or unknown simple value", offset=start)
        number: float = struct.unpack(">d", self._take(8))[0]
        if not math.isfinite(number):
            raise Malformed("cbor: a float that is not finite", offset=start)
        return number

    def _text(self, count: int, start: int) -> str:
        try:
            return self._take(count).decode()
        except UnicodeDecodeError:
            raise Malformed("cbor: string that is not UTF-8", offset=start) from None

    def _map(self, count: int, depth: int) -> Value:
        found: dict[str, Value] = {}
        last: tuple[int, bytes] | None = None
        for _ in range(count):
            start = self.at
            major, info = self._first()
            if major != _TEXT:
                raise Malformed("cbor: a map has a key that is not a string", offset=start)
            key = self._text(self._count(info, start), start)
            order = (len(key.encode()), key.encode())
            if last is not None and order <= last:
                wrong = DuplicateKey if order == last else NotCanonical
                raise wrong("cbor: the keys of a map are not unique and in order", offset=start)
            last = order
            found[key] = self.value(depth - 1)
        return found

    def _cid(self, tag: int, start: int) -> Cid:
        if tag != _CID_TAG:
            raise Malformed(f"cbor: tag {tag}", offset=start)
        head = self.at
        major, info = self._first()
        if major != _BYTES:
            raise Malformed("cbor: a link that is not a byte string", offset=head)
        content = self._take(self._count(info, head))
        if content[:1] != b"\0":
            raise Malformed("cbor: a link without its multibase prefix", offset=head)
        return Cid.from_bytes(content[1:])
