"""libp2p's peer store with a bound on what one peer can fill it with, and on how long it keeps it."""

from __future__ import annotations

from collections.abc import Sequence

from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStore
from multiaddr import Multiaddr

_ADDRESSES_MAX = 16
_PROTOCOLS_MAX = 128
_PROTOCOL_MAX_CHARS = 128


class BoundedPeerStore(PeerStore):  # type: ignore[misc]
    """Holds what connected peers say of themselves; `forget` is called when they go.

    libp2p's own keeps everything of the last thousand peers, a megabyte each if they like, and when it is full it
    drops the peers without addresses first, which is how a node that does not listen loses its own key.
    """

    def add_addrs(self, peer_id: ID, addrs: Sequence[Multiaddr], ttl: int = 0) -> None:
        data = self.peer_data_map.get(peer_id)
        room = _ADDRESSES_MAX - (0 if data is None else len(data.get_addrs()))
        super().add_addrs(peer_id, list(addrs)[: max(room, 0)], ttl)

    def add_protocols(self, peer_id: ID, protocols: Sequence[str]) -> None:
        data = self.peer_data_map.get(peer_id)
        room = _PROTOCOLS_MAX - (0 if data is None else len(data.get_protocols()))
        short = [protocol for protocol in protocols if len(protocol) <= _PROTOCOL_MAX_CHARS]
        super().add_protocols(peer_id, short[: max(room, 0)])

    def _enforce_peer_limit(self) -> None:
        """`forget` keeps this store as small as the connections are few."""

    def forget(self, peer_id: ID) -> None:
        self.peer_data_map.pop(peer_id, None)
        self.peer_record_map.pop(peer_id, None)
