"""libp2p peer ids as text, without libp2p: parse, normalise, and derive from a node key."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.net.port import BadAddress, PeerId
from protocol.errors import DecodeError
from protocol.multibase import decode_bare, encode_bare

_ID_MAX_CHARS = 128
_ID_MAX_BYTES = 66
# protobuf of libp2p's PublicKey: Type = Ed25519, Data = 32 bytes
_ED25519_PREFIX = bytes((0x08, 0x01, 0x12, 0x20))
_SHA2_256_PREFIX = bytes((0x12, 0x20))


def parse_peer_id(text: str) -> PeerId:
    """The base58 form of a peer id. Raises BadAddress."""
    if len(text) <= _ID_MAX_CHARS:
        try:
            raw = decode_bare("base58btc", text)
        except DecodeError:
            raw = b""
        if _is_multihash_of_key(raw):
            return text
    raise BadAddress(f"not a peer id: {text[:_ID_MAX_CHARS]!r}")


def peer_id_of_seed(seed: bytes) -> PeerId:
    """The peer id of the node key with this 32-byte Ed25519 seed."""
    key = _ED25519_PREFIX + Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return encode_bare("base58btc", bytes((0x00, len(key))) + key)


def _is_multihash_of_key(raw: bytes) -> bool:
    if raw[:2] == _SHA2_256_PREFIX:
        return len(raw) == 34
    return len(raw) >= 3 and raw[0] == 0x00 and raw[1] == len(raw) - 2 <= 64


def peer_id_bytes(peer: PeerId) -> bytes:
    """The binary form of a peer id that `parse_peer_id` accepted."""
    return decode_bare("base58btc", peer)


def peer_id_text(raw: bytes) -> PeerId:
    """The text form of a binary peer id. Raises BadAddress."""
    if len(raw) > _ID_MAX_BYTES or not _is_multihash_of_key(raw):
        raise BadAddress(f"not a peer id: {len(raw)} bytes")
    return encode_bare("base58btc", raw)
