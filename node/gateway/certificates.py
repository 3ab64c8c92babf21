"""Which domains of sites that are hosted elsewhere a proxy may get certificates for. docs/spec/gateway.md, 12.

Anybody can have a site list a domain of theirs. Authorities limit how many certificates one account gets, and what
strangers use up the sites that are hosted here would lack: so there are few for strangers.
"""

from __future__ import annotations

from collections import OrderedDict

import trio

from node.gateway.backend import Unavailable
from node.gateway.domains import Target
from node.gateway.heads import Heads, NotHosted, SiteEnded
from node.gateway.view import StoreView
from protocol.site_id import SiteId

NEW_PER_HOUR = 24  # of all workers; Let's Encrypt gives an account 300 in three hours
HOUR_S = 3600.0
REMEMBERED_MAX = 1024
WAIT_S = 10.0  # for the head; a reader waits for the certificate


class Certificates:
    """Counts the names that were not asked for before."""

    def __init__(self, view: StoreView, heads: Heads, workers: int) -> None:
        """workers: among whom what there is for strangers is divided."""
        self._view = view
        self._heads = heads
        self._new_per_hour = max(1, NEW_PER_HOUR // workers)
        self._given: OrderedDict[str, float] = OrderedDict()

    async def may_have(self, name: str, target: Target) -> bool:
        """Whether readers get something under the domain, and it is one of a site held here, or not one too many."""
        if not target.must_list:
            return True
        return await self._is_readable(name, target) and self._count(name)

    async def _is_readable(self, name: str, target: Target) -> bool:
        site = target.owner
        if not isinstance(site, SiteId) or not self._view.decide(site, None, ("",), (), (name,)).allowed:
            return False
        try:
            with trio.fail_after(WAIT_S):
                current = await self._heads.current(site)
        except (Unavailable, NotHosted, SiteEnded, trio.TooSlowError):
            return False
        return name in current.domains and self._view.decide(site, current.root, ("",), (), current.domains).allowed

    def _count(self, name: str) -> bool:
        """A name that was allowed stays so: a proxy asks again when it renews."""
        now_s = trio.current_time()
        if name not in self._given:
            if sum(given_s > now_s - HOUR_S for given_s in self._given.values()) >= self._new_per_hour:
                return False
            self._given[name] = now_s
            if len(self._given) > REMEMBERED_MAX:
                self._given.popitem(last=False)
        return True
