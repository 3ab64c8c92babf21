"""In which order nodes are asked to host a site (docs/spec/membership.md, 4). Pure.

Everybody who knows the same members finds the same order without talking: rendezvous hashing, weighted by room. It
is then spread, so that the first few differ in operator and network as far as the members allow.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from protocol.site_id import SiteId

_DOMAIN = b"fednode/placement/1\0"
# Twice the room is twice the sites; above and below, a node neither gets everything nor nothing.
_WEIGHT_MIN, _WEIGHT_MAX = 1, 64
_WEIGHT_UNIT_BYTES = 4 * 1024**3
_UNKNOWN = frozenset({("operator", ""), ("network", "")})


@dataclass(frozen=True, slots=True)
class Member:
    """What the order depends on. network: the part of its address that whoever gives out addresses chose, or "".

    operator, region: as stated, "" if not. lists: digests of the lists that it enforces.
    """

    node: SiteId
    room_bytes: int
    operator: str = ""
    network: str = ""
    region: str = ""
    lists: tuple[bytes, ...] = ()

    @property
    def weight(self) -> int:
        return max(_WEIGHT_MIN, min(_WEIGHT_MAX, self.room_bytes // _WEIGHT_UNIT_BYTES))


def score(site: SiteId, member: Member) -> float:
    """The higher, the earlier; over many sites, members come first in proportion to their weights."""
    drawn = int.from_bytes(sha256(_DOMAIN + site + member.node).digest()[:8], "big")
    return -member.weight / math.log((drawn + 0.5) / 2**64)


def order(site: SiteId, members: Iterable[Member], limit: int) -> list[Member]:
    """The first `limit` members to be asked, in order.

    In each turn every operator and every network comes once, before any comes again: one operator or provider has
    the first copies to itself only if there is nobody else.
    """
    waiting = sorted(members, key=lambda member: (score(site, member), member.node), reverse=True)
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
