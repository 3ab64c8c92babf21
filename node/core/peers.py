"""Peer ids and the keys in them: members are known by key, connections by peer id."""

from functools import lru_cache

from node.core.inputs import PeerId
from protocol.errors import DecodeError
from protocol.multibase import encode_bare
from protocol.site_id import SiteId

_CACHED = 4096


@lru_cache(_CACHED)
def peer_of(key: SiteId) -> PeerId:
    """The peer id of the node with this public key."""
    return encode_bare("base58btc", key.cid.multihash)


@lru_cache(_CACHED)
def key_of(peer: PeerId) -> SiteId | None:
    """The public key that the peer id holds; None for one that is no Ed25519 key, and so no fednode node's."""
    try:
        return SiteId.from_text(peer)
    except DecodeError:
        return None
