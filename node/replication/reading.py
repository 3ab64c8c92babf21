"""Blocks of one release that readers wait for, from several of its hosts at once, and those that come next in a file.

Each block that comes goes into the store's cache, past the gate. A reading ends when nobody has asked for a while.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from node.gateway.backend import Unavailable
from node.replication.context import Context
from node.replication.drawing import Arrival, Drawing
from node.replication.part_order import AHEAD_MIN_QUOTA_BYTES, PartOrder
from node.store.errors import BlockCorrupt, BlockMissing
from node.store.port import Store
from protocol.cid import Cid
from protocol.errors import OperatorError, PeerError

IDLE_S = 10.0
INLINE_BYTES = 16 * 1024

NOBODY_GIVES_IT = Unavailable("timeout", "no host that answers has this part of the site")

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Flight:
    """One block on its way."""

    landed: trio.Event = field(default_factory=trio.Event)
    error: Unavailable | None = None


class Reading(Drawing):
    """Run it with `sources.draw` beside; `get` makes a block readable."""

    def __init__(self, context: Context, check: Callable[[Cid], None]) -> None:
        """check: raises Unavailable for a block that policy refuses at the moment."""
        super().__init__()
        self.asked_s = trio.current_time()
        self._context = context
        self._check = check
        self._flights: dict[Cid, _Flight] = {}
        self._order = PartOrder()

    @property
    def idle(self) -> bool:
        """Nobody has asked for a while, and nothing is on its way."""
        return not self._flights and trio.current_time() > self.asked_s + IDLE_S

    async def get(self, cid: Cid) -> None:
        """Returns when the store has the block. Raises Unavailable; deadlines are the caller's."""
        self.asked_s = trio.current_time()
        flight = self._flights.get(cid)
        if flight is None:
            flight = self._flights[cid] = _Flight()  # before looking: the block may be landing at this moment
            with trio.CancelScope(shield=True):
                is_here = await self._context.in_store(is_readable, self._context.store, cid)
            if is_here:
                self._land(cid, None)
                return
            self._ask_for(cid, first=True)
        await self._fetch_ahead(cid)
        await flight.landed.wait()
        if flight.error is not None:
            raise Unavailable(flight.error.kind, flight.error.reason)

    def give_up(self) -> None:
        """Nobody is there to send what is on its way."""
        for cid in list(self._flights):
            self._land(cid, NOBODY_GIVES_IT)

    def _ask_for(self, cid: Cid, *, first: bool) -> None:
        self.assignment.add([cid], first=first)
        self._wake()

    async def _fetch_ahead(self, cid: Cid) -> None:
        """What a reader of a file wants after this block. Of what is refused nothing is fetched."""
        ahead = self._order.after(cid)
        store = self._context.store
        if not ahead or await self._context.in_store(lambda: store.usage().cache_quota_bytes) < AHEAD_MIN_QUOTA_BYTES:
            return
        here = await self._context.in_store(store.has_blocks, ahead)
        for following in ahead:
            if following not in here and following not in self._flights and self._is_allowed(following):
                self._flights[following] = _Flight()
                self._ask_for(following, first=False)

    def _is_allowed(self, cid: Cid) -> bool:
        try:
            self._check(cid)
        except Unavailable:
            return False
        return True

    async def _name_more(self) -> None:
        """Readers name what they want."""

    async def _take(self, arrival: Arrival) -> None:
        cid, data = arrival.cid, arrival.data
        if len(data) <= INLINE_BYTES:
            cid.verify(data)
        else:
            await trio.to_thread.run_sync(cid.verify, data)
        if not self.assignment.came(arrival.source, trio.current_time()):
            return
        error = None
        try:
            await self._keep(cid, data)
        except Unavailable as unavailable:
            error = unavailable
        self._land(cid, error)

    async def _keep(self, cid: Cid, data: bytes) -> None:
        self._check(cid)
        try:
            await self._context.in_store(self._context.store.cache_blocks, [(cid, data)])
        except OperatorError as error:
            log.warning("cannot keep block %s: %s", cid, error)
            raise Unavailable("busy", "the node cannot store the block at the moment") from error
        self._order.note(cid, data)

    async def _on_stuck(self, refusal: PeerError) -> None:
        await self._pause()

    def settle(self, *, exhausted: bool) -> None:
        """To be called often. A block that none of the hosts gives fails its readers. exhausted: there are no more."""
        self._hurry_silent_sources()
        if exhausted and self.assignment.stuck:
            for cid in self.assignment.give_up():
                self._land(cid, NOBODY_GIVES_IT)

    def _land(self, cid: Cid, error: Unavailable | None) -> None:
        flight = self._flights.pop(cid, None)
        if flight is not None:
            flight.error = error
            flight.landed.set()


def is_readable(store: Store, cid: Cid) -> bool:
    """Reads the block, by which the store learns that it is damaged: only then can it be replaced."""
    try:
        store.get_block(cid)
    except (BlockMissing, BlockCorrupt):
        return False
    return True
