"""Multibase text of the bases that CIDs and site ids come in: base16, base32, base36, base58btc, base64url.

Decoding is strict: known prefix, alphabet, no padding, no spare bits, no odd digit. The bases whose alphabet
has one case (16, 32, 36) are read in any case, as the multibase table demands; otherwise bytes have one text
per base.
"""

import base64
import binascii
from collections.abc import Callable

from protocol.errors import Malformed, NotCanonical, OverLimit
from protocol.limits import CID_TEXT_MAX_CHARS

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
_BASE16 = "0123456789abcdef"
_BASE64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def _integer_encode(raw: bytes, alphabet: str) -> str:
    base = len(alphabet)
    number = int.from_bytes(raw, "big")
    digits: list[str] = []
    while number:
        number, digit = divmod(number, base)
        digits.append(alphabet[digit])
    zeros = len(raw) - len(raw.lstrip(b"\0"))
    return alphabet[0] * zeros + "".join(reversed(digits))


def _integer_decode(text: str, alphabet: str) -> bytes:
    base = len(alphabet)
    number = 0
    for char in text:
        number = number * base + alphabet.index(char)
    zeros = len(text) - len(text.lstrip(alphabet[0]))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")


def _decode16(text: str) -> bytes:
    if len(text) % 2:
        raise Malformed("base16 has an odd number of digits")
    return bytes.fromhex(text)


def _bits_decode(
    text: str, bits: int, decode: Callable[[str], bytes], encode: Callable[[bytes], str]
) -> bytes:
    """Decodes base32 or base64url, whose last digit may carry bits that no byte uses: those must be zero."""
    group = {5: 8, 6: 4}[bits]
    if len(text) * bits % 8 >= bits:
        raise Malformed("text ends in a digit that completes no byte")
    raw = decode(text + "=" * (-len(text) % group))
    if encode(raw) != text:
        raise NotCanonical("unused bits at the end are not zero")
    return raw


def _encode32(raw: bytes) -> str:
    return base64.b32encode(raw).decode("ascii").rstrip("=").lower()


def _encode64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=")


def _decode32(text: str) -> bytes:
    return _bits_decode(text, 5, lambda padded: base64.b32decode(padded.upper()), _encode32)


def _decode64url(text: str) -> bytes:
    return _bits_decode(text, 6, base64.urlsafe_b64decode, _encode64url)


# name: (prefix, alphabet, either case, encode, decode)
_BASES: dict[str, tuple[str, str, bool, Callable[[bytes], str], Callable[[str], bytes]]] = {
    "base16": ("f", _BASE16, True, lambda raw: raw.hex(), _decode16),
    "base32": ("b", _BASE32, True, _encode32, _decode32),
    "base36": (
        "k",
        _BASE36,
        True,
        lambda raw: _integer_encode(raw, _BASE36),
        lambda text: _integer_decode(text, _BASE36),
    ),
    "base58btc": (
        "z",
        _BASE58,
        False,
        lambda raw: _integer_encode(raw, _BASE58),
        lambda text: _integer_decode(text, _BASE58),
    ),
    "base64url": ("u", _BASE64URL, False, _encode64url, _decode64url),
}
_BY_PREFIX = {entry[0]: name for name, entry in _BASES.items()}
_BY_PREFIX |= {entry[0].upper(): name for name, entry in _BASES.items() if entry[2]}
_ALPHABETS = {name: frozenset(entry[1]) for name, entry in _BASES.items()}


def encode_bare(base: str, raw: bytes) -> str:
    """Text of `raw` without prefix, lower case where the base has one case; KeyError for an unknown base."""
    return _BASES[base][3](raw)


def encode(base: str, raw: bytes) -> str:
    """Multibase text of `raw` in base16, base32, base36, base58btc or base64url; KeyError for other names."""
    return _BASES[base][0] + encode_bare(base, raw)


def decode_bare(base: str, text: str) -> bytes:
    """Bytes of text without prefix. Raises Malformed, NotCanonical (spare bits set) or OverLimit."""
    if len(text) > CID_TEXT_MAX_CHARS:
        raise OverLimit(f"text of {len(text)} characters, at most {CID_TEXT_MAX_CHARS}")
    _, _, either_case, _, decoder = _BASES[base]
    # Lower-casing only ASCII keeps characters such as the Kelvin sign from turning into letters.
    if either_case and text.isascii():
        text = text.lower()
    if not _ALPHABETS[base].issuperset(text):
        raise Malformed(f"character outside the {base} alphabet")
    try:
        return decoder(text)
    except binascii.Error as error:
        raise Malformed(f"invalid {base}: {error}") from None


def decode(text: str) -> tuple[str, bytes]:
    """(base name, bytes) of multibase text. Raises Malformed, NotCanonical or OverLimit."""
    if not text:
        raise Malformed("empty multibase text")
    base = _BY_PREFIX.get(text[0])
    if base is None:
        raise Malformed("unknown multibase prefix")
    return base, decode_bare(base, text[1:])
