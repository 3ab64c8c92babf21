"""What a domain stands for: DNS names it, and the site's release, or the operator, consents. docs/spec/gateway.md, 11.

DNS is asked for names that some hosted site or the operator lists, and, where sites are fetched for readers, for any
other name, too: from a cache and a budget of their own, so that strangers cannot make the node look up what they like,
and cannot push out what is known of the others.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal

import trio

from node.gateway.dns import Dns, NoAnswer
from node.gateway.dns_cache import DnsCache
from node.gateway.routing import Owner, name_cid
from node.gateway.view import StoreView
from node.store.port import SiteRecord
from protocol.dnslink import RECURSION_MAX, Link, read_records
from protocol.limits import PATH_MAX_SEGMENTS
from protocol.site_id import SiteId

LISTED_FRESH_S = 1.0  # all releases are looked through at most so often
STRANGE_PER_S = 10  # questions about names that nobody here lists
STRANGE_BURST_S = 5.0


@dataclass(frozen=True, slots=True)
class NameFailed:
    """The domain is one that a hosted site or the operator lists, and does not stand for anything served now."""

    kind: Literal["no-record", "no-consent", "too-deep", "no-answer"]


@dataclass(frozen=True, slots=True)
class Target:
    """What a domain stands for. inside: the place below it.

    must_list: that the site consents is not known here; the release that is served has to list the domain.
    """

    owner: Owner
    inside: tuple[str, ...] = ()
    must_list: bool = False


class Domains:
    """Answers from its cache, else from DNS."""

    def __init__(
        self, view: StoreView, dns: Dns, tree_domains: Collection[str] = (), *, fetch_on_miss: bool = False
    ) -> None:
        """tree_domains: those that the operator serves kept trees and names of others under.

        fetch_on_miss: what is under a domain may be a site that is not hosted here.
        """
        self._tree_domains = frozenset(tree_domains)
        self._view = view
        self._known = DnsCache(dns)
        self._strange = DnsCache(dns, per_s=STRANGE_PER_S, burst_s=STRANGE_BURST_S) if fetch_on_miss else None
        self._listed: frozenset[str] = frozenset()
        self._listed_at_s = float("-inf")
        self._listed_version: object = None
        self._listing = trio.Lock()

    async def target_of(self, name: str) -> Target | NameFailed | None:
        """What a domain stands for; None for a name that neither a hosted site nor the operator lists, unless DNS says
        that it is one of a site that may be fetched.

        Errors of the store go through.
        """
        if name not in self._tree_domains and name not in await self._listed_names():
            return await self._of_stranger(name)
        target = await self._linked(self._known, name, sites_only=name not in self._tree_domains)
        return target if isinstance(target, NameFailed) or self._may(name, target) else NameFailed("no-consent")

    def _may(self, name: str, target: Target) -> bool:
        """A site's domain is a whole site, and the site's own wish; for anything else the operator decides."""
        record = self._view.site(target.owner) if isinstance(target.owner, SiteId) else None
        if record is None:
            is_strange = isinstance(target.owner, SiteId) and self._view.name(target.owner.cid.multihash) is None
            return name in self._tree_domains and not is_strange
        return consents(record, name) and not target.inside

    async def _of_stranger(self, name: str) -> Target | None:
        """Without an answer the name is nobody's: a node may be called what it likes where no DNS is."""
        if self._strange is None:
            return None
        target = await self._linked(self._strange, name, sites_only=True)
        return None if isinstance(target, NameFailed) else replace(target, must_list=True)

    async def _linked(self, dns: DnsCache, name: str, *, sites_only: bool) -> Target | NameFailed:
        inside: tuple[str, ...] = ()
        for _ in range(RECURSION_MAX):
            try:
                found = read_records((await dns.texts(name)).texts, sites_only=sites_only)
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
