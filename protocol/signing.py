"""Signatures: Ed25519 (RFC 8032) over `domain 0x00 payload`, so that no signature serves in two places."""

import re

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protocol.errors import BadSignature
from protocol.limits import SIGNATURE_BYTES

_DOMAIN = re.compile(rb"fednode/[a-z-]{1,32}/[1-9][0-9]{0,3}")


def _message(domain: bytes, payload: bytes) -> bytes:
    if not _DOMAIN.fullmatch(domain):
        raise ValueError(f"signing domain {domain!r} is not of the form fednode/NAME/VERSION")
    return domain + b"\0" + payload


def sign(private_key: Ed25519PrivateKey, domain: bytes, payload: bytes) -> bytes:
    """The 64-byte signature of `payload` in `domain` (`fednode/NAME/VERSION`; ValueError otherwise)."""
    return private_key.sign(_message(domain, payload))


def verify(key: bytes | Ed25519PublicKey, domain: bytes, payload: bytes, signature: bytes) -> None:
    """Raises BadSignature unless `key` (a SiteId or public key) signed exactly these bytes in this domain."""
    if len(signature) != SIGNATURE_BYTES:
        raise BadSignature(f"a signature has {SIGNATURE_BYTES} bytes, not {len(signature)}")
    public_key = Ed25519PublicKey.from_public_bytes(key) if isinstance(key, bytes) else key
    try:
        public_key.verify(signature, _message(domain, payload))
    except InvalidSignature:
        raise BadSignature("the signature does not match") from None
