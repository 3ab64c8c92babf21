"""What a rebuild keeps of the old index: rows that are in no pack, as far as they can be read."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from node.store import holds, names, sites
from protocol.errors import DecodeError
from protocol.release import SignedRelease, check_successor

_log = logging.getLogger(__name__)

_TABLES: Final = {
    "rules": ("list", "target", "verdict", "ground", "reason", "since_s"),
    "lists": ("name", "path", "mtime_ns", "size_bytes", "inode", "read_s", "error"),
    "follows": ("site",),
    "peers": ("peer", "addresses", "seen_s"),
}
_HEADS: Final = "heads"
_NAMES: Final = "names"


def from_old(tx: sqlite3.Connection, old: Path | None, *, now_s: int) -> tuple[dict[str, int], list[str]]:
    """Rows kept by table, and the tables of which some or all is lost."""
    kept = dict.fromkeys((*_TABLES, _HEADS, _NAMES), 0)
    if old is None:
        return kept, list(kept)
    lost: list[str] = []
    try:
        connection = sqlite3.connect(old.absolute().as_uri() + "?mode=ro", uri=True, isolation_level=None)
    except sqlite3.Error as error:
        _log.warning("the old index cannot be opened: %s", error)
        return kept, list(kept)
    with closing(connection):
        connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
        for table, columns in _TABLES.items():
            insert = f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608 - constants
            for row in _rows(connection, f"SELECT {', '.join(columns)} FROM {table}", table, lost):  # noqa: S608
                with suppress(sqlite3.IntegrityError):  # a damaged row that is none of ours
                    kept[table] += tx.execute(insert, row).rowcount
        for head, updated_s in _rows(connection, "SELECT head, updated_s FROM sites", _HEADS, lost):
            kept[_HEADS] += _keep_head(tx, head, updated_s if isinstance(updated_s, int) else now_s)
        if not _is_before_names(connection):
            for name in _rows(connection, "SELECT name, record, kept, saved_s FROM names", _NAMES, lost):
                kept[_NAMES] += _keep_name(tx, name)
    tx.execute("UPDATE totals SET rules_version = rules_version + 1")
    return kept, lost


def _rows(connection: sqlite3.Connection, query: str, name: str, lost: list[str]) -> Iterator[tuple[object, ...]]:
    """Up to the first that cannot be read."""
    try:
        yield from connection.execute(query)
    except sqlite3.Error as error:
        _log.warning("the old index does not give all its %s: %s", name, error)
        lost.append(name)


def _is_before_names(connection: sqlite3.Connection) -> bool:
    """An index of an earlier layout, which has none to lose."""
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.Error:
        return False
    return int(version) in (1, 2)


def _keep_name(tx: sqlite3.Connection, row: tuple[object, ...]) -> bool:
    """Signed, too."""
    name, record, _, _ = row
    if not isinstance(name, bytes) or not isinstance(record, bytes):
        return False
    try:
        names.verified(name, record)
        tx.execute("INSERT OR IGNORE INTO names (name, record, kept, saved_s) VALUES (?, ?, ?, ?)", row)
    except (DecodeError, sqlite3.IntegrityError):
        return False
    return True


def _keep_head(tx: sqlite3.Connection, head: object, updated_s: int) -> bool:
    """Signed, so it can be believed wherever it was."""
    if not isinstance(head, bytes):
        return False
    try:
        signed = SignedRelease.decode(head)
        record = sites.load(tx, signed.site)
        if record is None or record.head != signed:
            check_successor(record.head if record else None, signed)
            sites.put_head(tx, signed, now_s=updated_s)
            if signed.release.ended:
                holds.doom_site(tx, signed.site)
        else:
            tx.execute("UPDATE sites SET updated_s = ? WHERE site = ?", (updated_s, signed.site))
    except DecodeError:
        return False
    return True
