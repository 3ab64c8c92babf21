"""How fast peers sent blocks lately, so that the fastest are asked first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from node.net.port import PeerId

PEERS_MAX = 4096
NEW_SHARE = 0.5


class Speeds:
    """Bounded: of more than `PEERS_MAX` peers, the one that sent nothing for longest is forgotten."""

    def __init__(self) -> None:
        self._bytes_per_s: OrderedDict[PeerId, float] = OrderedDict()

    def note(self, peer: PeerId, sent_bytes: int, within_s: float) -> None:
        """The peer sent so much within that time, in which it could have sent all along."""
        speed = sent_bytes / max(within_s, 0.001)
        known = self._bytes_per_s.get(peer, speed)
        self._bytes_per_s[peer] = known + NEW_SHARE * (speed - known)
        self._bytes_per_s.move_to_end(peer)
        while len(self._bytes_per_s) > PEERS_MAX:
            self._bytes_per_s.popitem(last=False)

    def fastest_first(self, peers: Iterable[PeerId]) -> list[PeerId]:
        """Each once. A peer that was never tried stands in the middle: before those that are slower than average."""
        found = list(dict.fromkeys(peers))
        known = [self._bytes_per_s[peer] for peer in found if peer in self._bytes_per_s]
        untried = sum(known) / len(known) if known else 0.0
        return sorted(found, key=lambda peer: self._bytes_per_s.get(peer, untried), reverse=True)
