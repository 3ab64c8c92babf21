"""What this worker knows of rules and sites: kept in memory until the store says that something changed."""

from __future__ import annotations

import time
from collections import OrderedDict

from node.gateway.limits import SITES_CACHED_MAX
from node.policy.decide import Policy
from node.policy.model import ALLOW, Act, Subject, Verdict
from node.policy.rules import rules_of
from node.store.port import SiteRecord, StoreReader
from protocol.cid import Cid
from protocol.site_id import SiteId

SAME_MOMENT_S = 0.001  # questions of one request, asked one after the other


class Refused(Exception):
    """Policy forbids it."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.reason)
        self.verdict = verdict


def insist(verdict: Verdict) -> None:
    """Raises Refused unless the verdict allows."""
    if not verdict.allowed:
        raise Refused(verdict)


class StoreView:
    """Asks the store, in microseconds, whether what is kept here still holds: for every request, and again whenever
    more than SAME_MOMENT_S went by. Errors of the store go through: without its rules nothing may be served."""

    def __init__(self, reader: StoreReader) -> None:
        self._reader = reader
        self._checked_s = float("-inf")
        self._data_version: int | None = None
        self._policy = Policy()
        self._sites: OrderedDict[SiteId, SiteRecord | None] = OrderedDict()
        self._hosted: list[SiteId] | None = None
        self.rules_version: int | None = None
        """Changes with any rule."""

    def refresh(self, *, same_moment_s: float = 0.0) -> None:
        """See what has changed in the store, unless that was done within the last `same_moment_s`."""
        now = time.monotonic()
        if now - self._checked_s < same_moment_s:
            return
        version = self._reader.data_version()
        if version != self._data_version:
            rules_version = self._reader.rules_version()
            if rules_version != self.rules_version:
                self._policy = Policy(rules_of(self._reader.rules()))
                self.rules_version = rules_version
            self._sites.clear()
            self._hosted = None
            self._data_version = version
        self._checked_s = now

    def decide(self, site: SiteId, root: Cid | None, paths: tuple[str, ...], trail: tuple[Cid, ...]) -> Verdict:
        """May this be served? One thing may be reached under several paths: the first refusal counts."""
        self.refresh(same_moment_s=SAME_MOMENT_S)
        for path in paths:
            verdict = self._policy.decide(Act.HTTP_SERVE, Subject(site=site, root=root, path=path, trail=trail))
            if not verdict.allowed:
                return verdict
        return ALLOW

    def ask(self, site: SiteId, root: Cid | None, paths: tuple[str, ...], trail: tuple[Cid, ...]) -> None:
        """As decide; raises Refused."""
        insist(self.decide(site, root, paths, trail))

    def site(self, site: SiteId) -> SiteRecord | None:
        """What the node has of a site."""
        self.refresh(same_moment_s=SAME_MOMENT_S)
        try:
            self._sites.move_to_end(site)
        except KeyError:
            self._sites[site] = self._reader.site(site)
            if len(self._sites) > SITES_CACHED_MAX:
                self._sites.popitem(last=False)
        return self._sites[site]

    def hosted(self) -> list[SiteId]:
        """The sites whose blocks are all here."""
        self.refresh(same_moment_s=SAME_MOMENT_S)
        if self._hosted is None:
            self._hosted = [record.site for record in self._reader.sites() if record.held is not None]
        return self._hosted
