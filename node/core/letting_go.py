"""Sites with more hosts than their publishers ask for, and when this node stops to be one (docs/spec/membership.md, 8).

Pure. Only who comes after the first `max` hosts in the site's order may go, and only after those have just proved that
they hold it. Since all find the same order, the first ones stay, however many go at once.
"""

from collections.abc import Sequence

from node.core import effects as fx
from node.core.agenda import Agenda
from node.core.copies import Copies
from node.core.placement import Orders
from protocol.site_id import SiteId

# Proofs older than this are asked for anew before a site goes.
FRESH_S = 600.0
# Nor are they asked for more often than this, if they do not come, or were forgotten with the site.
ASK_AGAIN_S = 60.0


class LettingGo:
    """Which sites this node need not keep. `me` is the node's key."""

    def __init__(self, me: SiteId, orders: Orders, copies: Copies) -> None:
        self._me = me
        self._orders = orders
        self._copies = copies
        self._since_s: dict[SiteId, float] = {}
        self._asked: Agenda[tuple[SiteId, SiteId]] = Agenda()  # until when not to ask again

    def forget(self, site: SiteId) -> None:
        self._since_s.pop(site, None)

    def look(
        self, now_s: float, site: SiteId, others: Sequence[SiteId], enough_hosts: int, *, wait_s: float | None = None
    ) -> list[fx.Audit | fx.LetGo]:
        """What to do about a site that need not be kept while `enough_hosts` others have it.

        others: those that count as hosts now. wait_s: how long there must have been too many; the grace period unless
        given. A site that too many hosts have costs nothing but room: there is no hurry, and views of who is there
        settle meanwhile.
        """
        # Most sites end here: their order is not asked for.
        if len(others) < enough_hosts or self._me in (first := self._first_of(site, others)[:enough_hosts]):
            self._since_s.pop(site, None)
            return []
        if now_s < self._since_s.setdefault(site, now_s) + (self._copies.grace_s if wait_s is None else wait_s):
            return []
        copies = self._copies.of_site(site)
        unproved = [node for node in first if (copies[node].proved_s or float("-inf")) < now_s - FRESH_S]
        if not unproved:
            self.forget(site)
            return [fx.LetGo(site)]
        self._asked.due(now_s)
        ask = [node for node in unproved if (site, node) not in self._asked]
        for node in ask:
            self._asked.set((site, node), now_s + ASK_AGAIN_S)
        return [fx.Audit(node, (site,)) for node in ask]

    def _first_of(self, site: SiteId, others: Sequence[SiteId]) -> list[SiteId]:
        """The hosts in the site's order; those that are not in it (they take no sites of others) come last, by key.

        In that of the hosts alone: what else each of them knows of makes no difference, or two might go at once.
        """
        hosts = [self._me, *others]
        order = {member.node: place for place, member in enumerate(self._orders.among(site, hosts))}
        return sorted(hosts, key=lambda node: (order.get(node, len(hosts)), node))
