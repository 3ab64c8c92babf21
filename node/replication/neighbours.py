"""Staying connected: bootstrap nodes first, then peers remembered from earlier runs, then members in other networks,
and, alone, the hosts that releases name."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable

import trio

from node.core.peers import peer_of
from node.net.port import PeerId
from node.replication.context import Context
from node.replication.lookup import named_hosts
from protocol.errors import PeerError

# Enough that the loss of a few cuts nobody off; each costs memory and keep-alives.
NEIGHBOURS_MIN = 8
DIALS_AT_ONCE = 4
DIAL_DEADLINE_S = 10.0
ROUND_S = 5.0
SITES_LOOKED_AT = 64
BACKOFF_MAX_S = 120.0

log = logging.getLogger(__name__)


class Neighbours:
    """Keeps a few connections up."""

    def __init__(
        self, context: Context, bootstrap: tuple[str, ...], seeds: Callable[[], Iterable[PeerId]] = tuple
    ) -> None:
        """seeds: nodes that were found for want of others, tried before members."""
        self._context = context
        self._seeds = seeds
        self._bootstrap = {address.rpartition("/p2p/")[2]: address for address in bootstrap}
        self._next_dial_s: dict[PeerId, float] = {}
        self._failures: dict[PeerId, int] = {}

    async def run(self) -> None:
        """Until cancelled."""
        rows = await self._context.in_store(self._context.store.peers)
        for row in rows:
            self._context.network.remember(row.peer, row.addresses, reached=True)
        while True:
            await self._round()
            await trio.sleep(ROUND_S)

    async def _round(self) -> None:
        network = self._context.network
        connected = {info.peer for info in network.peers()}
        for peer in self._bootstrap:
            network.note_useful(peer)
        wanted = [peer for peer in self._bootstrap if peer not in connected]
        if len(connected) + len(wanted) < NEIGHBOURS_MIN:
            rows = await self._context.in_store(self._context.store.peers)
            wanted += [row.peer for row in rows if row.peer not in connected and row.peer not in wanted]
            for more in (self._seeds(), self._members(connected)):
                wanted += [peer for peer in more if peer not in connected and peer not in wanted]
        if not connected:
            wanted += [peer for peer in self._named() if peer not in wanted]
        now_s = trio.current_time()
        due = [peer for peer in wanted if self._next_dial_s.get(peer, 0) <= now_s and peer != network.local_peer]
        limit = trio.CapacityLimiter(DIALS_AT_ONCE)
        async with trio.open_nursery() as nursery:
            for peer in due[: 2 * NEIGHBOURS_MIN]:
                nursery.start_soon(self._dial, peer, limit)

    def _members(self, connected: set[PeerId]) -> list[PeerId]:
        """Some members, those first whose network no connected one shares: one provider cannot be all that it sees."""
        members = list(self._context.core.keeping.members)
        near = {known.network for known in members if peer_of(known.signed.node) in connected}
        others = [known for known in members if peer_of(known.signed.node) not in connected]
        drawn = random.sample(others, min(len(others), 8 * NEIGHBOURS_MIN))
        drawn.sort(key=lambda known: known.network in near)
        return [peer_of(known.signed.node) for known in drawn[:NEIGHBOURS_MIN]]

    def _named(self) -> list[PeerId]:
        """Hosts named in the releases of some sites that are known here."""
        context, sites = self._context, self._context.core.sites()
        drawn = random.sample(sites, min(len(sites), SITES_LOOKED_AT))
        found = dict.fromkeys(peer for site in drawn for peer in named_hosts(context, site))
        return list(found)[:NEIGHBOURS_MIN]

    async def _dial(self, peer: PeerId, limit: trio.CapacityLimiter) -> None:
        network = self._context.network
        async with limit:
            addresses = [self._bootstrap[peer]] if peer in self._bootstrap else network.known_addresses(peer)
            for address in addresses:
                try:
                    await network.connect(address, deadline_s=DIAL_DEADLINE_S)
                except PeerError as error:
                    log.debug("cannot connect to %s: %s", address, error)
                    continue
                self._failures.pop(peer, None)
                self._next_dial_s.pop(peer, None)
                return
        failures = self._failures[peer] = self._failures.get(peer, 0) + 1
        self._next_dial_s[peer] = trio.current_time() + min(BACKOFF_MAX_S, ROUND_S * 2.0 ** min(failures, 10))
