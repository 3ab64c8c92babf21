"""The members: nodes whose statements are known and valid (docs/spec/membership.md, 2). Pure."""

import statistics
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from node.core.agenda import Agenda
from node.core.placement import Member, Orders, weight_of
from protocol.limits import STATEMENT_VALID_S
from protocol.site_id import SiteId
from protocol.statement import SignedStatement, Takes

# Some 3 KB each with 1,000 sites. A federation that grows past this needs another way to know its members.
MEMBERS_MAX = 20_000
# So many of one network are taken in any case; when there are many members, at most this share of them.
NETWORK_MEMBERS = 8
NETWORK_SHARE = 0.05
# Clocks of servers differ by less; what is later is a lie or a broken clock.
AHEAD_MAX_S = 600
# Peers whose clocks are compared with this node's; with fewer than the least, its own is believed.
CLOCKS = 64
CLOCKS_MIN = 3


@dataclass(frozen=True, slots=True)
class Known:
    """A member as this node knows it. network: see node/core/networks.py."""

    signed: SignedStatement
    network: str

    @property
    def willing(self) -> bool:
        """Takes sites of anybody."""
        return self.signed.statement.takes is Takes.OPEN


class Members:
    """At most `MEMBERS_MAX`, and of one network at most a share, so that no flood drives the others out."""

    def __init__(self) -> None:
        self.orders = Orders()
        self._known: dict[SiteId, Known] = {}
        self._networks: Counter[str] = Counter()
        self._expiries: Agenda[SiteId] = Agenda()

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[Known]:
        return iter(self._known.values())

    def get(self, node: SiteId) -> Known | None:
        return self._known.get(node)

    def take(self, wall_s: float, signed: SignedStatement, network: str) -> bool:
        """True when it was news. wall_s: Unix time, as `Clock.now_s` gives it."""
        old = self._known.get(signed.node)
        # One that was taken while this node's clock was wrong must not keep those out that are made now.
        if old is not None and signed.made_s <= old.signed.made_s <= wall_s + AHEAD_MAX_S:
            return False
        if not wall_s - STATEMENT_VALID_S < signed.made_s <= wall_s + AHEAD_MAX_S:
            return False
        if (old is None or old.network != network) and not self._has_room_for(network):
            return False
        if old is not None:
            self._networks[old.network] -= 1
        self._networks[network] += 1
        known = self._known[signed.node] = Known(signed, network)
        self._expiries.set(signed.node, signed.made_s + STATEMENT_VALID_S)
        self._put_in_order(known)
        return True

    def forget(self, node: SiteId) -> None:
        """Its statement is of no use. Unknown ones are fine."""
        if (known := self._known.pop(node, None)) is not None:
            self._networks[known.network] -= 1
            self._expiries.drop(node)
            self.orders.remove(node)

    def expire(self, wall_s: float) -> list[SiteId]:
        """Forgets members whose statements are too old, and names them."""
        gone = self._expiries.due(wall_s)
        for node in gone:
            self._networks[self._known.pop(node).network] -= 1
            self.orders.remove(node)
        return gone

    def _put_in_order(self, known: Known) -> None:
        statement = known.signed.statement
        if known.willing:
            weight = weight_of(statement.room_bytes)
            self.orders.set(Member(statement.node, weight, statement.operator, known.network))
        else:
            self.orders.remove(statement.node)

    def _has_room_for(self, network: str) -> bool:
        if len(self._known) >= MEMBERS_MAX:
            return False
        share = max(NETWORK_MEMBERS, NETWORK_SHARE * len(self._known))
        return not network or self._networks[network] < share


class Clock:
    """Unix time, put right by what connected peers' clocks show when it is this node's that is wrong."""

    def __init__(self) -> None:
        self._ahead_s: dict[SiteId, float] = {}

    def heard(self, node: SiteId, wall_s: float, their_wall_s: float) -> None:
        """A peer, connected under its key, says what its clock shows. Each has one voice; the oldest are forgotten."""
        self._ahead_s.pop(node, None)
        self._ahead_s[node] = their_wall_s - wall_s
        if len(self._ahead_s) > CLOCKS:
            del self._ahead_s[next(iter(self._ahead_s))]

    @property
    def off_s(self) -> float:
        """How much later it is than this node's clock says; 0 unless most peers agree that it is far off."""
        if len(self._ahead_s) < CLOCKS_MIN:
            return 0.0
        median_s = statistics.median(self._ahead_s.values())
        return median_s if abs(median_s) > AHEAD_MAX_S else 0.0

    def now_s(self, wall_s: float) -> float:
        return wall_s + self.off_s
