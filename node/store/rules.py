"""Rows of the operator: rules, subscribed lists, follows. Functions over an open transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from node.store.errors import TooMany
from node.store.port import ListRow, RuleRow
from protocol.site_id import SiteId

_OWN = ""  # the list name of the operator's own rules, as NULL cannot be part of a key


def load(tx: sqlite3.Connection) -> list[RuleRow]:
    return [
        RuleRow(target, verdict, ground, reason, since_s, list_ or None)
        for list_, target, verdict, ground, reason, since_s in tx.execute(
            "SELECT list, target, verdict, ground, reason, since_s FROM rules ORDER BY list, target"
        )
    ]


def version(tx: sqlite3.Connection) -> int:
    (found,) = tx.execute("SELECT rules_version FROM totals").fetchone()
    return int(found)


def add(tx: sqlite3.Connection, rows: Iterable[RuleRow], limit: int) -> None:
    """Raises TooMany above `limit` rules in all."""
    tx.executemany(
        "INSERT OR REPLACE INTO rules (list, target, verdict, ground, reason, since_s) VALUES (?, ?, ?, ?, ?, ?)",
        ((row.list_name or _OWN, row.target, row.verdict, row.ground, row.reason, row.since_s) for row in rows),
    )
    (count,) = tx.execute("SELECT count(*) FROM rules").fetchone()
    if count > limit:
        raise TooMany(f"{count} rules where {limit} are kept at most")
    _changed(tx)


def remove(tx: sqlite3.Connection, target: str) -> bool:
    found = tx.execute("DELETE FROM rules WHERE list = ? AND target = ?", (_OWN, target)).rowcount > 0
    if found:
        _changed(tx)
    return found


def lists(tx: sqlite3.Connection) -> list[ListRow]:
    return [
        ListRow(*row)
        for row in tx.execute("SELECT name, path, mtime_ns, size_bytes, inode, read_s, error FROM lists ORDER BY name")
    ]


def save_list(tx: sqlite3.Connection, row: ListRow, limit: int) -> None:
    if not row.name:
        raise ValueError("a list needs a name")
    tx.execute(
        "INSERT OR REPLACE INTO lists (name, path, mtime_ns, size_bytes, inode, read_s, error)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (row.name, row.path, row.mtime_ns, row.size_bytes, row.inode, row.read_s, row.error),
    )
    (count,) = tx.execute("SELECT count(*) FROM lists").fetchone()
    if count > limit:
        raise TooMany(f"{count} lists where {limit} are kept at most")


def replace(tx: sqlite3.Connection, list_name: str, rows: Sequence[RuleRow], limit: int) -> None:
    """Raises ValueError when the list is unknown or a rule belongs to another one."""
    if tx.execute("SELECT 1 FROM lists WHERE name = ?", (list_name,)).fetchone() is None:
        raise ValueError(f"no list is called {list_name}")
    if any(row.list_name != list_name for row in rows):
        raise ValueError(f"rules of another list than {list_name}")
    tx.execute("DELETE FROM rules WHERE list = ?", (list_name,))
    add(tx, rows, limit)


def remove_list(tx: sqlite3.Connection, list_name: str) -> bool:
    found = tx.execute("DELETE FROM lists WHERE name = ?", (list_name,)).rowcount > 0
    if found:
        tx.execute("DELETE FROM rules WHERE list = ?", (list_name,))
        _changed(tx)
    return found


def _changed(tx: sqlite3.Connection) -> None:
    tx.execute("UPDATE totals SET rules_version = rules_version + 1")


def follow(tx: sqlite3.Connection, site: SiteId, limit: int) -> bool:
    new = tx.execute("INSERT OR IGNORE INTO follows (site) VALUES (?)", (site,)).rowcount > 0
    (count,) = tx.execute("SELECT count(*) FROM follows").fetchone()
    if count > limit:
        raise TooMany(f"{limit} sites are followed already")
    return new


def unfollow(tx: sqlite3.Connection, site: SiteId) -> bool:
    return tx.execute("DELETE FROM follows WHERE site = ?", (site,)).rowcount > 0


def follows(tx: sqlite3.Connection) -> frozenset[SiteId]:
    return frozenset(SiteId(row[0]) for row in tx.execute("SELECT site FROM follows"))
