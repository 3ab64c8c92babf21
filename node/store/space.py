"""Giving space back: doomed holds step by step, then whole packs, then holes in packs.

Bytes are given up only after the rows that named them are durably gone (docs/spec/store.md, "Freeing").
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Final

from node.store import blocks, holds, layout
from node.store.faults import translated
from node.store.files import Files
from node.store.index import Index
from node.store.packs import PackWriter

_PUNCH_ROWS: Final = 4000  # dead extents handled at a time


class Space:
    """Called without the index lock held; steps take it one by one, so that other writers go on between them."""

    def __init__(
        self, directory: Path, index: Index, packs: PackWriter, files: Files, limits: layout.StoreLimits
    ) -> None:
        self._directory = directory
        self._index = index
        self._packs = packs
        self._files = files
        self._limits = limits
        self._can_punch = True  # until the file system says no

    def collect(self) -> None:
        """Free what doomed holds kept, then reclaim."""
        while self._collect_step():
            pass
        self.reclaim()

    def _collect_step(self) -> bool:
        with self._index.transaction(durable=False) as tx:
            hold = holds.next_doomed(tx)
            if hold is None:
                return False
            if not blocks.free_slice(tx, hold, self._limits.collect_step_blocks):
                tx.execute("DELETE FROM holds WHERE id = ?", (hold,))
        return True

    def reclaim(self) -> None:
        """Unlink packs without a live block and punch the dead extents of the others."""
        with self._index.transaction(durable=False) as tx:
            (any_dead,) = tx.execute("SELECT EXISTS (SELECT 1 FROM dead)").fetchone()
        if not any_dead:
            return
        with self._index.transaction(durable=True) as tx:
            empty = _take_empty_packs(tx, self._packs.active)
        with translated(self._directory, "freeing space"):
            for pack in empty:
                self._files.unlink(layout.pack_path(self._directory, pack))
            while self._can_punch and self._punch_some():
                pass

    def _punch_some(self) -> bool:
        with self._index.transaction(durable=False) as tx:
            rows = tx.execute(
                "SELECT pack, start, span FROM dead ORDER BY pack, start LIMIT ?", (_PUNCH_ROWS,)
            ).fetchall()
            for pack, extents in groupby(rows, key=lambda row: row[0]):
                if not self._punch(pack, runs((start, span) for _, start, span in extents)):
                    self._can_punch = False
                    return False
            tx.executemany("DELETE FROM dead WHERE pack = ? AND start = ?", ((row[0], row[1]) for row in rows))
        return len(rows) == _PUNCH_ROWS

    def _punch(self, pack: int, extents: Iterable[tuple[int, int]]) -> bool:
        """False where the file system cannot: `compact` gives that space back.

        Synced, so that no torn remains of a section are left once its row in `dead` is gone.
        """
        try:
            fd = self._files.open(layout.pack_path(self._directory, pack))
        except FileNotFoundError:
            return True
        try:
            for start, span in extents:
                if not self._files.punch(fd, start, span):
                    return False
            self._files.fsync(fd)
        finally:
            os.close(fd)
        return True

    def clear(self) -> None:
        """Write zeros over what could not be punched, a few MB at a time."""
        with translated(self._directory, "clearing freed space"):
            while not self._can_punch and self._clear_some():
                pass

    def _clear_some(self) -> bool:
        with self._index.lock:
            with self._index.transaction(durable=True) as tx:  # who named these bytes is forgotten for good
                rows = _first_bytes(
                    tx.execute("SELECT pack, start, span FROM dead ORDER BY pack, start LIMIT ?", (_PUNCH_ROWS,)),
                    self._limits.compact_step_bytes,
                )
            for pack, extents in groupby(rows, key=lambda row: row[0]):
                self._write_zeros(pack, runs((start, span) for _, start, span in extents))
            with self._index.transaction(durable=False) as tx:
                tx.executemany("DELETE FROM dead WHERE pack = ? AND start = ?", (row[:2] for row in rows))
        return bool(rows)

    def _write_zeros(self, pack: int, extents: Iterable[tuple[int, int]]) -> None:
        try:
            fd = self._files.open(layout.pack_path(self._directory, pack))
        except FileNotFoundError:
            return
        try:
            for start, span in extents:
                self._files.write_at(fd, start, [bytes(span)])
            self._files.fsync(fd)
        finally:
            os.close(fd)


def _first_bytes(rows: Iterable[tuple[int, int, int]], limit_bytes: int) -> list[tuple[int, int, int]]:
    """The first rows up to so many bytes, at least one."""
    taken: list[tuple[int, int, int]] = []
    size = 0
    for row in rows:
        size += row[2]
        if taken and size > limit_bytes:
            break
        taken.append(row)
    return taken


def _take_empty_packs(tx: sqlite3.Connection, active: int) -> list[int]:
    empty = [
        row[0]
        for row in tx.execute(
            "SELECT id FROM packs WHERE id <> ? AND NOT EXISTS (SELECT 1 FROM blocks WHERE pack = packs.id)"
            " AND NOT EXISTS (SELECT 1 FROM notes WHERE pack = packs.id)",
            (active,),
        )
    ]
    tx.executemany("DELETE FROM packs WHERE id = ?", ((pack,) for pack in empty))
    tx.executemany("DELETE FROM dead WHERE pack = ?", ((pack,) for pack in empty))
    return empty


def runs(extents: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Join (start, span) pairs in order that touch, so that small neighbours give back whole disk blocks."""
    begin = end = -1
    for start, span in extents:
        if start != end:
            if end > begin:
                yield begin, end - begin
            begin = start
        end = start + span
    if end > begin:
        yield begin, end - begin
