"""Reading all blocks in the course of weeks, a little at a time (docs/spec/store.md, "Scrubbing")."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Final

from node.store.errors import BlockCorrupt, BlockMissing
from node.store.index import Index
from node.store.port import Scrubbed, ScrubState
from node.store.reader import PackReader
from protocol.cid import Cid

_ROWS: Final = 256


class Scrub:
    """Where it is in the packs is kept in the index. What moves goes to the end, so nothing is passed over."""

    def __init__(self, index: Index, reader: PackReader, on_corrupt: Callable[[Cid], None]) -> None:
        self._index = index
        self._reader = reader
        self._on_corrupt = on_corrupt

    def state(self) -> ScrubState:
        with self._reader.reading() as tx:
            return _load(tx)[1]

    def some(self, max_bytes: int, now_s: int) -> Scrubbed:
        with self._reader.reading() as tx:
            place, state = _load(tx)
            rows = tx.execute(
                "SELECT pack, start, span, cid FROM blocks WHERE (pack, start) > (?, ?) AND corrupt = 0"
                " ORDER BY pack, start LIMIT ?",
                (*place, _ROWS),
            ).fetchall()
        read, damaged, done = 0, 0, 0
        for row in rows:
            *place, span, cid = row
            damaged += not self._is_good(Cid(cid))
            read += span
            done += 1
            if read >= max_bytes:
                break
        finished = done == len(rows) < _ROWS
        with self._index.transaction(durable=False) as tx:
            if finished:
                tx.execute(
                    "UPDATE scrub SET pack = 0, start = 0, began_s = ?, read_bytes = 0, damaged = 0,"
                    " finished_s = ?, last_damaged = ?",
                    (now_s, now_s, state.damaged + damaged),
                )
            else:
                tx.execute(
                    "UPDATE scrub SET pack = ?, start = ?, began_s = ifnull(nullif(began_s, 0), ?),"
                    " read_bytes = read_bytes + ?, damaged = damaged + ?",
                    (*place, now_s, read, damaged),
                )
        return Scrubbed(read, damaged, finished)

    def _is_good(self, cid: Cid) -> bool:
        try:
            self._reader.read_block(cid, lambda: self._on_corrupt(cid))
        except BlockCorrupt:
            return False
        except BlockMissing:  # freed meanwhile
            return True
        return True


def _load(tx: sqlite3.Connection) -> tuple[list[int], ScrubState]:
    pack, start, *rest = tx.execute(
        "SELECT pack, start, began_s, read_bytes, damaged, finished_s, last_damaged FROM scrub"
    ).fetchone()
    return [pack, start], ScrubState(*rest)
