"""What a domain stands for: DNS names it, and the site's release, or the operator, consents. docs/spec/gateway.md, 11.

DNS is asked only for names that some hosted site or the operator lists: strangers cannot make the node look up what
they like.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

import trio

from node.gateway.dns import Dns, NoAnswer, Texts
from node.gateway.routing import Owner, name_cid
from node.gateway.view import StoreView
from node.store.port import SiteRecord
from protocol.dnslink import RECORDS_AT, RECURSION_MAX, Link, read_records
from protocol.limits import PATH_MAX_SEGMENTS
from protocol.site_id import SiteId

NAMES_CACHED_MAX = 1024
TTL_MIN_S = 1.0
TTL_MAX_S = 3600.0  # so that a mistake in somebody's zone does not last for a week
ABSENT_S = 60.0  # when the servers do not say how long "there is none" holds
FAILED_S = 5.0  # before servers that do not answer are asked again
STALE_S = 3600.0  # how long an answer outlives its TTL while no server answers (RFC 8767)
LISTED_FRESH_S = 1.0  # all releases are looked through at most so often


@dataclass(frozen=True, slots=True)
class NameFailed:
    """The domain is one that a hosted site or the operator lists, and does not stand for anything served now."""

    kind: Literal["no-record", "no-consent", "too-deep", "no-answer"]


@dataclass(slots=True)
class _Entry:
    answer: Texts | None = None
    until_s: float = 0.0
    stale_until_s: float = 0.0
    lock: trio.Lock = field(default_factory=trio.Lock)


@dataclass(frozen=True, slots=True)
class Target:
    """What a domain stands for. inside: the place below it."""

    owner: Owner
    inside: tuple[str, ...] = ()


class Domains:
    """Answers from its cache, else from DNS."""

    def __init__(self, view: StoreView, dns: Dns, tree_domains: Collection[str] = ()) -> None:
        """tree_domains: those that the operator serves kept trees and names of others under."""
        self._tree_domains = frozenset(tree_domains)
        self._view = view
        self._dns = dns
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._listed: frozenset[str] = frozenset()
        self._listed_at_s = float("-inf")
        self._listed_version: object = None
        self._listing = trio.Lock()

    async def target_of(self, name: str) -> Target | NameFailed | None:
        """What a domain stands for; None for a name that neither a hosted site nor the operator lists.

        Errors of the store go through.
        """
        if name not in self._tree_domains and name not in await self._listed_names():
            return None
        target = await self._linked(name, sites_only=name not in self._tree_domains)
        return target if isinstance(target, NameFailed) or self._may(name, target) else NameFailed("no-consent")

    def _may(self, name: str, target: Target) -> bool:
        """A site's domain is a whole site, and the site's own wish; for anything else the operator decides."""
        record = self._view.site(target.owner) if isinstance(target.owner, SiteId) else None
        if record is None:
            is_strange = isinstance(target.owner, SiteId) and self._view.name(target.owner.cid.multihash) is None
            return name in self._tree_domains and not is_strange
        return consents(record, name) and not target.inside

    async def _linked(self, name: str, *, sites_only: bool) -> Target | NameFailed:
        inside: tuple[str, ...] = ()
        for _ in range(RECURSION_MAX):
            try:
                found = read_records((await self._texts(name)).texts, sites_only=sites_only)
            except NoAnswer:
                return NameFailed("no-answer")
            if found is None:
                return NameFailed("no-record")
            inside = (*found.path, *inside)
            if len(inside) > PATH_MAX_SEGMENTS:
                return NameFailed("too-deep")
            owner = owner_of(found)
            if owner is not None:
                return Target(owner, inside)
            name = found.domain or ""
        return NameFailed("too-deep")

    async def _texts(self, name: str) -> Texts:
        entry = self._entries.setdefault(name, _Entry())
        self._entries.move_to_end(name)
        if len(self._entries) > NAMES_CACHED_MAX:
            self._entries.popitem(last=False)
        async with entry.lock:  # one question for all who wait
            if trio.current_time() >= entry.until_s:
                await self._ask(name, entry)
        if entry.answer is None:
            raise NoAnswer(name)
        return entry.answer

    async def _ask(self, name: str, entry: _Entry) -> None:
        try:
            entry.answer = await self._dns.texts(RECORDS_AT + name)
        except NoAnswer:
            now_s = trio.current_time()
            entry.until_s = now_s + FAILED_S
            if now_s >= entry.stale_until_s:
                entry.answer = None
            return
        ttl_s = ABSENT_S if entry.answer.ttl_s is None else float(entry.answer.ttl_s)
        entry.until_s = trio.current_time() + min(max(ttl_s, TTL_MIN_S), TTL_MAX_S)
        entry.stale_until_s = entry.until_s + STALE_S

    async def _listed_names(self) -> frozenset[str]:
        async with self._listing:
            if self._listed_version != self._view.version and (
                trio.current_time() >= self._listed_at_s + LISTED_FRESH_S
            ):
                version = self._view.version
                records = await trio.to_thread.run_sync(self._view.records)
                self._listed = frozenset(name for record in records for name in _domains(record))
                self._listed_version, self._listed_at_s = version, trio.current_time()
            return self._listed


def owner_of(link: Link) -> Owner | None:
    """What a link leads to, but for another domain."""
    if link.site is not None:
        return link.site
    if link.name is not None:
        return name_cid(link.name)
    return link.cid.canonical if link.cid is not None else None


def consents(record: SiteRecord | None, name: str) -> bool:
    """The release that is served lists the domain; one that ends its site lists none."""
    return record is not None and name in _domains(record)


def _domains(record: SiteRecord) -> tuple[str, ...]:
    return record.held.release.domains if record.held is not None else ()
