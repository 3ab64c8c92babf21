"""In which order nodes are asked to host a site (docs/spec/membership.md, 4). Pure.

Everybody who knows the same members finds the same order without talking: rendezvous hashing, weighted by room. It
is then spread, so that the first few differ in operator and network as far as the members allow.
"""

import bisect
import heapq
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from protocol.site_id import SiteId

_DOMAIN = b"fednode/placement/1\0"
# Twice the room is twice the sites; above and below, a node neither gets everything nor nothing.
_WEIGHT_MAX = 64
_WEIGHT_UNIT_BYTES = 4 * 1024**3
_UNKNOWN = frozenset({("operator", ""), ("network", "")})
# The best by score, of which the order is dealt; more than any order is asked for, and few enough to keep for a site.
TOP = 64
# Orders that are kept, of those asked for last: 6 KB each. Anyone can ask about any number of sites.
ORDERS_MAX = 4096


@dataclass(frozen=True, slots=True)
class Member:
    """What the order depends on. network: the part of its address that whoever gives out addresses chose, or "".

    weight: see `weight_of`. operator: as stated, "" if not.
    """

    node: SiteId
    weight: int
    operator: str = ""
    network: str = ""


def weight_of(room_bytes: int) -> int:
    """A power of two: it seldom changes, and a change moves sites."""
    units = max(1, min(_WEIGHT_MAX, room_bytes // _WEIGHT_UNIT_BYTES))
    return 1 << (units.bit_length() - 1)


def score(site: SiteId, member: Member) -> float:
    """The higher, the earlier; over many sites, members come first in proportion to their weights."""
    drawn = int.from_bytes(sha256(_DOMAIN + site + member.node).digest()[:8], "big")
    return -member.weight / math.log((drawn + 0.5) / 2**64)


def deal(by_score: Sequence[Member], limit: int) -> list[Member]:
    """The first `limit` members to be asked, in order.

    In each turn every operator and every network comes once, before any comes again: one operator or provider has
    the first copies to itself only if there is nobody else.
    """
    waiting: Sequence[Member] = by_score
    found: list[Member] = []
    while waiting and len(found) < limit:
        seen: set[tuple[str, str]] = set()
        later: list[Member] = []
        for member in waiting:
            groups = {("operator", member.operator), ("network", member.network)} - _UNKNOWN
            if seen & groups:
                later.append(member)
            else:
                seen |= groups
                found.append(member)
        waiting = later
    return found[:limit]


class Orders:
    """The orders of the sites that are asked for, kept up as members come and go."""

    def __init__(self) -> None:
        self._members: dict[SiteId, Member] = {}
        # Ascending, at most TOP, at least half of it; the sites asked for last are at the end.
        self._tops: OrderedDict[SiteId, list[tuple[float, SiteId]]] = OrderedDict()

    def __len__(self) -> int:
        """How many sites' orders are kept."""
        return len(self._tops)

    def set(self, member: Member) -> None:
        """Add a member, or what has changed of it."""
        known = self._members.get(member.node)
        if known is not None and known.weight != member.weight:
            self.remove(member.node)
            known = None
        self._members[member.node] = member
        if known is None:
            for site, top in self._tops.items():
                entry = (score(site, member), member.node)
                if len(top) == len(self._members) - 1 < TOP or (top and entry > top[0]):
                    bisect.insort(top, entry)
                    del top[: max(0, len(top) - TOP)]

    def remove(self, node: SiteId) -> None:
        """Unknown ones are fine."""
        if self._members.pop(node, None) is None:
            return
        for site, top in list(self._tops.items()):
            kept = [entry for entry in top if entry[1] != node]
            if len(kept) < TOP // 2 <= len(self._members):
                del self._tops[site]  # worked out anew when it is asked for
            else:
                self._tops[site] = kept

    def first(self, site: SiteId, limit: int) -> list[Member]:
        """The first members to be asked to host the site: at most `limit`, itself at most TOP / 2."""
        top = self._tops.get(site)
        if top is None:
            scored = ((score(site, member), node) for node, member in self._members.items())
            top = self._tops[site] = sorted(heapq.nlargest(TOP, scored))
            if len(self._tops) > ORDERS_MAX:
                self._tops.popitem(last=False)
        self._tops.move_to_end(site)
        return deal([self._members[node] for _, node in reversed(top)], min(limit, TOP // 2))

    def among(self, site: SiteId, nodes: Iterable[SiteId]) -> list[Member]:
        """The order of these alone, without those that are no members."""
        members = [member for node in nodes if (member := self._members.get(node)) is not None]
        members.sort(key=lambda member: (score(site, member), member.node), reverse=True)
        return deal(members, len(members))

    def beyond(self, site: SiteId, limit: int, among: Callable[[SiteId], bool]) -> list[Member]:
        """The first of these members alone. Looks at every member each time."""
        scored = ((score(site, member), node) for node, member in self._members.items() if among(node))
        return deal([self._members[node] for _, node in heapq.nlargest(TOP, scored)], limit)

    def place(self, site: SiteId, node: SiteId, among: Callable[[SiteId], bool]) -> float:
        """How many of these members have a higher score than this one; infinite when it is no member itself."""
        member = self._members.get(node)
        if member is None:
            return math.inf
        mine = score(site, member)
        others = (other for other in self._members.values() if other.node != node and among(other.node))
        return sum(score(site, other) > mine for other in others)

    def forget(self, site: SiteId) -> None:
        """Nobody will ask for this site's order soon."""
        self._tops.pop(site, None)
