"""Blocks on their way in: verified and written to the pack, then named in the index (docs/spec/store.md, "Writing")."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Sequence
from typing import Final

from node.store import blocks, cache, holds, layout, notes
from node.store.checking import checking
from node.store.index import Index
from node.store.layout import cost
from node.store.packs import PackWriter
from node.store.port import AnyHold
from node.store.recovery import forget_beyond
from protocol.cid import Cid
from protocol.errors import OperatorError

_log = logging.getLogger(__name__)

_LENGTH_MAX_BYTES: Final = 4  # a section's length before it: blocks are at most 2 MiB


class Intake:
    def __init__(
        self,
        index: Index,
        packs: PackWriter,
        limits: layout.StoreLimits,
        *,
        quota_bytes: int,
        cache_quota_bytes: int,
    ) -> None:
        self._index = index
        self._packs = packs
        self._limits = limits
        self._quota_bytes = quota_bytes
        self._cache_quota_bytes = cache_quota_bytes
        self._lost: list[tuple[int, int]] = []  # (pack, synced): what a failed sync took and rows still name

    def put(self, hold: AnyHold, incoming: Sequence[tuple[Cid, bytes]]) -> int:
        with checking(incoming) as checked, self._index.lock:
            batch = checked.blocks
            self._make_room(batch)
            with self._index.transaction(durable=False) as tx:
                row = holds.load(tx, hold)
                known = blocks.lookup(tx, batch, row.id)
                fresh = [cid for cid in batch if cid not in known]
                broken = [cid for cid, found in known.items() if found.corrupt]
                adopted = [found for found in known.values() if not found.kept]
                fresh_bytes = sum(len(batch[cid]) for cid in fresh)
                self._take_on(tx, row, adopted, len(fresh), fresh_bytes)
                places = self._packs.append(tx, [(cid, batch[cid]) for cid in (*fresh, *broken)])
                ids = blocks.insert(tx, fresh, places[: len(fresh)])
                blocks.move(tx, [known[cid].id for cid in broken], places[len(fresh) :])
                blocks.keep(tx, row.id, (*ids, *(found.id for found in adopted)))
                holds.count_new(tx, row, len(fresh), fresh_bytes)
                checked.wait()
            self._packs.committed(places)
            self._sync_if_due()
        return fresh_bytes

    def link(self, hold: AnyHold, cids: Sequence[Cid]) -> list[Cid]:
        asked = {cid.canonical: cid for cid in reversed(cids)}  # the first of two names of one block
        wanted = dict.fromkeys(cid.canonical for cid in cids)
        self._settle()
        with self._index.transaction(durable=False) as tx:
            row = holds.load(tx, hold)
            known = blocks.lookup(tx, wanted, row.id)
            missing = [asked[cid] for cid in wanted if cid not in known or known[cid].corrupt]
            adopted = [found for found in known.values() if not found.corrupt and not found.kept]
            if adopted:
                self._take_on(tx, row, adopted, 0, 0)
                blocks.keep(tx, row.id, (found.id for found in adopted))
        return missing

    def _take_on(
        self,
        tx: sqlite3.Connection,
        row: holds.HoldRow,
        adopted: Sequence[blocks.Known],
        fresh_blocks: int,
        fresh_bytes: int,
    ) -> None:
        """Check and count what the hold is about to keep: known blocks, and fresh ones to be written."""
        size = fresh_bytes + sum(found.length for found in adopted)
        holds.check_room(row, fresh_blocks + len(adopted), size)
        cached = [found for found in adopted if found.cached]
        blocks.take_from_cache(tx, cached)
        blocks.add_held(tx, fresh_blocks, fresh_bytes)
        grown = cost(fresh_blocks + len(cached), fresh_bytes + sum(found.length for found in cached))
        holds.charge(tx, row, blocks=fresh_blocks + len(adopted), size=size, grown=grown, quota_bytes=self._quota_bytes)

    def cache(self, incoming: Sequence[tuple[Cid, bytes]]) -> int:
        """Returns the bytes that were evicted."""
        with checking(incoming) as checked, self._index.lock:
            batch = checked.blocks
            self._make_room(batch)
            with self._index.transaction(durable=False) as tx:
                known = blocks.lookup(tx, batch, 0)
                fresh = [cid for cid in batch if cid not in known]
                broken = [cid for cid, found in known.items() if found.corrupt]
                places = self._packs.append(tx, [(cid, batch[cid]) for cid in (*fresh, *broken)])
                ids = blocks.insert(tx, fresh, places[: len(fresh)])
                blocks.move(tx, [known[cid].id for cid in broken], places[len(fresh) :])
                cache.touch(tx, known)
                cache.add(tx, ids, sum(len(batch[cid]) for cid in fresh))
                evicted = cache.evict(tx, self._cache_quota_bytes)
                checked.wait()
            self._packs.committed(places)
            self._sync_if_due()
        return evicted

    def note(self, note: notes.Note) -> None:
        """Write the note behind the blocks. Durable after `sync_packs`; raises only what that raises.

        The index is what counts: a note that the disk does not take is written at the next start.
        """
        with self._index.lock:
            has_room = self._packs.has_room(len(notes.encoded(note)))
            if not has_room:
                self.sync_packs()
            try:
                if not has_room:
                    self._packs.roll()
                with self._index.transaction(durable=False) as tx:
                    places = [] if notes.has(tx, note) else notes.write(tx, self._packs, note)
                self._packs.committed(places)
            except OperatorError as error:
                _log.warning("%s is noted later: %s", note, error)

    def _make_room(self, batch: dict[Cid, bytes]) -> None:
        self.make_room(sum(_LENGTH_MAX_BYTES + len(cid) + len(data) for cid, data in batch.items()))

    def make_room(self, size: int) -> None:
        """Begin another pack if the open one cannot take so many more bytes. Call it under the lock."""
        self._settle()
        if not self._packs.has_room(size):
            self.sync_packs()
            self._packs.roll()

    def _sync_if_due(self) -> None:
        if self._packs.unsynced_bytes >= self._limits.sync_every_bytes:
            self.sync_packs()  # the next write notes it

    def sync(self) -> None:
        """As `sync_packs`, and the index too, both at once.

        The index may be there before the bytes that it names. No hold is finished by this, and what lies behind
        the noted end of a sync is read again after a crash, so such rows are forgotten then.
        """
        with self._index.lock:
            self._settle()
            wait = self._packs.sync_beside()
            try:
                with self._index.transaction(durable=True):
                    pass
            finally:
                self._after_sync(wait)

    def sync_packs(self) -> None:
        """All bytes that rows name are on the disk when this returns. Call it under the lock.

        When the disk does not take them, nobody knows which are there: their rows go, and StoreFailed or
        StoreFull is raised. Blocks of open holds are then missing and are asked for again.
        """
        self._settle()
        self._after_sync(self._packs.sync)

    def _after_sync(self, sync: Callable[[], None]) -> None:
        try:
            sync()
        except OperatorError:
            self._lost.append(self._packs.abandon())
            try:
                self._settle()
            except OperatorError as error:
                _log.error("the index still names blocks that the disk did not take; tried again later: %s", error)
            raise

    def _settle(self) -> None:
        with self._index.lock:
            while self._lost:
                with self._index.transaction(durable=True) as tx:
                    pack, synced = self._lost[-1]
                    forget_beyond(tx, pack, synced)
                self._lost.pop()
