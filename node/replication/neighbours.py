"""Staying connected: bootstrap nodes first, then peers remembered from earlier runs, then members in other networks,
and, alone, the hosts that releases name."""

from __future__ import annotations

import logging
import random
from collections import OrderedDict
from collections.abc import Callable, Iterable

import trio

from node.core.peers import peer_of
from node.net.port import PeerId
from node.replication.context import Context
from node.replication.lookup import named_hosts
from node.store.port import PeerRow
from protocol.errors import OperatorError, PeerError

# Enough that the loss of a few cuts nobody off; each costs memory and keep-alives.
NEIGHBOURS_MIN = 8
DIALS_AT_ONCE = 4
DIAL_DEADLINE_S = 10.0
ROUND_S = 5.0
SITES_LOOKED_AT = 64
BACKOFF_FIRST_S = 10.0
BACKOFF_MAX_S = 120.0
# Peers that could not be reached of which that is remembered.
FAILED_MAX = 1024

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
        self._failed: OrderedDict[PeerId, tuple[int, float]] = OrderedDict()
        """How often in a row, and when they are dialled again."""

    async def run(self) -> None:
        """Until cancelled."""
        for row in await self._rows():
            self._context.network.remember(row.peer, row.addresses, reached=True)
        while True:
            changed = self._context.policy_changed
            await self._round()
            with trio.move_on_after(ROUND_S):
                await changed.wait()  # a peer may be dialled that was refused

    async def _rows(self) -> list[PeerRow]:
        """Peers of earlier runs; a disk that cannot be read at the moment knows of none."""
        try:
            return await self._context.in_store(self._context.store.peers)
        except OperatorError as error:
            log.error("cannot read which peers were met before: %s", error)
            return []

    async def _round(self) -> None:
        network = self._context.network
        connected = {info.peer for info in network.peers()}
        for peer in connected:
            self._failed.pop(peer, None)
        for peer in self._bootstrap:
            network.note_useful(peer)
        wanted = [peer for peer in self._bootstrap if peer not in connected]
        if len(connected) + len(wanted) < NEIGHBOURS_MIN:
            rows = await self._rows()
            wanted += [row.peer for row in rows if row.peer not in connected and row.peer not in wanted]
            for more in (self._seeds(), self._members(connected)):
                wanted += [peer for peer in more if peer not in connected and peer not in wanted]
        if not connected:
            wanted += [peer for peer in self._named() if peer not in wanted]
        due = [peer for peer in wanted if self._may_dial(peer)]
        limit = trio.CapacityLimiter(DIALS_AT_ONCE)
        async with trio.open_nursery() as nursery:
            for peer in due[: 2 * NEIGHBOURS_MIN]:
                nursery.start_soon(self._dial, peer, limit)

    def _may_dial(self, peer: PeerId) -> bool:
        """Who is refused is no failure, or it would be put off when the rule is lifted."""
        network = self._context.network
        _, again_s = self._failed.get(peer, (0, 0.0))
        return peer != network.local_peer and again_s <= trio.current_time() and not network.refuses(peer)

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
            try:
                if peer in self._bootstrap:
                    await network.connect(self._bootstrap[peer], deadline_s=DIAL_DEADLINE_S)
                else:
                    await network.reach(peer, deadline_s=DIAL_DEADLINE_S)
            except PeerError as error:
                log.debug("cannot connect to %s: %s", peer, error)
                self._put_off(peer)

    def _put_off(self, peer: PeerId) -> None:
        failures, _ = self._failed.pop(peer, (0, 0.0))
        wait_s = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(failures, 10))
        self._failed[peer] = (failures + 1, trio.current_time() + wait_s)
        if len(self._failed) > FAILED_MAX:
            self._failed.popitem(last=False)
