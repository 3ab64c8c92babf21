"""Which release of a site to serve: the held one, or for a site that is not hosted here, what other nodes know."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from dataclasses import dataclass, field, replace

import trio

from node.gateway.backend import Backend, NameBackend, NoNames, Unavailable
from node.gateway.limits import PASSED_OVER_S, RESOLVED_FRESH_S, SITES_CACHED_MAX, UNRESOLVED_FRESH_S
from node.gateway.name_lookup import NameLookups
from node.gateway.routing import Owner, is_name
from node.gateway.view import StoreView
from node.policy.model import name_key
from protocol.cid import IDENTITY, RAW, Cid
from protocol.dag_links import LEAF_CODECS, NODE_CODECS
from protocol.dnslink import RECURSION_MAX, Link, read_path
from protocol.ipns import IpnsRecord
from protocol.release import Release, SignedRelease
from protocol.site_id import SiteId

NAME_WAIT_S = 2.0
NAME_FRESH_S = 300.0
"""How long a name of others is not looked for again among the sites of fednode."""


class SiteEnded(Exception):
    """The publisher ended the site with `release`."""

    def __init__(self, release: Release) -> None:
        super().__init__(str(release.site))
        self.release = release


class NotHosted(Exception):
    """The site is not hosted here, and other nodes are not asked."""


class NoConsent(Exception):
    """DNS names the site for a domain that its release does not list."""


@dataclass(frozen=True, slots=True)
class Current:
    """What to serve, of a site or of a kept tree.

    may_fetch: other nodes may be asked for its blocks. site_root: of the whole site or tree, where `root` is that of a
    part of it. record: the IPNS record of its name, b"" for a tree that was asked for by its CID. names: of somebody
    else, that led to the tree. domains: that the release lists, or that stand for the tree. inside: where below
    `root` the place begins, as a record or a domain says; above: the CIDs that were passed to get there.
    """

    site: Owner
    seq: int
    root: Cid
    may_fetch: bool
    site_root: Cid
    record: bytes = field(repr=False)
    names: tuple[SiteId | bytes, ...] = ()
    domains: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    above: tuple[Cid, ...] = ()


class Heads:
    """Finds the release to serve."""

    def __init__(
        self,
        view: StoreView,
        backend: Backend,
        names: NameBackend | None = None,
        *,
        fetch_on_miss: bool,
        fetch_trees: bool = False,
    ) -> None:
        """names: whom to ask for names of others, where other nodes are asked at all. fetch_trees: also for blocks of
        trees that are no site's."""
        self._fetch_trees = fetch_trees
        self._lookups = NameLookups(view, names or NoNames()) if fetch_on_miss else None
        self._view = view
        self._backend = backend
        self._fetch_on_miss = fetch_on_miss
        self._resolved: OrderedDict[SiteId, tuple[float, SignedRelease | Unavailable]] = OrderedDict()
        self._passed_over: OrderedDict[SiteId, tuple[int, float]] = OrderedDict()

    async def current(self, owner: Owner) -> Current:
        """Raises SiteEnded, NotHosted, Unavailable. A held release is served until the next one is all here."""
        if isinstance(owner, SiteId):
            return await self._of_site(owner)
        named = await self._named(owner.multihash) if is_name(owner) else None
        if named is None:
            raise NotHosted
        return named

    async def _of_site(self, site: SiteId) -> Current:
        record = self._view.site(site)
        if record is not None and record.ended:
            raise SiteEnded(record.head.release)
        if record is not None and record.held is not None:
            return _current(record.held)
        named = await self._named(site.cid.multihash) if self._view.name(site.cid.multihash) is not None else None
        if named is not None and not named.may_fetch:
            return named
        if not self._fetch_on_miss:
            raise NotHosted
        try:
            signed = await self._resolve_beside_name(site, named)
        except Unavailable as error:  # no site of fednode, perhaps
            if named is None and error.kind == "not-found":
                named = await self._named(site.cid.multihash)
            if named is None or error.kind == "refused":
                raise
            return named
        if record is not None and record.head.seq > signed.seq and not self._is_passed_over(record.head):
            signed = record.head  # other nodes lag behind, or lie
        return _current(signed)

    async def instead_of(self, current: Current) -> Current | None:
        """An older release of a site that is not held here, since some of this one cannot be had; readers get that
        for a while, before this one is tried again. None if there is none. Raises SiteEnded."""
        site = current.site
        if not self._fetch_on_miss or not isinstance(site, SiteId) or not current.may_fetch or self._view.is_held(site):
            return None
        self._passed_over[site] = (current.seq, trio.current_time() + PASSED_OVER_S)
        self._passed_over.move_to_end(site)
        if len(self._passed_over) > SITES_CACHED_MAX:
            self._passed_over.popitem(last=False)
        try:
            signed = await self._backend.resolve(site, current.seq)
        except Unavailable:
            return None
        self._remember(site, signed)
        return _current(signed)

    def _is_passed_over(self, head: SignedRelease) -> bool:
        seq, until_s = self._passed_over.get(head.site, (0, 0.0))
        return seq == head.seq and trio.current_time() < until_s

    async def _named(self, multihash: bytes) -> Current | None:
        """What the record of somebody else says, if it is in a tree that is kept here or may be fetched."""
        given, sequence = b"", 0
        names: tuple[SiteId | bytes, ...] = ()
        inside: tuple[str, ...] = ()
        for _ in range(RECURSION_MAX):
            if self._lookups is not None:
                await self._lookups.refresh(multihash)
            row = self._view.name(multihash)
            record = IpnsRecord.decode(row.record) if row is not None else None
            if record is None or not record.is_valid_at(time.time_ns()):
                return None
            given, sequence = given or record.raw, sequence + record.sequence
            names = (*names, name_key(multihash))
            link = _link(record)
            if link is None:
                return None
            inside = (*link.path, *inside)
            if link.cid is not None:
                current = self._at(link.cid.canonical)
                return current and replace(current, seq=sequence, record=given, names=names, inside=inside)
            following = link.name or (link.site.cid.multihash if link.site is not None else None)
            if following is None:
                return None  # DNS is asked for readers' domains only
            multihash = following
        return None

    def _trees(self, cid: Cid) -> list[Cid]:
        """Roots of the trees that have the block; a raw one that its CID carries is a tree of itself."""
        return [cid] if cid.codec == RAW and cid.hash_code == IDENTITY else self._view.trees_of(cid)

    def _at(self, cid: Cid) -> Current | None:
        """Where what a name stands for is read: a kept tree, a hosted site, or a tree to be fetched."""
        trees = self._trees(cid)
        if trees:
            return Current(trees[0], 0, cid, False, trees[0], b"")
        return next(iter(self.holding(cid)), None) if self._view.sites_of(cid) else self.elsewhere(cid)

    def elsewhere(self, cid: Cid) -> Current | None:
        """The tree under a root that nothing here has, if such are fetched for readers."""
        known = cid.codec in LEAF_CODECS or cid.codec in NODE_CODECS
        return Current(cid, 0, cid, True, cid, b"") if self._fetch_trees and known else None

    def holding(self, cid: Cid) -> list[Current]:
        """What hosted sites and kept trees have that block, each with it as the root to serve from; not more than are
        looked at."""
        found = []
        for site in self._view.sites_of(cid):
            record = self._view.site(site)
            if record is not None and record.held is not None and not record.ended:
                found.append(replace(_current(record.held), root=cid))
        return found + [Current(tree, 0, cid, False, tree, b"") for tree in self._trees(cid)]

    async def _resolve_beside_name(self, site: SiteId, named: Current | None) -> SignedRelease:
        """As _resolve. Where trees are fetched, a record is looked for meanwhile; without a head it is waited for."""
        failure: Unavailable | None = None
        signed: SignedRelease | None = None
        async with trio.open_nursery() as nursery:
            if self._fetch_trees and self._lookups is not None and named is None:
                nursery.start_soon(self._lookups.refresh, site.cid.multihash)
            try:
                signed = await self._resolve(site, is_name=named is not None)
                nursery.cancel_scope.cancel()
            except Unavailable as error:  # a nursery would wrap it
                failure = error
        if signed is None:
            raise failure or Unavailable("timeout", "no host of this site answered in time")
        return signed

    async def _resolve(self, site: SiteId, *, is_name: bool = False) -> SignedRelease:
        """Asks the daemon, unless it was asked a moment ago. is_name: there is a record of it that leads elsewhere, so
        that it is hardly a site of fednode, and readers need not wait long for the answer."""
        until, answer = self._resolved.get(site, (0.0, None))
        if answer is None or trio.current_time() >= until:
            answer = Unavailable("timeout", "no host of this site answered in time")
            try:
                with trio.move_on_after(NAME_WAIT_S if is_name else math.inf):
                    answer = await self._backend.resolve(site)
            except Unavailable as error:
                answer = error
            self._remember(site, answer, NAME_FRESH_S if is_name else UNRESOLVED_FRESH_S)
        if isinstance(answer, Unavailable):
            raise Unavailable(answer.kind, answer.reason)
        return answer

    def _remember(
        self, site: SiteId, answer: SignedRelease | Unavailable, unresolved_s: float = UNRESOLVED_FRESH_S
    ) -> None:
        fresh_s = unresolved_s if isinstance(answer, Unavailable) else RESOLVED_FRESH_S
        self._resolved[site] = (trio.current_time() + fresh_s, answer)
        self._resolved.move_to_end(site)
        if len(self._resolved) > SITES_CACHED_MAX:
            self._resolved.popitem(last=False)


def _current(signed: SignedRelease) -> Current:
    release = signed.release
    if release.ended or release.root is None:
        raise SiteEnded(release)
    root = release.root
    return Current(release.site, release.seq, root, True, root, signed.ipns_record, domains=release.domains)


def _link(record: IpnsRecord) -> Link | None:
    try:
        return read_path(record.value.decode())
    except UnicodeDecodeError:
        return None
