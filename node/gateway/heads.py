"""Which release of a site to serve: the held one, or for a site that is not hosted here, what other nodes know."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace

import trio

from node.gateway.backend import Backend, Unavailable
from node.gateway.limits import RESOLVED_FRESH_S, SITES_CACHED_MAX, UNRESOLVED_FRESH_S
from node.gateway.view import StoreView
from protocol.cid import Cid
from protocol.release import Release, SignedRelease
from protocol.site_id import SiteId


class SiteEnded(Exception):
    """The publisher ended the site with `release`."""

    def __init__(self, release: Release) -> None:
        super().__init__(str(release.site))
        self.release = release


class NotHosted(Exception):
    """The site is not hosted here, and other nodes are not asked."""


@dataclass(frozen=True, slots=True)
class Current:
    """What to serve. may_fetch: other nodes may be asked for its blocks."""

    site: SiteId
    seq: int
    root: Cid
    may_fetch: bool
    signed: SignedRelease

    @property
    def site_root(self) -> Cid:
        """Root of the whole site, where `root` is that of a part of it."""
        return self.signed.release.root or self.root


class Heads:
    """Finds the release to serve."""

    def __init__(self, view: StoreView, backend: Backend, *, fetch_on_miss: bool) -> None:
        self._view = view
        self._backend = backend
        self._fetch_on_miss = fetch_on_miss
        self._resolved: OrderedDict[SiteId, tuple[float, SignedRelease | Unavailable]] = OrderedDict()

    async def current(self, site: SiteId) -> Current:
        """Raises SiteEnded, NotHosted, Unavailable. A held release is served until the next one is all here."""
        record = self._view.site(site)
        if record is not None and record.ended:
            raise SiteEnded(record.head.release)
        if record is not None and record.held is not None:
            return _current(record.held)
        if not self._fetch_on_miss:
            raise NotHosted
        signed = await self._resolve(site)
        if record is not None and record.head.seq > signed.seq:
            signed = record.head  # other nodes lag behind, or lie
        return _current(signed)

    def holding(self, cid: Cid) -> list[Current]:
        """What hosted sites have that block, each with it as the root to serve from; not more than are looked at."""
        found = []
        for site in self._view.sites_of(cid):
            record = self._view.site(site)
            if record is not None and record.held is not None and not record.ended:
                found.append(replace(_current(record.held), root=cid))
        return found

    async def _resolve(self, site: SiteId) -> SignedRelease:
        """Asks the daemon, unless it was asked a moment ago."""
        until, answer = self._resolved.get(site, (0.0, None))
        if answer is None or trio.current_time() >= until:
            try:
                answer = await self._backend.resolve(site)
            except Unavailable as error:
                answer = error
            self._remember(site, answer)
        if isinstance(answer, Unavailable):
            raise Unavailable(answer.kind, answer.reason)
        return answer

    def _remember(self, site: SiteId, answer: SignedRelease | Unavailable) -> None:
        fresh_s = UNRESOLVED_FRESH_S if isinstance(answer, Unavailable) else RESOLVED_FRESH_S
        self._resolved[site] = (trio.current_time() + fresh_s, answer)
        self._resolved.move_to_end(site)
        if len(self._resolved) > SITES_CACHED_MAX:
            self._resolved.popitem(last=False)


def _current(signed: SignedRelease) -> Current:
    release = signed.release
    if release.ended or release.root is None:
        raise SiteEnded(release)
    return Current(release.site, release.seq, release.root, may_fetch=True, signed=signed)
