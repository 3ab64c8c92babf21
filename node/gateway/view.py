"""What this worker knows of rules and sites: kept in memory until the store says that something changed."""

from __future__ import annotations

import logging
from collections import OrderedDict

from node.gateway.limits import SITES_CACHED_MAX
from node.policy.decide import Policy
from node.policy.model import ALLOW, Act, Subject, Verdict
from node.policy.rules import rules_of
from node.store.port import SiteRecord, StoreReader
from protocol.cid import Cid
from protocol.site_id import SiteId

log = logging.getLogger(__name__)


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
    """Each question first asks the store, in microseconds, whether what is kept here still holds.

    Errors of the store go through: without its rules nothing may be served.
    """

    def __init__(self, reader: StoreReader) -> None:
        self._reader = reader
        self._rules_version: int | None = None
        self._policy = Policy()
        self._data_version: int | None = None
        self._sites: OrderedDict[SiteId, SiteRecord | None] = OrderedDict()
        self._hosted: list[SiteId] | None = None

    @property
    def rules_version(self) -> int:
        """Changes with any rule."""
        return self._reader.rules_version()

    def policy(self) -> Policy:
        """The rules in force now."""
        version = self._reader.rules_version()
        if version != self._rules_version:
            self._policy = Policy(rules_of(self._reader.rules()))
            self._rules_version = version
            log.debug("rules were read again")
        return self._policy

    def decide(self, site: SiteId, root: Cid | None, paths: tuple[str, ...], trail: tuple[Cid, ...]) -> Verdict:
        """May this be served? One thing may be reached under several paths: the first refusal counts."""
        policy = self.policy()
        for path in paths:
            verdict = policy.decide(Act.HTTP_SERVE, Subject(site=site, root=root, path=path, trail=trail))
            if not verdict.allowed:
                return verdict
        return ALLOW

    def ask(self, site: SiteId, root: Cid | None, paths: tuple[str, ...], trail: tuple[Cid, ...]) -> None:
        """As decide; raises Refused."""
        insist(self.decide(site, root, paths, trail))

    def site(self, site: SiteId) -> SiteRecord | None:
        """What the node has of a site."""
        self._refresh()
        try:
            self._sites.move_to_end(site)
        except KeyError:
            self._sites[site] = self._reader.site(site)
            if len(self._sites) > SITES_CACHED_MAX:
                self._sites.popitem(last=False)
        return self._sites[site]

    def hosted(self) -> list[SiteId]:
        """The sites whose blocks are all here."""
        self._refresh()
        if self._hosted is None:
            self._hosted = [record.site for record in self._reader.sites() if record.held is not None]
        return self._hosted

    def _refresh(self) -> None:
        version = self._reader.data_version()
        if version != self._data_version:
            self._sites.clear()
            self._hosted = None
            self._data_version = version
