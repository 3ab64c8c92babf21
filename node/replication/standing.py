"""What peers did wrong, counted; who does it too often is not listened to for a while."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

PEERS_MAX = 4096
# Lagging behind is honest as a rule; a bad signature never is.
WEIGHTS = {"stale-release": 1, "peer-timeout": 1, "missing-block": 2, "audit-failed": 5}
# The network's doing, a peer of another kind, or a peer that is free to refuse.
NO_FAULTS = frozenset(
    {"peer-unreachable", "peer-gone", "protocol-unsupported", "network-stopped", "bad-address", "source-refuses"}
)
WEIGHT_DEFAULT = 10
# Ten plain lies, or a hundred stale heads, within the time in which a score halves.
SCORE_MAX = 100.0
HALF_LIFE_S = 600.0
# After it the peer is heard again; one more fault and it is out again.
BAN_S = 120.0


@dataclass(slots=True)
class Record:
    """One peer's faults by code, and a score that decays."""

    faults: Counter[str] = field(default_factory=Counter)
    score: float = 0.0
    scored_at_s: float = 0.0


class Standing:
    """Bounded: of more than `PEERS_MAX` faulty peers, the one that was quiet for longest is forgotten."""

    def __init__(self) -> None:
        self.on_shunned: Callable[[str], None] = lambda _: None
        self._records: OrderedDict[str, Record] = OrderedDict()
        self.totals: Counter[str] = Counter()
        """Faults of all peers by code, those of forgotten peers included."""

    def count(self, now_s: float, peer: str, code: str) -> None:
        """Notes one fault of `peer`; what is nobody's fault is not counted."""
        if code in NO_FAULTS:
            return
        record = self._records.setdefault(peer, Record())
        self._records.move_to_end(peer)
        record.faults[code] += 1
        self.totals[code] += 1
        record.score = self._decayed(record, now_s) + WEIGHTS.get(code, WEIGHT_DEFAULT)
        record.scored_at_s = now_s
        while len(self._records) > PEERS_MAX:
            self._records.popitem(last=False)
        if record.score >= SCORE_MAX:
            self.on_shunned(peer)

    def shunned(self, now_s: float, peer: str) -> bool:
        """Should this peer's streams be refused for now?"""
        record = self._records.get(peer)
        return record is not None and self._decayed(record, now_s) >= SCORE_MAX

    def faults(self, peer: str) -> dict[str, int]:
        """Fault counts by code, for `fednode peers`."""
        record = self._records.get(peer)
        return dict(record.faults) if record else {}

    @staticmethod
    def _decayed(record: Record, now_s: float) -> float:
        halvings: float = (now_s - record.scored_at_s) / HALF_LIFE_S
        return float(record.score * 0.5**halvings)
