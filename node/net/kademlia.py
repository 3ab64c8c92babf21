"""Kademlia without I/O, clock or tasks: who is near a key, the walk towards it, and the records kept for others.

https://github.com/libp2p/specs/blob/master/kad-dht/README.md. Why not libp2p's: it answers twelve requests at a time
and resets the others, keeps records without a bound, and dials everyone that it hears of.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from node.net.peer_ids import peer_id_bytes
from node.net.port import PeerId

NEAREST = 20  # Kademlia's k: peers per bucket, and how many hold a record
_PARALLEL = 5  # requests of one walk at a time; the spec says 10, which our streams do not need
_ASKED_MAX = 60  # requests of one walk in all
_KNOWN_MAX = 400  # peers remembered within one walk


def position(key: bytes) -> int:
    """Where a key lies in the space of distances."""
    return int.from_bytes(hashlib.sha256(key).digest(), "big")


def peer_position(peer: PeerId) -> int:
    return position(peer_id_bytes(peer))


class RoutingTable:
    """Peers that answer, up to NEAREST for each length of the prefix shared with the local peer."""

    def __init__(self, local_peer: PeerId) -> None:
        self._local_peer = local_peer
        self._own = peer_position(local_peer)
        self._positions: dict[PeerId, int] = {}
        self._bucket_sizes: defaultdict[int, int] = defaultdict(int)

    def add(self, peer: PeerId) -> bool:
        """True when the peer is new and has a place. Those that are in stay until they fail."""
        if peer == self._local_peer or peer in self._positions:
            return False
        place = peer_position(peer)
        bucket = (place ^ self._own).bit_length()
        if self._bucket_sizes[bucket] >= NEAREST:
            return False
        self._bucket_sizes[bucket] += 1
        self._positions[peer] = place
        return True

    def remove(self, peer: PeerId) -> None:
        place = self._positions.pop(peer, None)
        if place is not None:
            self._bucket_sizes[(place ^ self._own).bit_length()] -= 1

    def nearest(self, target: int, count: int = NEAREST) -> list[PeerId]:
        return heapq.nsmallest(count, self._positions, key=lambda peer: self._positions[peer] ^ target)

    def scattered(self, count: int, seed: bytes) -> list[PeerId]:
        """Peers from all over the space, the same ones for the same seed and table."""
        return heapq.nsmallest(
            count, self._positions, key=lambda peer: position(seed + self._positions[peer].to_bytes(32, "big"))
        )

    def __len__(self) -> int:
        return len(self._positions)


class Walk:
    """Asks the peers nearest to `target` for nearer ones until the nearest NEAREST have answered.

    `next_peer` gives whom to ask now; every peer that it gave comes back by `answered` or `failed`.
    """

    def __init__(self, target: int, start: Iterable[PeerId], local_peer: PeerId) -> None:
        self._target = target
        self._distance: dict[PeerId, int] = {}
        self._state: dict[PeerId, str] = {}  # new, asked, answered, failed
        self._local_peer = local_peer
        self._asked = 0
        self._asking = 0
        self._learn(start)

    def _learn(self, peers: Iterable[PeerId]) -> None:
        for peer in peers:
            if peer != self._local_peer and peer not in self._state and len(self._state) < _KNOWN_MAX:
                self._state[peer] = "new"
                self._distance[peer] = peer_position(peer) ^ self._target

    def next_peer(self) -> PeerId | None:
        if self._asking >= _PARALLEL or self._asked >= _ASKED_MAX:
            return None
        for peer in self._near(lambda state: state != "failed"):
            if self._state[peer] == "new":
                self._state[peer] = "asked"
                self._asked += 1
                self._asking += 1
                return peer
        return None

    def answered(self, peer: PeerId, nearer: Iterable[PeerId]) -> None:
        self._asking -= 1
        self._state[peer] = "answered"
        self._learn(nearer)

    def failed(self, peer: PeerId) -> None:
        self._asking -= 1
        self._state[peer] = "failed"

    @property
    def asking(self) -> int:
        return self._asking

    def nearest(self) -> list[PeerId]:
        """The nearest peers that answered, nearest first."""
        return self._near(lambda state: state == "answered")

    def _near(self, wanted: Callable[[str], bool]) -> list[PeerId]:
        known = (peer for peer, state in self._state.items() if wanted(state))
        return heapq.nsmallest(NEAREST, known, key=self._distance.__getitem__)


@dataclass(frozen=True, slots=True)
class Provider:
    """One peer that says it has a key, until `expires_s` on the caller's clock."""

    peer: PeerId
    addresses: tuple[str, ...]
    expires_s: float


class ProviderTable:
    """Who provides what, as far as others told us. Bounded per key, per peer and in all."""

    def __init__(self, *, per_key: int = 64, per_peer: int = 16_384, records: int = 65_536) -> None:
        self._per_key = per_key
        self._per_peer = per_peer
        self._records = records
        self._by_key: dict[bytes, dict[PeerId, Provider]] = {}
        self._by_peer: dict[PeerId, OrderedDict[bytes, None]] = {}  # oldest record first
        self._count = 0

    def add(self, key: bytes, provider: Provider) -> bool:
        """False when there is no room. A full table makes room at the expense of whoever fills it most."""
        holders = self._by_key.get(key, {})
        keys = self._by_peer.get(provider.peer, OrderedDict())
        if provider.peer in holders:
            self._by_key[key][provider.peer] = provider
            keys.move_to_end(key)
            return True
        if len(holders) >= self._per_key or len(keys) >= self._per_peer:
            return False
        if self._count >= self._records:
            greediest = max(self._by_peer, key=lambda peer: len(self._by_peer[peer]))
            self._remove(next(iter(self._by_peer[greediest])), greediest)
        self._by_key.setdefault(key, {})[provider.peer] = provider
        self._by_peer.setdefault(provider.peer, OrderedDict())[key] = None
        self._count += 1
        return True

    def providers(self, key: bytes, now_s: float) -> list[Provider]:
        """Those whose record has not expired, the latest first."""
        found = [item for item in self._by_key.get(key, {}).values() if item.expires_s > now_s]
        return sorted(found, key=lambda item: item.expires_s, reverse=True)

    def expire(self, now_s: float) -> None:
        for key, holders in list(self._by_key.items()):
            for provider in list(holders.values()):
                if provider.expires_s <= now_s:
                    self._remove(key, provider.peer)

    def _remove(self, key: bytes, peer: PeerId) -> None:
        holders, keys = self._by_key[key], self._by_peer[peer]
        del holders[peer], keys[key]
        if not holders:
            del self._by_key[key]
        if not keys:
            del self._by_peer[peer]
        self._count -= 1

    def __len__(self) -> int:
        return self._count
