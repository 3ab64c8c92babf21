"""Whom to ask for proofs next (docs/spec/membership.md, 5). Pure."""

import random
from collections.abc import Iterable

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


class Auditing:
    """The audits that this node makes of those that host its sites."""

    def __init__(self, rng: random.Random, copies: Copies) -> None:
        self._rng = rng
        self._copies = copies
        self._next: Agenda[SiteId] = Agenda()
        self._calls: dict[SiteId, float] = {}

    def met(self, now_s: float, node: SiteId) -> None:
        """The node says that it hosts sites of ours: ask it, soon if it was not asked lately."""
        if node not in self._next and node not in self._calls:
            self._next.set(node, now_s + SOON_S * self._rng.uniform(0.5, 1.5))

    def forget(self, node: SiteId) -> None:
        self._next.drop(node)

    def due(self, now_s: float) -> list[fx.Audit]:
        """At most one."""
        for node in [node for node, began_s in self._calls.items() if began_s + CALL_MAX_S < now_s]:
            self._end(now_s, node)
        if len(self._calls) >= CALLS_MAX:
            return []
        for node in self._next.due(now_s, 1):
            if sites := self._choose(node):
                self._calls[node] = now_s
                return [fx.Audit(node, sites)]
        return []

    def answered(
        self, now_s: float, node: SiteId, proved: Iterable[SiteId], failed: Iterable[SiteId], *, silent: bool
    ) -> None:
        """What became of `Audit`. Silence proves nothing: the node's last contact grows old by itself."""
        self._end(now_s, node)
        if silent:
            return
        for site in failed:
            self._copies.failed(now_s, site, node)
        for site in proved:
            self._copies.proved(now_s, site, node)

    def _end(self, now_s: float, node: SiteId) -> None:
        self._calls.pop(node, None)
        if self._copies.sites_of(node):
            self._next.set(node, now_s + EVERY_S * self._rng.uniform(0.75, 1.25))

    def _choose(self, node: SiteId) -> tuple[SiteId, ...]:
        """Of some sites drawn at random, those whose proofs are oldest: nobody can tell which, and none is left out."""
        sites = self._copies.sites_of(node)
        drawn = self._rng.sample(list(sites), min(_SAMPLE, len(sites)))
        drawn.sort(key=lambda site: sites[site].proved_s or 0.0)
        return tuple(drawn[:SITES_AT_ONCE])
