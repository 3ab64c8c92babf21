"""Rewriting packs that are mostly waste (docs/spec/store.md, "Compacting")."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

from node.store import blocks, holds, layout
from node.store.faults import translated
from node.store.files import Files
from node.store.index import Index
from node.store.intake import Intake
from node.store.packs import PackWriter, Place
from node.store.reader import open_reader
from node.store.space import Space
from protocol.cid import RAW, Cid
from protocol.errors import DecodeError

_log = logging.getLogger(__name__)

_LIVE: Final = " UNION ALL ".join(
    f"SELECT '{table}' AS kind, id, {cid} AS cid, start, span, {length} AS length FROM {table}"  # noqa: S608 - constants
    f" WHERE pack = ? AND start >= ?{healthy}"
    for table, cid, length, healthy in (
        ("blocks", "cid", "length", " AND corrupt = 0"),
        ("notes", "release_cid", "0", ""),
    )
)
_LIVE_BYTES: Final = (
    "SELECT packs.id, packs.size_bytes, (SELECT count(*) FROM blocks WHERE pack = packs.id),"
    " (SELECT ifnull(sum(span), 0) FROM blocks WHERE pack = packs.id)"
    " + (SELECT ifnull(sum(span), 0) FROM notes WHERE pack = packs.id) FROM packs ORDER BY packs.id"
)
_STEP_ROWS: Final = 1000


class _Live(NamedTuple):
    kind: str
    id: int
    cid: bytes
    start: int
    span: int
    length: int


class Compactor:
    """Called without the index lock held; steps take it one by one, so that other writers go on between them."""

    def __init__(
        self,
        directory: Path,
        index: Index,
        packs: PackWriter,
        intake: Intake,
        space: Space,
        files: Files,
        limits: layout.StoreLimits,
    ) -> None:
        self._directory = directory
        self._index = index
        self._packs = packs
        self._intake = intake
        self._space = space
        self._files = files
        self._limits = limits

    def run(self) -> int:
        """Returns the bytes given back to the disk."""
        before = self._disk_bytes()
        seen: set[int] = set()
        while found := [row for row in self._wasteful() if row[0] not in seen]:  # also what was the newest pack before
            for pack, live_bytes in found:
                seen.add(pack)
                if self._has_room(live_bytes):
                    self._leave(pack)
                    self._move_all(pack)
                    self._space.reclaim()
        self._space.clear()
        return max(0, before - self._disk_bytes())

    def _disk_bytes(self) -> int:
        with translated(self._directory, "looking at packs"):
            return sum(_allocated(path) for path in layout.packs_dir(self._directory).iterdir())

    def _wasteful(self) -> list[tuple[int, int]]:
        """(pack, live bytes) of those to rewrite. A connection of its own: this may take a second."""
        with closing(open_reader(self._directory)) as reader, reader.reading() as tx:
            rows = tx.execute(_LIVE_BYTES).fetchall()
        found = []
        for pack, size, count, live_bytes in rows:
            taken = min(size, _allocated(layout.pack_path(self._directory, pack)))
            wasted = taken - live_bytes
            is_wasteful = wasted > live_bytes and wasted >= self._limits.compact_waste_bytes
            if is_wasteful or (count == 0 and pack != self._packs.active):
                found.append((pack, live_bytes))
        return found

    def _has_room(self, live_bytes: int) -> bool:
        """Both copies are on the disk for a while; that must not take what open holds were promised."""
        with self._index.transaction(durable=False) as tx:
            promised = holds.reserved_bytes(tx)
        with translated(self._directory, "looking at the disk"):
            free = self._files.free_bytes(self._directory)
        return free - promised >= 2 * live_bytes + self._limits.ballast_bytes

    def _leave(self, pack: int) -> None:
        """What is rewritten is not written to any more."""
        with self._index.lock:
            if pack == self._packs.active:
                self._intake.sync_packs()
                self._packs.roll()

    def _move_all(self, pack: int) -> None:
        at: int | None = 0
        while at is not None:
            with self._index.lock, translated(self._directory, "compacting a pack"):
                at = self._move_some(pack, at)

    def _move_some(self, pack: int, at: int) -> int | None:
        """Copy, sync, and only then, durably, let the rows name the copies. Gives where the next step begins."""
        with self._index.transaction(durable=False) as tx:
            rows = self._next(tx, pack, at)
            good = [(row, section) for row in rows if (section := self._read(tx, pack, row)) is not None]
        if not rows:
            return None
        if good:
            self._intake.make_room(sum(row.span for row, _ in good))
            with self._index.transaction(durable=False) as tx:
                places = self._packs.copy(tx, [(section, row.length) for row, section in good])
                tx.executemany("INSERT INTO dead VALUES (?, ?, ?)", (place[:3] for place in places))
            self._packs.committed(places)
            self._intake.sync_packs()
            with self._index.transaction(durable=True) as tx:
                self._packs.note_synced(tx)
                _exchange(tx, pack, [row for row, _ in good], places)
        return rows[-1].start + rows[-1].span

    def _next(self, tx: sqlite3.Connection, pack: int, at: int) -> list[_Live]:
        taken: list[_Live] = []
        size = 0
        for found in tx.execute(f"{_LIVE} ORDER BY start LIMIT ?", (*(pack, at) * 2, _STEP_ROWS)):
            row = _Live(*found)
            size += row.span
            if taken and size > self._limits.compact_step_bytes:
                break
            taken.append(row)
        return taken

    def _read(self, tx: sqlite3.Connection, pack: int, row: _Live) -> bytes | None:
        """The section, if it is what its row says; else the row is told."""
        try:
            fd = os.open(layout.pack_path(self._directory, pack), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            section = b""
        else:
            try:
                section = os.pread(fd, row.span, row.start)
            except OSError:
                section = b""
            finally:
                os.close(fd)
        if len(section) == row.span and _matches(row, section):
            return section
        if row.kind == "blocks":
            _log.error("block %s is damaged on disk", Cid(row.cid))
            blocks.mark_corrupt(tx, Cid(row.cid))
        else:  # it is written anew at the next start
            tx.execute("INSERT INTO dead SELECT pack, start, span FROM notes WHERE id = ?", (row.id,))
            tx.execute("DELETE FROM notes WHERE id = ?", (row.id,))
        return None


def _exchange(tx: sqlite3.Connection, pack: int, rows: Sequence[_Live], places: Sequence[Place]) -> None:
    tx.executemany("DELETE FROM dead WHERE pack = ? AND start = ?", (place[:2] for place in places))
    tx.executemany("INSERT INTO dead VALUES (?, ?, ?)", ((pack, row.start, row.span) for row in rows))
    for row, place in zip(rows, places, strict=True):
        tx.execute(f"UPDATE {row.kind} SET pack = ?, start = ? WHERE id = ?", (*place[:2], row.id))  # noqa: S608


def _matches(row: _Live, section: bytes) -> bool:
    cid = Cid(row.cid)
    try:
        if row.kind == "blocks":
            cid.verify(memoryview(section)[row.span - row.length :])
            return section.endswith(cid, 0, row.span - row.length)
        return Cid.of(RAW, section[section.index(cid) + len(cid) :]) == cid
    except (DecodeError, ValueError):
        return False


def _allocated(path: Path) -> int:
    try:
        return path.stat().st_blocks * 512
    except FileNotFoundError:
        return 0
