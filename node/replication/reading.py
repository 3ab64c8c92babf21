"""Blocks of one release that readers wait for, from several of its hosts at once, and those that come next in a file.

Each block that comes goes into the store's cache, past the gate. A reading ends when nobody has asked for a while.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from node.gateway.backend import Unavailable
from node.replication.context import Context
from node.replication.drawing import Arrival, Drawing
from node.replication.waits import Waits
from protocol.cid import Cid
from protocol.errors import OperatorError, PeerError

IDLE_S = 10.0
INLINE_BYTES = 16 * 1024

NOBODY_GIVES_IT = Unavailable("timeout", "no host that answers has this part of the site")

log = logging.getLogger(__name__)


class Reading(Drawing):
    """Run it with `sources.draw` beside; `get` makes a block readable."""

    def __init__(self, context: Context, check: Callable[[Cid], None]) -> None:
        """check: raises Unavailable for a block that policy refuses at the moment."""
        super().__init__()
        self._context = context
        self._check = check
        self._waits = Waits(context, may_have=self._is_allowed, want=self._ask_for)

    async def get(self, cid: Cid) -> None:
        """Returns when the store has the block. Raises Unavailable; deadlines are the caller's."""
        await self._waits.get(cid)

    @property
    def idle(self) -> bool:
        """Nobody has asked for a while, and nothing is on its way."""
        return not self._waits and trio.current_time() > self._waits.asked_s + IDLE_S

    def give_up(self) -> None:
        """Nobody is there to send what is on its way."""
        self._waits.give_up(NOBODY_GIVES_IT)

    def _ask_for(self, cids: list[Cid], first: bool) -> None:
        self.assignment.add(cids, first=first)
        self._wake()

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
        self._waits.land(cid, error)

    async def _keep(self, cid: Cid, data: bytes) -> None:
        self._check(cid)
        try:
            await self._context.in_store(self._context.store.cache_blocks, [(cid, data)])
        except OperatorError as error:
            log.warning("cannot keep block %s: %s", cid, error)
            raise Unavailable("busy", "the node cannot store the block at the moment") from error
        self._waits.note(cid, data)

    async def _on_stuck(self, refusal: PeerError) -> None:
        await self._pause()

    def settle(self, *, exhausted: bool) -> None:
        """To be called often. A block that none of the hosts gives fails its readers. exhausted: there are no more."""
        self._hurry_silent_sources()
        if exhausted and self.assignment.stuck:
            for cid in self.assignment.give_up():
                self._waits.land(cid, NOBODY_GIVES_IT)
