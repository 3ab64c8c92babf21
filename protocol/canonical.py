"""Canonical msgpack: every value has one encoding, and decoding accepts no other (docs/spec/release.md, 2).

Values: nil, booleans, integers of -2^63 … 2^64-1, UTF-8 strings, byte strings, arrays, maps with unique
string keys in ascending order of their UTF-8 bytes. No floats, no extension types. Every header takes its
shortest form.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias, Union

import msgpack  # type: ignore[import-untyped]

from protocol.errors import (
    DecodeError,
    DuplicateKey,
    Malformed,
    NotCanonical,
    OverLimit,
    TrailingBytes,
    Truncated,
)
from protocol.limits import CANONICAL_MAX_DEPTH, CANONICAL_MAX_ITEMS

Value: TypeAlias = Union[bool, int, str, bytes, list["Value"], dict[str, "Value"], None]  # noqa: UP007 - forward references
Packable: TypeAlias = Union[bool, int, str, bytes, Sequence["Packable"], Mapping[str, "Packable"], None]  # noqa: UP007 - forward references

_SCALARS = (bytes, str, int, type(None))


def _ordered(value: Packable, depth: int) -> Packable:
    if isinstance(value, _SCALARS):
        return value
    if isinstance(value, (list, tuple)):
        _check_container(len(value), depth)
        return [item if isinstance(item, _SCALARS) else _ordered(item, depth - 1) for item in value]
    if isinstance(value, dict):
        _check_container(len(value), depth)
        if not all(isinstance(key, str) for key in value):
            raise Malformed("a map has a key that is not a string")
        return {key: _ordered(value[key], depth - 1) for key in sorted(value)}
    raise Malformed(f"{type(value).__name__} has no canonical form")


def _check_container(items: int, depth: int) -> None:
    if depth == 0:
        raise OverLimit(f"nested deeper than {CANONICAL_MAX_DEPTH} levels")
    if items > CANONICAL_MAX_ITEMS:
        raise OverLimit(f"{items} entries, at most {CANONICAL_MAX_ITEMS}")


def pack(value: Packable) -> bytes:
    """The canonical bytes of `value`. Raises Malformed or OverLimit for what has no canonical form."""
    try:
        packed: bytes = msgpack.packb(_ordered(value, CANONICAL_MAX_DEPTH))
    except OverflowError:
        raise OverLimit("integer outside -2^63 … 2^64-1") from None
    except UnicodeEncodeError:
        raise Malformed("string that UTF-8 cannot express") from None
    return packed


def _unique(pairs: list[tuple[object, object]]) -> dict[object, object]:
    for key, _ in pairs:
        if type(key) is not str:
            raise Malformed("a map has a key that is not a string")
    result = dict(pairs)
    if len(result) != len(pairs):
        raise DuplicateKey("a map has the same key twice")
    return result


def _no_extension(code: int, data: bytes) -> object:
    raise Malformed(f"extension type {code}")


def unpack(raw: bytes, *, max_bytes: int) -> Value:
    """The value that `raw` is the canonical encoding of.

    Raises OverLimit (over `max_bytes`, too deep, too many entries), Truncated, TrailingBytes, DuplicateKey,
    NotCanonical (a value, but not in its canonical form) or Malformed.
    """
    if len(raw) > max_bytes:
        raise OverLimit(f"{len(raw)} bytes, at most {max_bytes}")
    value, end = _unpack_first(raw)
    if end != len(raw):
        raise TrailingBytes("bytes after the value", offset=end)
    if pack(value) != raw:
        raise NotCanonical("not the canonical encoding of its value")
    return value


def _unpack_first(raw: bytes) -> tuple[Value, int]:
    size = max(len(raw), 1)
    unpacker = msgpack.Unpacker(
        read_size=size,
        max_buffer_size=size,
        strict_map_key=False,
        object_pairs_hook=_unique,
        ext_hook=_no_extension,
        max_array_len=CANONICAL_MAX_ITEMS,
        max_map_len=CANONICAL_MAX_ITEMS,
    )
    unpacker.feed(raw)
    try:
        value: Value = unpacker.unpack()
    except DecodeError:
        raise
    except msgpack.OutOfData:
        raise Truncated("value ends early", offset=len(raw)) from None
    except msgpack.StackError:
        raise OverLimit(f"nested deeper than {CANONICAL_MAX_DEPTH} levels") from None
    except msgpack.FormatError:
        raise Malformed("a byte that begins no msgpack value") from None
    except UnicodeDecodeError:
        raise Malformed("string that is not UTF-8") from None
    except ValueError as error:  # what is left: a container or string longer than the limits given above
        raise OverLimit(str(error)) from None
    return value, unpacker.tell()
