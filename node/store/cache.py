"""Rows of the cache: blocks of sites that are not held here, least recently used first out."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final

from node.store.blocks import groups, marks, padded
from protocol.cid import Cid

_EVICT_ROWS: Final = 64


def add(tx: sqlite3.Connection, ids: Sequence[int], size: int) -> None:
    """New block rows that only the cache keeps; `size` is their bytes."""
    tick = _next_tick(tx)
    tx.executemany("INSERT INTO cache (block, tick) VALUES (?, ?)", ((id_, tick) for id_ in ids))
    tx.execute("UPDATE totals SET cache_blocks = cache_blocks + ?, cache_bytes = cache_bytes + ?", (len(ids), size))


def touch(tx: sqlite3.Connection, cids: Iterable[Cid]) -> None:
    tick = _next_tick(tx)
    for group in groups(cids):
        wanted = padded([cid.canonical for cid in group])
        tx.execute(
            "UPDATE cache SET tick = ?"  # noqa: S608 - only question marks are put in
            f" WHERE block IN (SELECT id FROM blocks WHERE cid IN ({marks(len(wanted))}))",
            (tick, *wanted),
        )


def evict(tx: sqlite3.Connection, cap_bytes: int) -> int:
    """Forget the longest unused blocks until the rest fits; returns the bytes that became dead."""
    (cached,) = tx.execute("SELECT cache_bytes FROM totals").fetchone()
    freed = 0
    while cached - freed > cap_bytes:
        rows = tx.execute(
            "SELECT cache.block, blocks.length FROM cache JOIN blocks ON blocks.id = cache.block"
            " ORDER BY cache.tick, cache.block LIMIT ?",
            (_EVICT_ROWS,),
        ).fetchall()
        if not rows:
            break
        gone = []
        for id_, length in rows:
            if cached - freed <= cap_bytes:
                break
            gone.append((id_,))
            freed += length
        tx.executemany("INSERT INTO dead SELECT pack, start, span FROM blocks WHERE id = ?", gone)
        tx.executemany("DELETE FROM blocks WHERE id = ?", gone)
        tx.executemany("DELETE FROM cache WHERE block = ?", gone)
        tx.execute("UPDATE totals SET cache_blocks = cache_blocks - ?", (len(gone),))
    tx.execute("UPDATE totals SET cache_bytes = cache_bytes - ?", (freed,))
    return freed


def _next_tick(tx: sqlite3.Connection) -> int:
    tx.execute("UPDATE totals SET tick = tick + 1")
    (tick,) = tx.execute("SELECT tick FROM totals").fetchone()
    return int(tick)
