"""Which domains of sites that are hosted elsewhere a proxy may get certificates for. docs/spec/gateway.md, 12."""

from __future__ import annotations

import trio

from node.gateway.backend import Unavailable
from node.gateway.certificate_budget import Grant
from node.gateway.domains import Target
from node.gateway.heads import Heads, NotHosted, SiteEnded
from node.gateway.view import StoreView
from protocol.site_id import SiteId

WAIT_S = 10.0  # for the head; a reader waits for the certificate


class Certificates:
    """A worker's side."""

    def __init__(self, view: StoreView, heads: Heads, grant: Grant) -> None:
        self._view = view
        self._heads = heads
        self._grant = grant

    async def may_have(self, name: str, target: Target) -> bool:
        """Whether readers get something under the domain, and it is one of a site held here, or not one too many."""
        if not target.must_list:
            return True
        if not await self._is_readable(name, target):
            return False
        try:
            return await self._grant(name)
        except Unavailable:
            return False

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
