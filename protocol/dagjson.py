"""DAG-JSON (codec 0x0129): JSON with links as `{"/": "CID"}` and bytes as `{"/": {"bytes": "base64"}}`.

The same values as DAG-CBOR (protocol/dagcbor.py). Encoding gives the canonical form: no white space, keys in the order
of their UTF-8 bytes. Decoding takes white space and any order of keys, as blocks of other makers have them, but no key
twice, and the key "/" in these two forms alone.
"""

import base64
import binascii
import json
import math
import re
from typing import Final, NoReturn

from protocol.cid import Cid
from protocol.dagcbor import Encodable, Value
from protocol.errors import DecodeError, DuplicateKey, Malformed, OverLimit, TrailingBytes
from protocol.limits import CBOR_MAX_DEPTH

_RESERVED: Final = "/"
_BYTES: Final = "bytes"
_INT_END: Final = 2**64
_EXPONENT: Final = re.compile(r"e([+-])0*(\d)")
_INT_MAX_CHARS: Final = 21


def encode(value: Encodable) -> bytes:
    """The canonical form. Raises Malformed or OverLimit for what has none."""
    try:
        return _written(value, CBOR_MAX_DEPTH).encode()
    except UnicodeEncodeError:
        raise Malformed("dag-json: string that UTF-8 cannot express") from None


def decode(raw: bytes) -> Value:
    """The value of a block.

    Raises Malformed, DuplicateKey, TrailingBytes, or OverLimit for what is nested too deep and for large numbers.
    """
    try:
        found = _decoder().raw_decode(text := raw.decode().strip(" \t\n\r"))
    except UnicodeDecodeError as error:
        raise Malformed("dag-json: not UTF-8", offset=error.start) from None
    except json.JSONDecodeError as error:
        raise Malformed(f"dag-json: {error.msg}", offset=len(error.doc[: error.pos].encode())) from None
    except RecursionError:
        raise OverLimit(f"dag-json: nested deeper than {CBOR_MAX_DEPTH} levels") from None
    value, end = found
    if end != len(text):
        raise TrailingBytes("dag-json: bytes after the value")
    return _checked(value, CBOR_MAX_DEPTH)


# --- writing -----------------------------------------------------------------------------------------------


def _written(value: Encodable, depth: int) -> str:
    if depth == 0:
        raise OverLimit(f"dag-json: nested deeper than {CBOR_MAX_DEPTH} levels")
    if value is None or isinstance(value, bool):
        return "null" if value is None else "true" if value else "false"
    if isinstance(value, int):
        if not -_INT_END <= value < _INT_END:
            raise OverLimit("dag-json: integer outside -2^64 … 2^64-1")
        return str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Malformed("dag-json: a float that is not finite")
        return _EXPONENT.sub(r"e\1\2", repr(value))
    if isinstance(value, Cid):
        return f'{{"/":"{value}"}}'
    if isinstance(value, bytes):
        return f'{{"/":{{"bytes":"{_base64(value)}"}}}}'
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        return _written_map(value, depth)
    if isinstance(value, (list, tuple)):
        return f"[{','.join(_written(item, depth - 1) for item in value)}]"
    raise Malformed(f"{type(value).__name__} has no form in DAG-JSON")


def _written_map(value: dict[str, Encodable], depth: int) -> str:
    if not all(isinstance(key, str) for key in value):
        raise Malformed("dag-json: a map has a key that is not a string")
    if _RESERVED in value:
        raise Malformed('dag-json: a map with the key "/", which links and bytes have')
    keys = sorted(value, key=str.encode)
    members = (f"{json.dumps(key, ensure_ascii=False)}:{_written(value[key], depth - 1)}" for key in keys)
    return f"{{{','.join(members)}}}"


# --- reading -----------------------------------------------------------------------------------------------


class _Map(dict[str, object]):
    """A map as it was read; "/" in it is looked at afterwards."""


def _decoder() -> json.JSONDecoder:
    return json.JSONDecoder(
        object_pairs_hook=_map, parse_int=_integer, parse_float=_number, parse_constant=_constant, strict=True
    )


def _map(pairs: list[tuple[str, object]]) -> _Map:
    found = _Map(pairs)
    if len(found) != len(pairs):
        raise DuplicateKey("dag-json: a map names a key twice")
    return found


def _integer(text: str) -> int:
    if len(text) > _INT_MAX_CHARS or not -_INT_END <= (number := int(text)) < _INT_END:
        raise OverLimit("dag-json: integer outside -2^64 … 2^64-1")
    return number


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise OverLimit("dag-json: a number larger than a float can be")
    return number


def _constant(text: str) -> NoReturn:
    raise Malformed(f"dag-json: {text} is no value")


def _checked(value: object, depth: int) -> Value:
    if depth == 0:
        raise OverLimit(f"dag-json: nested deeper than {CBOR_MAX_DEPTH} levels")
    if isinstance(value, _Map):
        if _RESERVED in value:
            return _reserved(value)
        return {_text(key): _checked(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_checked(item, depth - 1) for item in value]
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    raise Malformed(f"dag-json: {type(value).__name__} is no value")


def _text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Malformed("dag-json: half of a surrogate pair") from None
    return text


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).rstrip(b"=").decode("ascii")


def _from_base64(text: str) -> bytes:
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("dag-json: bytes that are not base64") from None
    if _base64(raw) != text:
        raise Malformed("dag-json: bytes that are not base64 without padding and spare bits")
    return raw


def _reserved(value: _Map) -> Cid | bytes:
    inner = value[_RESERVED]
    if len(value) == 1 and isinstance(inner, str):
        try:
            return Cid.from_text(inner)
        except DecodeError as error:
            raise Malformed(f"dag-json: a link to no CID: {error}") from None
    if len(value) == 1 and isinstance(inner, _Map) and inner.keys() == {_BYTES}:
        encoded = inner[_BYTES]
        if isinstance(encoded, str):
            return _from_base64(encoded)
    raise Malformed('dag-json: the key "/" in a map that is neither a link nor bytes')
