"""Which blocks may be given to strangers: those of held releases and kept trees, if the gate allows it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import trio

from node.policy.model import Act, Subject
from node.replication.context import Context
from node.store.errors import BlockCorrupt, BlockMissing
from node.store.port import StoreReader
from protocol.cid import Cid
from protocol.site_id import SiteId

log = logging.getLogger(__name__)

# A block that more sites share than this is something like an empty folder; one of these will do.
_SITES_MAX = 64
_READERS_MAX = 2


@dataclass(slots=True)
class _Found:
    """A block as asked for, and the sites and trees that it belongs to."""

    cid: Cid
    sites: list[SiteId]
    trees: list[Cid]
    data: bytes = field(default=b"", repr=False)


class Blocks:
    """Reads in worker threads, and asks the gate after that: just before an answer is given."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._threads = trio.CapacityLimiter(_READERS_MAX)

    async def here(self, cids: Sequence[Cid]) -> set[Cid]:
        """Those that this node has and may send."""
        found = await trio.to_thread.run_sync(_look, self._context.store, cids, limiter=self._threads)
        return {item.cid for item in found if self._allowed(item)}

    async def read(self, cids: Sequence[Cid], *, enough_bytes: int, max_bytes: int) -> list[tuple[Cid, bytes | None]]:
        """The first of `cids`, at least one, until there are `enough_bytes`; None where there is nothing to send.

        Never more than `max_bytes` in all, but for the first.
        """
        found = await trio.to_thread.run_sync(
            _read, self._context.store, cids, enough_bytes, max_bytes, limiter=self._threads
        )
        return [(item.cid, item.data if self._allowed(item) else None) for item in found]

    def _allowed(self, item: _Found) -> bool:
        for site in item.sites:
            state = self._context.core.state_of(site)
            held = state.held if state else None
            if (
                held is not None
                and self._context.gate.may_serve_peers(held).allowed
                and self._context.gate.may_send_block(held, item.cid).allowed
            ):
                return True
        return any(self._allowed_of_tree(root, item.cid) for root in item.trees)

    def _allowed_of_tree(self, root: Cid, cid: Cid) -> bool:
        subject = Subject(root=root, trail=(root, cid))
        return self._context.gate.policy.decide(Act.PEER_SERVE, subject).allowed


def _look(store: StoreReader, cids: Iterable[Cid]) -> list[_Found]:
    found = []
    for cid in cids:
        item = _holders(store, cid)
        if (item.sites or item.trees) and store.has_blocks((cid,)):
            found.append(item)
    return found


def _holders(store: StoreReader, cid: Cid) -> _Found:
    return _Found(cid, store.sites_of(cid, limit=_SITES_MAX), store.trees_of(cid, limit=_SITES_MAX))


def _read(store: StoreReader, cids: Iterable[Cid], enough_bytes: int, max_bytes: int) -> list[_Found]:
    found: list[_Found] = []
    total_bytes = 0
    for cid in cids:
        item = _read_one(store, cid)
        if found and total_bytes + len(item.data) > max_bytes:
            break
        found.append(item)
        total_bytes += len(item.data)
        if total_bytes >= enough_bytes:
            break
    return found


def _read_one(store: StoreReader, cid: Cid) -> _Found:
    item = _holders(store, cid)
    if item.sites or item.trees:
        try:
            item.data = store.get_block(cid)
        except (BlockMissing, BlockCorrupt) as error:
            log.warning("bitswap: %s", error)
            return _Found(cid, [], [])
    return item
