"""Which blocks may be given to strangers: those of held releases, if the gate allows it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import trio

from node.replication.context import Context
from node.store.errors import BlockCorrupt, BlockMissing
from node.store.port import StoreReader
from protocol.cid import DAG_PB, SHA2_256, Cid
from protocol.site_id import SiteId

log = logging.getLogger(__name__)

# A block that more sites share than this is something like an empty folder; one of these will do.
_SITES_MAX = 64
_V1_DAG_PB = bytes((1, DAG_PB))
_READERS_MAX = 2


@dataclass(slots=True)
class _Found:
    """A block as asked for, and the sites that hold it under the name that the store has for it."""

    cid: Cid
    sites: list[SiteId]
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
        return False


def _look(store: StoreReader, cids: Iterable[Cid]) -> list[_Found]:
    found = []
    for cid in cids:
        for name in _names(cid):
            sites = store.sites_of(name, limit=_SITES_MAX)
            if sites and store.has_blocks((name,)):
                found.append(_Found(cid, sites))
                break
    return found


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
    for name in _names(cid):
        sites = store.sites_of(name, limit=_SITES_MAX)
        if sites:
            try:
                return _Found(cid, sites, store.get_block(name))
            except (BlockMissing, BlockCorrupt) as error:
                log.warning("bitswap: %s", error)
    return _Found(cid, [])


def _names(cid: Cid) -> tuple[Cid, ...]:
    """The CID, and the one of the other version that names the same dag-pb block."""
    if cid.version == 0:
        return cid, Cid(_V1_DAG_PB + cid)
    if cid[:2] == _V1_DAG_PB and cid.hash_code == SHA2_256:
        return cid, Cid(cid[2:])
    return (cid,)
