"""What the gateway needs and the store lacks: heads of sites hosted elsewhere, and single blocks of sites."""

from __future__ import annotations

import logging
from collections import OrderedDict
from functools import partial

import trio

from node.gateway.backend import Identity, Unavailable
from node.net.port import PeerId
from node.replication.context import Context
from node.replication.lookup import find_heads
from node.replication.offers import Offers
from node.replication.reading import Reading
from node.replication.sources import Sources
from node.replication.waits import is_readable
from protocol.cid import Cid
from protocol.errors import PeerError
from protocol.release import SignedRelease
from protocol.site_id import SiteId

REMEMBERED_MAX = 1024
# How old a head may be that a reader of a site hosted elsewhere gets.
FRESH_S = 30.0
MISSING_S = 10.0
RESOLVE_DEADLINE_S = 15.0
BLOCK_DEADLINE_S = 20.0
# Releases that are read at a time; each has up to four streams, and what follows in its files in memory.
READINGS_MAX = 32
# A reader waits: another host is asked soon.
PATIENCE_S = 0.3
ADDRESSES_MAX = 16  # told to readers

log = logging.getLogger(__name__)


class OnDemand:
    """Implements the gateway's Backend port over the network."""

    def __init__(self, context: Context, *, any_site: bool) -> None:
        """`any_site`: fetch whatever no rule refuses, not only what the hosting settings would take."""
        self._context = context
        self._any_site = any_site
        self._found: OrderedDict[SiteId, Offers] = OrderedDict()
        self._readings: dict[Cid, Reading] = {}

    async def resolve(self, site: SiteId, below: int | None = None) -> SignedRelease:
        """The newest head that hosts who answer know. Equal requests at one time cost one lookup.

        below: the release of that number cannot be had: it is passed over for a while, for all readers.
        """
        state = self._context.core.state_of(site)
        if state is not None and state.head is not None and state.head.release.ended:
            return state.head
        verdict = self._context.gate.may_ask_for(site)
        if not verdict.allowed:
            raise Unavailable("refused", verdict.reason)
        found = self._remember(site)
        if below is not None:
            found.pass_over(below, trio.current_time())
        async with found.lock:
            await self._look(site, found, below)
        now_s = trio.current_time()
        signed = found.best(now_s) if below is None else found.instead_of(below)
        if signed is None:
            raise Unavailable("not-found", "no host of this site answered")
        verdict = self._context.gate.may_host(signed, local=self._any_site)
        if not verdict.allowed:
            raise Unavailable("refused", verdict.reason)
        return signed

    async def fetch_block(self, site: SiteId, cid: Cid) -> None:
        """Makes one block of the site readable in the store, and fetches ahead; equal requests cost one fetch."""
        if await self._context.in_store(is_readable, self._context.store, cid):
            return
        try:
            with trio.fail_after(BLOCK_DEADLINE_S):
                signed, hosts = await self._sources(site)
                self._check_policy(signed, cid)
                await self._reading(signed, hosts).get(cid)
        except trio.TooSlowError:
            raise Unavailable("timeout", "no host sent this part of the site in time") from None

    def _reading(self, signed: SignedRelease, hosts: list[PeerId]) -> Reading:
        """The one of this release; begins it if there is none."""
        reading = self._readings.get(signed.cid)
        if reading is None:
            if len(self._readings) >= READINGS_MAX:
                raise Unavailable("busy", "this node fetches too many sites for readers at the moment")
            reading = self._readings[signed.cid] = Reading(self._context, partial(self._check_policy, signed))
            self._context.start(self._read, signed, reading, hosts)
        return reading

    async def _read(self, signed: SignedRelease, reading: Reading, hosts: list[PeerId]) -> None:
        """Until nobody reads, or no host is left."""

        def look() -> None:
            reading.settle(exhausted=sources.exhausted)
            if reading.idle:
                end()
                scope.cancel()

        def end() -> None:
            """Before others have time to come, for whom it would bring nothing any more."""
            if self._readings.get(signed.cid) is reading:
                del self._readings[signed.cid]

        sources = Sources(self._context, reading, signed, lambda: hosts, patience_s=PATIENCE_S, look=look)
        try:
            with trio.CancelScope() as scope:
                await sources.draw()
        except PeerError as error:
            log.info("nobody is left to read %s from: %s", signed.site, error)
        finally:
            end()
            reading.give_up()

    async def identity(self) -> Identity:
        """This node, with as many of its addresses as fit an answer."""
        network = self._context.network
        return Identity(network.local_peer, tuple(network.addresses()[:ADDRESSES_MAX]))

    def _remember(self, site: SiteId) -> Offers:
        found = self._found.setdefault(site, Offers())
        self._found.move_to_end(site)
        while len(self._found) > REMEMBERED_MAX:
            self._found.popitem(last=False)
        return found

    async def _look(self, site: SiteId, found: Offers, below: int | None) -> None:
        """Asks hosts, unless they were asked a moment ago and no peer has offered a newer head meanwhile.

        below: the first who answers may have what cannot be had; all are waited for.
        """
        now_s = trio.current_time()
        state = self._context.core.state_of(site)
        known_seq = state.head.seq if state is not None and state.head is not None else 0
        is_fresh = now_s - found.looked_at_s <= (FRESH_S if found.newest else MISSING_S)
        newest_seq = found.newest.seq if found.newest is not None else 0
        if below is not None and found.instead_of(below) is None:
            is_fresh = now_s - found.looked_widely_at_s <= MISSING_S
        elif known_seq > max(newest_seq, found.sought_seq):
            is_fresh = False
        if is_fresh:
            return
        with trio.move_on_after(RESOLVE_DEADLINE_S):
            known = [found.newest] if found.newest is not None else []
            await find_heads(self._context, site, found.take, hurry=below is None, known=known)
        found.looked_at_s, found.sought_seq = trio.current_time(), known_seq
        if below is not None:
            found.looked_widely_at_s = found.looked_at_s

    async def _sources(self, site: SiteId) -> tuple[SignedRelease, list[PeerId]]:
        """The release whose block is needed, and who may have it: for a site held here, anybody connected."""
        state = self._context.core.state_of(site)
        if state is None or state.held is None:
            signed = await self.resolve(site)
            return signed, self._remember(site).hosts_of(signed)
        peers = [*state.sources, *(info.peer for info in self._context.network.peers())]
        if not peers:
            await find_heads(self._context, site, lambda peer, _: peers.append(peer), hurry=True)
        return state.held, list(dict.fromkeys(peers))

    def _check_policy(self, signed: SignedRelease, cid: Cid) -> None:
        """What is hosted here may be healed, whatever the hosting settings say of new sites."""
        state = self._context.core.state_of(signed.site)
        local = self._any_site or (state is not None and state.held == signed)
        verdict = self._context.gate.may_fetch_block(signed, cid, local=local)
        if not verdict.allowed:
            raise Unavailable("refused", verdict.reason)
