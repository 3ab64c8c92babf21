"""Whom to ask for proofs next (docs/spec/membership.md, 5). Pure."""

import random
from collections.abc import Collection

from node.core import effects as fx
from node.core.agenda import Agenda
from node.core.copies import Copies
from protocol.site_id import SiteId

# Of two nodes, each asks the other so often at best; with many nodes the rounds are longer, one question a second.
EVERY_S = 600.0
# Who has just stated something new is asked soon.
SOON_S = 30.0
SITES_AT_ONCE = 4
_SAMPLE = 16
CALLS_MAX = 4
CALL_MAX_S = 120.0
# A site that only a node's filter names, and that it does not have, is asked for again so much later.
HINT_AGAIN_S = 24 * 3600.0


class Auditing:
    """The audits that this node makes of those that host its sites."""

    def __init__(self, rng: random.Random, copies: Copies) -> None:
        self._rng = rng
        self._copies = copies
        self._next: Agenda[SiteId] = Agenda()
        self._calls: dict[SiteId, float] = {}
        self._resting: set[SiteId] = set()  # those that had nothing of what their filters named

    @property
    def round_s(self) -> float:
        """How long it takes to ask every node once, at one a second."""
        return max(EVERY_S, float(len(self._next) - len(self._resting)))

    def met(self, now_s: float, node: SiteId) -> None:
        """The node says that it hosts sites of ours: ask it, soon if it was not asked lately."""
        if node in self._resting and self._open(now_s, node):
            self.forget(node)
        if node not in self._next and node not in self._calls:
            self._next.set(node, now_s + SOON_S * self._rng.uniform(0.5, 1.5))

    def forget(self, node: SiteId) -> None:
        self._next.drop(node)
        self._resting.discard(node)

    def due(self, now_s: float) -> list[fx.Audit]:
        """At most one."""
        for node in [node for node, began_s in self._calls.items() if began_s + CALL_MAX_S < now_s]:
            self._end(now_s, node)
        if len(self._calls) >= CALLS_MAX:
            return []
        for node in self._next.due(now_s, 1):
            self._resting.discard(node)
            if sites := self._choose(now_s, node):
                self._calls[node] = now_s
                return [fx.Audit(node, sites)]
        return []

    def answered(
        self, now_s: float, node: SiteId, proved: Collection[SiteId], failed: Collection[SiteId], *, silent: bool
    ) -> None:
        """What became of `Audit`. Silence proves nothing: the node's last contact grows old by itself."""
        if silent:
            self._copies.unreached(now_s, node)
        else:
            self._copies.audited(now_s, node, proved, failed)
        self._end(now_s, node)

    def _end(self, now_s: float, node: SiteId) -> None:
        self._calls.pop(node, None)
        if self._open(now_s, node):
            self._next.set(node, now_s + EVERY_S * self._rng.uniform(0.75, 1.25))
        elif self._copies.sites_of(node):
            self._resting.add(node)
            self._next.set(node, now_s + HINT_AGAIN_S * self._rng.uniform(0.75, 1.25))

    def _open(self, now_s: float, node: SiteId) -> list[SiteId]:
        """The sites to ask it for: all but those that its filter names by mistake, as it seems."""
        sites = self._copies.sites_of(node)
        return [
            site
            for site, copy in sites.items()
            if copy.said or copy.restated or not copy.failed or copy.asked_s < now_s - HINT_AGAIN_S / 2
        ]

    def _choose(self, now_s: float, node: SiteId) -> tuple[SiteId, ...]:
        """Of some sites drawn at random, those asked for longest ago: nobody can tell which, and none is left out."""
        sites, among = self._copies.sites_of(node), self._open(now_s, node)
        drawn = self._rng.sample(among, min(_SAMPLE, len(among)))
        drawn.sort(key=lambda site: sites[site].asked_s)
        return tuple(drawn[:SITES_AT_ONCE])
