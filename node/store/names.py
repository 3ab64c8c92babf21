"""Rows of names: verified IPNS records of others. Functions over an open transaction."""

from __future__ import annotations

import sqlite3

from node.store.errors import TooMany
from node.store.port import NameRow
from protocol.ipns import IpnsRecord


def verified(name: bytes, record: bytes) -> IpnsRecord:
    """Raises DecodeError unless the key of `name` signed the record."""
    decoded = IpnsRecord.decode(record)
    decoded.verify(name)
    return decoded


def load(tx: sqlite3.Connection, name: bytes) -> NameRow | None:
    row = tx.execute("SELECT name, record, kept, saved_s FROM names WHERE name = ?", (name,)).fetchone()
    return None if row is None else NameRow(row[0], row[1], bool(row[2]), row[3])


def load_all(tx: sqlite3.Connection, *, kept_only: bool = False) -> list[NameRow]:
    rows = tx.execute(
        "SELECT name, record, kept, saved_s FROM names WHERE kept >= ? ORDER BY saved_s DESC, name", (int(kept_only),)
    )
    return [NameRow(name, record, bool(kept), saved_s) for name, record, kept, saved_s in rows]


def better(known: NameRow | None, offered: IpnsRecord) -> bool:
    """Whether the offered record takes the place of the known one; both are verified."""
    return known is None or offered.order > IpnsRecord.decode(known.record).order


def save(tx: sqlite3.Connection, name: bytes, record: IpnsRecord, *, kept: bool, now_s: int, keep: int) -> bool:
    """True when the record was news. Raises TooMany."""
    known = load(tx, name)
    news = better(known, record)
    best = record.raw if known is None or news else known.record
    kept = kept or (known is not None and known.kept)
    tx.execute(
        "INSERT OR REPLACE INTO names (name, record, kept, saved_s) VALUES (?, ?, ?, ?)", (name, best, kept, now_s)
    )
    tx.execute(
        "DELETE FROM names WHERE kept = 0 AND name IN"
        " (SELECT name FROM names ORDER BY kept DESC, saved_s DESC, name LIMIT -1 OFFSET ?)",
        (keep,),
    )
    (count,) = tx.execute("SELECT count(*) FROM names WHERE kept = 1").fetchone()
    if count > keep:
        raise TooMany(f"{keep} names are kept already")
    return news


def forget(tx: sqlite3.Connection, name: bytes) -> bool:
    return tx.execute("DELETE FROM names WHERE name = ?", (name,)).rowcount > 0
