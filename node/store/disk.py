"""The store on disk: the parts put together behind the port."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from node.store import cache, holds, layout, notes, sites
from node.store.compact import Compactor
from node.store.disk_trees import DiskTrees
from node.store.errors import StoreClosed, StoreDamaged, StoreFull
from node.store.files import Files, OsFiles
from node.store.index import Index
from node.store.intake import Intake
from node.store.lock import Ballast, StoreLock
from node.store.packs import PackWriter
from node.store.port import AnyHold, H, Hold, HoldInfo, Origin, SiteRecord, Usage
from node.store.reader import PackReader
from node.store.recovery import recover
from node.store.space import Space
from protocol.cid import Cid
from protocol.errors import OperatorError
from protocol.release import SignedRelease, check_successor
from protocol.site_id import SiteId

_log = logging.getLogger(__name__)


def open_store(
    directory: Path,
    *,
    quota_bytes: int,
    cache_bytes: int = 0,
    files: Files | None = None,
    limits: layout.StoreLimits | None = None,
    clock: Callable[[], float] = time.time,
) -> DiskStore:
    """Open the store in `directory`, which is made if need be, and recover it after a crash.

    Raises StoreLocked, StoreFull, StoreReadOnly, StoreFailed, StoreDamaged or StoreTooNew.
    """
    return DiskStore(directory, quota_bytes, cache_bytes, files or OsFiles(), limits or layout.StoreLimits(), clock)


class DiskStore(DiskTrees):
    """The Store port on disk; made by `open_store`."""

    def __init__(
        self,
        directory: Path,
        quota_bytes: int,
        cache_bytes: int,
        files: Files,
        limits: layout.StoreLimits,
        clock: Callable[[], float],
    ) -> None:
        self.directory = directory
        self._quota_bytes = quota_bytes
        self._cache_quota_bytes = cache_bytes
        self._clock = clock
        self._files = files
        self._lock = StoreLock(directory, files)
        try:
            if (directory / layout.REBUILDING_NAME).exists():
                raise StoreDamaged(
                    f"a rebuild of the index in {directory} was broken off", hint="fednode store rebuild"
                )
            self._ballast = Ballast(directory, files, limits.ballast_bytes)
            self._ballast.release_if_low()
            self._index = Index(directory, files)
        except BaseException:
            self._lock.close()
            raise
        try:
            self._packs = PackWriter(directory, self._index, files, limits)
            self._space = Space(directory, self._index, self._packs, files, limits)
            self._intake = Intake(
                self._index, self._packs, limits, quota_bytes=quota_bytes, cache_quota_bytes=cache_bytes
            )
            recover(directory, self._index, self._packs, files, limits)
            self._note_missing()
            compactor = Compactor(directory, self._index, self._packs, self._intake, self._space, files, limits)
            super().__init__(self._index, PackReader(directory), self._ballast, limits, compactor, clock)
        except BaseException:
            self._packs.close()
            self._index.close()
            self._lock.close()
            raise
        self._free()

    def _note_missing(self) -> None:
        with self._index.transaction(durable=False) as tx:
            notes.free(tx, None)
            missing = list(notes.missing(tx))
        for note in missing:
            self._intake.note(note)

    # --- holds ---------------------------------------------------------------------------------------------

    def begin_hold(self, signed: SignedRelease, *, leave_bytes: int = 0) -> Hold:
        if signed.release.ended:
            raise ValueError("a release that ends its site has no blocks to hold")
        with self._index.transaction(durable=False) as tx:
            begun = holds.begin(
                tx,
                signed,
                quota_bytes=self._quota_bytes - leave_bytes,
                max_open=self._limits.open_holds_per_site,
                now_s=self._now_s(),
            )
            if begun.reserved_bytes:
                self._check_disk(holds.reserved_bytes(tx))
        if begun.surplus:
            self._free()
        return begun.hold

    def _check_disk(self, needed_bytes: int) -> None:
        free = self._files.free_bytes(self.directory)
        if needed_bytes > free:
            raise StoreFull(
                f"the disk of {self.directory} has {free} bytes left where {needed_bytes} are needed",
                hint="free space on this disk, or lower hosting.quota_bytes to what it has",
            )

    def hold_info(self, hold: H) -> HoldInfo[H]:
        with self._reader.reading() as tx:
            return holds.load(tx, hold).info(hold)

    def holds(self) -> list[HoldInfo[Hold]]:
        with self._reader.reading() as tx:
            return list(holds.open_holds(tx))

    def put_blocks(self, hold: AnyHold, blocks: Sequence[tuple[Cid, bytes]]) -> int:
        return self._intake.put(hold, blocks)

    def link_blocks(self, hold: AnyHold, cids: Sequence[Cid]) -> list[Cid]:
        return self._intake.link(hold, cids)

    def finish_hold(self, hold: Hold, *, origin: Origin) -> None:
        with self._index.lock:
            with self._index.transaction(durable=False) as tx:
                row = holds.load(tx, hold)
                if row.state == layout.FINISHED:
                    return
                holds.check_finish(tx, row, hold.signed)
            self._ballast.release_if_low()
            self._intake.note(notes.Note.of(hold.signed, origin))
            self._intake.sync_packs()
            with self._urgent() as tx:
                row = holds.load(tx, hold)
                self._packs.note_synced(tx)
                holds.finish(tx, row, hold.signed, origin=origin, now_s=self._now_s())
        self._free()

    def abort_hold(self, hold: AnyHold) -> None:
        with self._index.transaction(durable=False) as tx:
            holds.doom_hold(tx, hold)
        self._free()

    # --- sites ---------------------------------------------------------------------------------------------

    def site(self, site: SiteId) -> SiteRecord | None:
        return self._reader.site(site)

    def sites(self) -> list[SiteRecord]:
        return self._reader.sites()

    def set_head(self, signed: SignedRelease) -> bool:
        record = self._reader.site(signed.site)
        if record is not None and record.head == signed:
            return False
        if not signed.release.ended:
            with self._urgent() as tx:
                self._put_head(tx, signed)
            return True
        with self._index.lock:
            self._note_end(signed)
            with self._urgent() as tx:
                self._packs.note_synced(tx)
                self._put_head(tx, signed)
                holds.doom_site(tx, signed.site)
        self._free()
        return True

    def _note_end(self, signed: SignedRelease) -> None:
        """That a site which was held here ended shall survive a loss of the index; but ending needs no disk."""
        with self._reader.reading() as tx:
            record, was_held = sites.load(tx, signed.site), sites.was_held(tx, signed.site)
        check_successor(record.head if record else None, signed)
        if not was_held:
            return
        self._ballast.release_if_low()
        try:
            self._intake.note(notes.Note.of(signed, notes.END))
            self._intake.sync_packs()
        except OperatorError as error:
            _log.warning("the end of %s is noted later: %s", signed.site, error)

    def end_site(self, signed: SignedRelease) -> None:
        if not signed.release.ended:
            raise ValueError("this release does not end its site")
        self.set_head(signed)

    def _put_head(self, tx: sqlite3.Connection, signed: SignedRelease) -> None:
        record = sites.load(tx, signed.site)
        check_successor(record.head if record else None, signed)
        sites.put_head(tx, signed, now_s=self._now_s())
        if record is None:
            sites.forget_surplus_heads(tx, self._limits.heard_sites)

    def drop_site(self, site: SiteId) -> int:
        before = self.usage()
        with self._urgent() as tx:
            holds.doom_site(tx, site)
        self._free()
        return max(0, before.used_bytes - self.usage().used_bytes)

    # --- blocks --------------------------------------------------------------------------------------------

    def cache_blocks(self, blocks: Sequence[tuple[Cid, bytes]]) -> None:
        if self._intake.cache(blocks) >= self._limits.reclaim_cache_bytes:
            self._free()

    def touch_cached(self, cids: Iterable[Cid]) -> None:
        with self._index.transaction(durable=False) as tx:
            cache.touch(tx, cids)

    def get_block(self, cid: Cid) -> bytes:
        return self._reader.read_block(cid, lambda: self._note_corrupt(cid))

    def has_blocks(self, cids: Iterable[Cid]) -> set[Cid]:
        return self._reader.has_blocks(cids)

    def blocks_of(self, site: SiteId, cids: Iterable[Cid]) -> set[Cid]:
        return self._reader.blocks_of(site, cids)

    def sites_of(self, cid: Cid, *, limit: int) -> list[SiteId]:
        return self._reader.sites_of(cid, limit=limit)

    def is_linked(self, cid: Cid) -> bool:
        with self._reader.reading() as tx:
            return holds.is_linked(tx, cid.canonical)

    def usage(self) -> Usage:
        with self._reader.reading() as tx:
            return holds.usage(tx, quota_bytes=self._quota_bytes, cache_quota_bytes=self._cache_quota_bytes)

    def sync(self) -> None:
        self._intake.sync()

    # --- the rest ------------------------------------------------------------------------------------------

    def data_version(self) -> int:
        return self._reader.data_version()

    def rules_version(self) -> int:
        return self._reader.rules_version()

    def close(self) -> None:
        """Write what is pending, if the disk takes it, and give up the lock. May be called twice."""
        with self._index.lock:
            self._ballast.release_if_low()
            try:
                self._intake.sync_packs()
                with self._index.transaction(durable=True) as tx:
                    self._packs.note_synced(tx)
            except OperatorError as error:
                _log.warning("closing without a last sync: %s", error)
            except StoreClosed:
                return
            self._reader.close()
            self._index.close()
            self._packs.close()
            self._lock.close()

    def _free(self) -> None:
        """What is freed later needs no answer now: the next call or start goes on."""
        try:
            self._ballast.release_if_low()
            self._space.collect()
            self._ballast.restore()
        except OperatorError as error:
            _log.warning("space is freed later: %s", error)

    def _now_s(self) -> int:
        return int(self._clock())
