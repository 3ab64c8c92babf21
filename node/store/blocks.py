"""Rows of blocks and who keeps them. Functions over an open transaction; totals move with the rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, TypeVar

from node.store.packs import Place
from protocol.cid import Cid
from protocol.site_id import SiteId

T = TypeVar("T")

# CIDs asked for in one statement: few sizes, so that statements are reused, and none much larger than need be, since
# those that fill up cost as much as others.
_GROUPS: Final = tuple(1 << exponent for exponent in range(10))


@dataclass(frozen=True, slots=True)
class Known:
    """A block row as one hold sees it."""

    id: int
    length: int
    corrupt: bool
    kept: bool  # by this hold
    cached: bool  # by the cache, and then by no hold


def groups(items: Iterable[T]) -> Iterator[list[T]]:
    """Cut into lists of at most the largest group."""
    rest = iter(items)
    while group := list(islice(rest, _GROUPS[-1])):
        yield group


def padded(group: Sequence[T]) -> list[T]:
    """Repeat the last item up to the next group size; a set in SQL does not mind."""
    size = next(size for size in _GROUPS if size >= len(group))
    return [*group, *[group[-1]] * (size - len(group))]


def marks(count: int) -> str:
    return ",".join("?" * count)


def lookup(tx: sqlite3.Connection, cids: Iterable[Cid], hold: int) -> dict[Cid, Known]:
    """The rows of those of `cids` that there are."""
    known: dict[Cid, Known] = {}
    for group in groups(cids):
        wanted = padded(group)
        rows = tx.execute(
            "SELECT cid, id, length, corrupt,"  # noqa: S608 - only question marks are put in
            " EXISTS (SELECT 1 FROM refs WHERE hold = ? AND block = blocks.id),"
            " EXISTS (SELECT 1 FROM cache WHERE block = blocks.id)"
            f" FROM blocks WHERE cid IN ({marks(len(wanted))})",
            (hold, *wanted),
        )
        for cid, id_, length, corrupt, kept, cached in rows:
            known[Cid(cid)] = Known(id_, length, bool(corrupt), bool(kept), bool(cached))
    return known


def insert(tx: sqlite3.Connection, cids: Sequence[Cid], places: Sequence[Place]) -> range:
    """New rows; gives their ids, in order."""
    (first,) = tx.execute("SELECT ifnull(max(id), 0) + 1 FROM blocks").fetchone()
    ids = range(first, first + len(cids))
    tx.executemany(
        "INSERT INTO blocks (id, cid, pack, start, span, length) VALUES (?, ?, ?, ?, ?, ?)",
        ((id_, cid, *place) for id_, cid, place in zip(ids, cids, places, strict=True)),
    )
    return ids


def move(tx: sqlite3.Connection, ids: Sequence[int], places: Sequence[Place]) -> None:
    """Corrupt blocks that were written anew: the old bytes are dead."""
    tx.executemany("INSERT INTO dead SELECT pack, start, span FROM blocks WHERE id = ?", ((id_,) for id_ in ids))
    tx.executemany(
        "UPDATE blocks SET pack = ?, start = ?, span = ?, corrupt = 0 WHERE id = ?",
        ((place.pack, place.start, place.span, id_) for id_, place in zip(ids, places, strict=True)),
    )


def keep(tx: sqlite3.Connection, hold: int, ids: Iterable[int]) -> None:
    tx.executemany("INSERT INTO refs (hold, block) VALUES (?, ?)", ((hold, id_) for id_ in ids))


def take_from_cache(tx: sqlite3.Connection, rows: Iterable[Known]) -> None:
    """These cached blocks are kept by a hold from now on."""
    taken = [(row.id, row.length) for row in rows]
    if not taken:
        return
    tx.executemany("DELETE FROM cache WHERE block = ?", ((id_,) for id_, _ in taken))
    count, size = len(taken), sum(length for _, length in taken)
    tx.execute(
        "UPDATE totals SET cache_blocks = cache_blocks - ?, cache_bytes = cache_bytes - ?,"
        " held_blocks = held_blocks + ?, held_bytes = held_bytes + ?",
        (count, size, count, size),
    )


def add_held(tx: sqlite3.Connection, count: int, size: int) -> None:
    tx.execute("UPDATE totals SET held_blocks = held_blocks + ?, held_bytes = held_bytes + ?", (count, size))


def mark_corrupt(tx: sqlite3.Connection, cid: Cid) -> None:
    tx.execute("UPDATE blocks SET corrupt = 1 WHERE cid = ?", (cid,))


def damaged(tx: sqlite3.Connection, limit: int) -> list[tuple[Cid, SiteId | None]]:
    """Corrupt blocks, each with one of the sites that hold it."""
    rows = tx.execute(
        "SELECT cid, (SELECT holds.owner FROM refs JOIN holds ON holds.id = refs.hold WHERE refs.block = blocks.id"
        " AND holds.state = 1 AND holds.kind = 0 LIMIT 1) FROM blocks WHERE corrupt = 1 ORDER BY id LIMIT ?",
        (limit,),
    ).fetchall()
    return [(Cid(cid), None if site is None else SiteId(site)) for cid, site in rows]


def free_slice(tx: sqlite3.Connection, hold: int, limit: int) -> bool:
    """Give up the first `limit` references of a hold and the blocks that nothing else keeps; False at the end."""
    row = tx.execute(
        "SELECT max(block) FROM (SELECT block FROM refs WHERE hold = ? ORDER BY block LIMIT ?)", (hold, limit)
    ).fetchone()
    if row[0] is None:
        return False
    bound = (hold, row[0], hold)
    lonely = (
        "id IN (SELECT block FROM refs WHERE hold = ? AND block <= ?)"
        " AND NOT EXISTS (SELECT 1 FROM refs WHERE block = blocks.id AND hold <> ?)"
    )
    count, size = tx.execute(
        f"SELECT count(*), ifnull(sum(length), 0) FROM blocks WHERE {lonely}",  # noqa: S608 - a constant
        bound,
    ).fetchone()
    tx.execute(f"INSERT INTO dead SELECT pack, start, span FROM blocks WHERE {lonely}", bound)  # noqa: S608
    tx.execute(f"DELETE FROM blocks WHERE {lonely}", bound)  # noqa: S608
    tx.execute("DELETE FROM refs WHERE hold = ? AND block <= ?", (hold, row[0]))
    add_held(tx, -count, -size)
    return True
