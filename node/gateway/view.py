"""What this worker knows of rules and sites: kept in memory until the store says that something changed."""

from __future__ import annotations

from collections import OrderedDict

import trio

from node.gateway.limits import FILES_CACHED_MAX, HOLDERS_MAX, SITES_CACHED_MAX
from node.gateway.routing import Owner, is_name
from node.policy.decide import Policy
from node.policy.list_files import ListFiles
from node.policy.model import ALLOW, Act, Subject, Verdict
from node.policy.rules import rules_of
from node.store.port import NameRow, SiteRecord, StoreReader
from protocol.cid import Cid
from protocol.errors import OperatorError
from protocol.site_id import SiteId

SAME_MOMENT_S = 0.001  # two questions of one request


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
    """A snapshot of rules and sites. `refresh` asks the store, in microseconds, whether it still holds.

    Whoever serves something refreshes first: at the start of a request, and before each further piece of a body. While
    new rules are read everybody waits for them, so that nothing goes out under old ones. Errors of the store go
    through: without its rules nothing may be served.
    """

    def __init__(self, reader: StoreReader, lists: ListFiles | None = None) -> None:
        self._reader = reader
        self._lists = lists
        self._lists_version = 0
        self._lock = trio.Lock()
        self._checked_s = float("-inf")
        self._data_version: int | None = None
        self._policy = Policy()
        self._sites: OrderedDict[SiteId, SiteRecord | None] = OrderedDict()
        self._served: tuple[int | None, int | None, list[SiteId]] | None = None
        self._listing = trio.Lock()
        self._holders: OrderedDict[Cid, list[SiteId]] = OrderedDict()
        self._trees: OrderedDict[Cid, list[Cid]] = OrderedDict()
        self.rules_version: int | None = None
        """Changes with any rule."""
        self.list_names: frozenset[str] = frozenset()
        """The lists that rules come from."""

    @property
    def version(self) -> int | None:
        """Changes with anything in the store."""
        return self._data_version

    async def refresh(self, *, unless_just_done: bool = False) -> None:
        """Bring the snapshot up to what the store says at the time of the call."""
        now = trio.current_time()
        if unless_just_done and now - self._checked_s < SAME_MOMENT_S:
            return
        if self._has_changed():
            async with self._lock:
                await self._read_again()
        self._checked_s = now

    def is_current(self) -> bool:
        """Whether the snapshot still holds."""
        try:
            return not self._has_changed()
        except OperatorError:
            return False

    def _has_changed(self) -> bool:
        return self._reader.data_version() != self._data_version or self._lists_now() != self._lists_version

    async def _read_again(self) -> None:
        version, lists_version = self._reader.data_version(), self._lists_now()
        if version == self._data_version and lists_version == self._lists_version:
            return
        rules_version = hash((self._reader.rules_version(), lists_version))
        if rules_version != self.rules_version:
            self._policy = await trio.to_thread.run_sync(self._load_policy)
            self.rules_version = rules_version
        self._sites.clear()
        self._holders.clear()
        self._trees.clear()
        self._data_version, self._lists_version = version, lists_version

    def _lists_now(self) -> int:
        return self._lists.version() if self._lists is not None else 0

    def _load_policy(self) -> Policy:
        """Of lists, only what changed is opened anew, whatever else did (node/policy/list_files.py)."""
        lists = self._lists.active() if self._lists is not None else []
        self.list_names = frozenset(each.name for each in lists)
        return Policy(rules_of(self._reader.rules()), lists=lists)

    def decide(
        self,
        site: Owner,
        root: Cid | None,
        paths: tuple[str, ...],
        trail: tuple[Cid, ...],
        domains: tuple[str, ...] = (),
        names: tuple[SiteId | bytes, ...] = (),
    ) -> Verdict:
        """May this be served? One thing may be reached under several paths: the first refusal counts. domains: that
        the release lists, where the node has none of the site. names: that led there."""
        of_site = site if isinstance(site, SiteId) else None
        if isinstance(site, Cid) and is_name(site):
            names = (site.multihash, *names)
        for each in (of_site, *names):
            record = self.site(each) if isinstance(each, SiteId) else None
            if record is not None:
                domains = (*domains, *(record.held or record.head).release.domains)
        for path in paths:
            subject = Subject(site=of_site, root=root, path=path, trail=trail, domains=domains, names=names)
            verdict = self._policy.decide(Act.HTTP_SERVE, subject)
            if not verdict.allowed:
                return verdict
        return ALLOW

    def ask(self, site: Owner, root: Cid | None, paths: tuple[str, ...], trail: tuple[Cid, ...]) -> None:
        """As decide; raises Refused."""
        insist(self.decide(site, root, paths, trail))

    def site(self, site: SiteId) -> SiteRecord | None:
        """What the node has of a site."""
        try:
            self._sites.move_to_end(site)
        except KeyError:
            self._sites[site] = self._reader.site(site)
            if len(self._sites) > SITES_CACHED_MAX:
                self._sites.popitem(last=False)
        return self._sites[site]

    def sites_of(self, cid: Cid) -> list[SiteId]:
        """The hosted sites that have a block; not more than HOLDERS_MAX."""
        found = self._holders.get(cid)
        if found is None:
            found = self._holders[cid] = self._reader.sites_of(cid, limit=HOLDERS_MAX)
            if len(self._holders) > FILES_CACHED_MAX:
                self._holders.popitem(last=False)
        return found

    def trees_of(self, cid: Cid) -> list[Cid]:
        """Roots of the kept trees that have a block; not more than HOLDERS_MAX."""
        found = self._trees.get(cid)
        if found is None:
            found = self._trees[cid] = self._reader.trees_of(cid, limit=HOLDERS_MAX)
            if len(self._trees) > FILES_CACHED_MAX:
                self._trees.popitem(last=False)
        return found

    def name(self, name: bytes) -> NameRow | None:
        """The record that is kept of a name of somebody else."""
        return self._reader.name(name)

    def is_held(self, site: Owner) -> bool:
        """All blocks of one of the site's releases are here."""
        record = self.site(site) if isinstance(site, SiteId) else None
        return record is not None and record.held is not None

    def root_of(self, site: SiteId) -> Cid | None:
        """The root of the held release."""
        record = self.site(site)
        return record.held.release.root if record is not None and record.held is not None else None

    def records(self) -> list[SiteRecord]:
        """All sites that the store knows; may block."""
        return self._reader.sites()

    async def served(self) -> list[SiteId]:
        """The sites whose blocks are all here, and which readers get. In a thread: there may be many."""
        async with self._listing:
            now = self.version, self.rules_version
            if self._served is None or self._served[:2] != now:
                found = await trio.to_thread.run_sync(self._find_served, self._policy)
                self._served = (*now, found)
            return self._served[2]

    def _find_served(self, policy: Policy) -> list[SiteId]:
        held = [record.held.release for record in self._reader.sites() if record.held is not None]
        subjects = (Subject(site=each.site, root=each.root, domains=each.domains) for each in held)
        return [each.site for each in subjects if each.site and policy.decide(Act.HTTP_SERVE, each).allowed]
