"""Multibase text of the bases that CIDs and site ids come in: base16, base32, base36, base58btc, base64url.

Decoding is strict: known prefix, alphabet, no padding, no spare bits, no odd digit. The bases whose alphabet has one
case (16, 32, 36) are read in any case, as the multibase table demands; otherwise bytes have one text per base.
"""

import base64
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from protocol.errors import Malformed, NotCanonical, OverLimit
from protocol.limits import CID_TEXT_MAX_CHARS

_BASE58 = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE36 = b"0123456789abcdefghijklmnopqrstuvwxyz"
_BASE32 = b"abcdefghijklmnopqrstuvwxyz234567"
_BASE16 = b"0123456789abcdef"
_BASE64URL = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

_VALUE58 = {char: value for value, char in enumerate(_BASE58)}
# int() reads base 32 in the digits 0-9a-v.
_TO_INT32 = bytes.maketrans(_BASE32 + _BASE32.upper()[:26], _BASE36[:32] + _BASE36[:26])


def _encode_integer(raw: bytes, alphabet: bytes) -> str:
    """Base 36 and 58: the bytes as one number, each leading zero byte as one zero digit."""
    base = len(alphabet)
    number = int.from_bytes(raw, "big")
    digits = bytearray()
    while number:
        number, digit = divmod(number, base)
        digits.append(alphabet[digit])
    zeros = len(raw) - len(raw.lstrip(b"\0"))
    digits += alphabet[:1] * zeros
    digits.reverse()
    return digits.decode("ascii")


def _decode_integer(text: bytes, zero: bytes, number: int) -> bytes:
    zeros = len(text) - len(text.lstrip(zero))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")


def _decode16(text: bytes) -> bytes:
    if len(text) % 2:
        raise Malformed("base16 has an odd number of digits")
    return bytes.fromhex(text.decode("ascii"))


def _decode32(text: bytes) -> bytes:
    spare = _spare_bits(len(text), 5)
    number = int(text.translate(_TO_INT32), 32) if text else 0
    if number & ((1 << spare) - 1):
        raise NotCanonical("unused bits at the end are not zero")
    return (number >> spare).to_bytes(len(text) * 5 // 8, "big")


def _decode36(text: bytes) -> bytes:
    return _decode_integer(text, b"0", int(text, 36) if text else 0)


def _decode58(text: bytes) -> bytes:
    number = 0
    for char in text:
        number = number * 58 + _VALUE58[char]
    return _decode_integer(text, b"1", number)


def _decode64url(text: bytes) -> bytes:
    spare = _spare_bits(len(text), 6)
    if text and _BASE64URL.index(text[-1]) & ((1 << spare) - 1):
        raise NotCanonical("unused bits at the end are not zero")
    return base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))


def _spare_bits(digits: int, bits: int) -> int:
    """Bits of the last digit that belong to no byte. Raises Malformed if a whole digit belongs to none."""
    spare = digits * bits % 8
    if spare >= bits:
        raise Malformed("text ends in a digit that completes no byte")
    return spare


class _Base(NamedTuple):
    name: str
    prefix: str
    alphabet: bytes  # every character that is read
    encode: Callable[[bytes], str]  # without prefix
    decode: Callable[[bytes], bytes]  # of characters of the alphabet only


_ALL = (
    _Base("base16", "f", _BASE16 + _BASE16.upper(), bytes.hex, _decode16),
    _Base(
        "base32",
        "b",
        _BASE32 + _BASE32.upper(),
        lambda raw: base64.b32encode(raw).rstrip(b"=").lower().decode("ascii"),
        _decode32,
    ),
    _Base("base36", "k", _BASE36 + _BASE36.upper(), lambda raw: _encode_integer(raw, _BASE36), _decode36),
    _Base("base58btc", "z", _BASE58, lambda raw: _encode_integer(raw, _BASE58), _decode58),
    _Base(
        "base64url",
        "u",
        _BASE64URL,
        lambda raw: base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii"),
        _decode64url,
    ),
)
_BY_NAME = {base.name: base for base in _ALL}
_BY_PREFIX = {base.prefix: base for base in _ALL} | {
    base.prefix.upper(): base for base in _ALL if base.name in {"base16", "base32", "base36"}
}


def encode_bare(base: str, raw: bytes) -> str:
    """Text of `raw` without prefix, lower case where the base has one case; KeyError for an unknown base."""
    return _BY_NAME[base].encode(raw)


@lru_cache(maxsize=4096)
def encode(base: str, raw: bytes) -> str:
    """Multibase text of `raw` in base16, base32, base36, base58btc or base64url; KeyError for other names."""
    return _BY_NAME[base].prefix + _BY_NAME[base].encode(raw)


def decode_bare(base: str, text: str) -> bytes:
    """Bytes of text without prefix. Raises Malformed, NotCanonical (spare bits set) or OverLimit."""
    if len(text) > CID_TEXT_MAX_CHARS:
        raise OverLimit(f"text of {len(text)} characters, at most {CID_TEXT_MAX_CHARS}")
    known = _BY_NAME[base]
    raw = text.encode("utf-8", "surrogatepass")
    if raw.translate(None, known.alphabet):
        raise Malformed(f"character outside the {base} alphabet")
    return known.decode(raw)


def decode(text: str) -> tuple[str, bytes]:
    """(base name, bytes) of multibase text. Raises Malformed, NotCanonical or OverLimit."""
    if not text:
        raise Malformed("empty multibase text")
    base = _BY_PREFIX.get(text[0])
    if base is None:
        raise Malformed("unknown multibase prefix")
    return base.name, decode_bare(base.name, text[1:])
