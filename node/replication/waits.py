"""Readers that wait for blocks of one release or tree, and what they will want next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from node.gateway.backend import Unavailable
from node.replication.context import Context
from node.replication.part_order import AHEAD_MIN_QUOTA_BYTES, PartOrder
from node.store.errors import BlockCorrupt, BlockMissing
from node.store.port import Store
from protocol.cid import Cid


@dataclass(slots=True)
class _Flight:
    """One block on its way."""

    landed: trio.Event = field(default_factory=trio.Event)
    error: Unavailable | None = None


class Waits:
    """Whoever fetches gives `want`, and calls `note` and `land` as blocks come."""

    def __init__(
        self, context: Context, *, may_have: Callable[[Cid], bool], want: Callable[[list[Cid], bool], None]
    ) -> None:
        """may_have: whether policy allows a block. want: fetch these, before all others if a reader waits for them."""
        self.asked_s = trio.current_time()
        """When a reader asked last."""
        self._context = context
        self._may_have = may_have
        self._want = want
        self._flights: dict[Cid, _Flight] = {}
        self._order = PartOrder()

    def __len__(self) -> int:
        return len(self._flights)

    def cids(self) -> list[Cid]:
        """The blocks on their way."""
        return list(self._flights)

    async def get(self, cid: Cid) -> None:
        """Returns when the store has the block. Raises Unavailable; deadlines are the caller's."""
        self.asked_s = trio.current_time()
        flight = self._flights.get(cid)
        if flight is None:
            flight = self._flights[cid] = _Flight()  # before looking: the block may be landing at this moment
            with trio.CancelScope(shield=True):
                is_here = await self._context.in_store(is_readable, self._context.store, cid)
            if is_here:
                self.land(cid, None)
                return
            self._want([cid], True)
        await self._fetch_ahead(cid)
        await flight.landed.wait()
        if flight.error is not None:
            raise Unavailable(flight.error.kind, flight.error.reason)

    async def _fetch_ahead(self, cid: Cid) -> None:
        """What a reader of a file wants after this block. Of what is refused nothing is fetched."""
        ahead = [following for following in self._order.after(cid) if following not in self._flights]
        store = self._context.store
        if not ahead or await self._context.in_store(lambda: store.usage().cache_quota_bytes) < AHEAD_MIN_QUOTA_BYTES:
            return
        here = await self._context.in_store(store.has_blocks, ahead)
        missing = [
            each
            for each in dict.fromkeys(ahead)
            if each not in here and each not in self._flights and self._may_have(each)
        ]
        if missing:
            self._flights.update((each, _Flight()) for each in missing)
            self._want(missing, False)

    def note(self, cid: Cid, data: bytes) -> None:
        """A block that came: what its links tell of what comes next."""
        self._order.note(cid, data)

    def land(self, cid: Cid, error: Unavailable | None) -> None:
        """The block is in the store, or cannot be had."""
        flight = self._flights.pop(cid, None)
        if flight is not None:
            flight.error = error
            flight.landed.set()

    def give_up(self, error: Unavailable) -> None:
        """Nobody is there to bring what is on its way."""
        for cid in self.cids():
            self.land(cid, error)


def is_readable(store: Store, cid: Cid) -> bool:
    """Reads the block, by which the store learns that it is damaged: only then can it be replaced."""
    try:
        store.get_block(cid)
    except (BlockMissing, BlockCorrupt):
        return False
    return True
