"""The published side of the decision log: heads, entries and proofs, read from its file. Never a private note."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from node.decisions.files import FILE
from protocol import merkle
from protocol.decision import Entry, SignedLogHead

PAGE_MAX = 256


class NoSuchEntry(Exception):
    """A number or a size beyond the log's end, or a range that makes no sense."""


@dataclass(frozen=True, slots=True)
class Published:
    """An entry as everybody may see it. opened: name → (salt, text); withheld: its texts are not given."""

    raw: bytes
    entry: Entry
    opened: dict[str, tuple[bytes, str]]
    withheld: bool


class LogReader:
    """Reads the log, from another process too. Short questions, which block on the disk. LogFailed."""

    def __init__(self, path: Path, database: sqlite3.Connection | None = None) -> None:
        self._path = path
        self._database = FILE.open_for_reading(path) if database is None else database

    def close(self) -> None:
        self._database.close()

    def head(self) -> SignedLogHead:
        """The newest; there always is one."""
        with FILE.translated(self._path, "reading"):
            (signed,) = self._database.execute("SELECT signed FROM head").fetchone()
            return SignedLogHead.decode(signed)

    def size(self) -> int:
        """How many entries there are."""
        with FILE.translated(self._path, "reading"):
            return int(self._database.execute("SELECT size FROM head").fetchone()[0])

    def entries(self, start: int, end: int) -> list[Published]:
        """From `start` to before `end`, as far as there are any; at most PAGE_MAX."""
        if not 0 <= start <= end:
            raise NoSuchEntry(f"no entries from {start} to {end}")
        end = min(end, start + PAGE_MAX)
        with FILE.translated(self._path, "reading"):
            rows = self._database.execute(
                "SELECT number, entry, withheld FROM entries WHERE number >= ? AND number < ? ORDER BY number",
                (start, end),
            ).fetchall()
            texts = self._database.execute(
                "SELECT number, name, salt, text FROM opened WHERE number >= ? AND number < ?", (start, end)
            ).fetchall()
        opened: dict[int, dict[str, tuple[bytes, str]]] = {}
        for number, name, salt, text in texts:
            opened.setdefault(number, {})[name] = (salt, text)
        return [
            Published(raw, Entry.decode(raw), {} if withheld else opened.get(number, {}), bool(withheld))
            for number, raw, withheld in rows
        ]

    def inclusion(self, number: int, size: int) -> list[bytes]:
        """The proof that an entry is in the log's first `size` entries. NoSuchEntry."""
        if not number < size <= self.size():
            raise NoSuchEntry(f"no entry {number} among the first {size}")
        return merkle.inclusion_proof(number, size, self.node)

    def consistency(self, old: int, new: int) -> list[bytes]:
        """The proof that the first `new` entries begin with the first `old`. NoSuchEntry."""
        if not old <= new <= self.size():
            raise NoSuchEntry(f"no proof from {old} to {new} entries")
        return merkle.consistency_proof(old, new, self.node)

    def number_for(self, target: str, list_name: str | None) -> int | None:
        """The entry that put the rule in force which refuses something; None when it is withheld or not there yet."""
        kind, name = ("rule", target) if list_name is None else ("list", list_name)
        with FILE.translated(self._path, "reading"):
            row = self._database.execute(
                "SELECT number FROM standing JOIN entries USING (number) WHERE kind = ? AND name = ? AND NOT withheld",
                (kind, name),
            ).fetchone()
        return int(row[0]) if row else None

    def node(self, level: int, place: int) -> bytes:
        """The hash of a complete subtree (protocol/merkle.py)."""
        with FILE.translated(self._path, "reading"):
            row = self._database.execute("SELECT hash FROM nodes WHERE level = ? AND place = ?", (level, place))
            return bytes(row.fetchone()[0])
