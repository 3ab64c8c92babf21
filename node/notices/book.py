"""What was told to publishers, and what the operator decided that is still to come, in `notices.db`.

A *measure* is a rule of the operator with what goes beyond it: from when on it holds, when what it hits is deleted,
until when it holds, what the public log is told. A notice is open as long as what it says holds.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

from node.databases import Database, Kind
from node.store.port import RuleRow
from protocol.errors import OperatorError
from protocol.notice import SignedNotice
from protocol.site_id import SiteId

LAYOUT: Final = 2
KEPT_PER_SITE: Final = 20
KEPT_CLOSED: Final = 100_000  # notices that are no longer open; at 1 KB each 100 MB
OPEN_SHOWN_MAX: Final = 1000

_SCHEMA: Final = """
CREATE TABLE measures (
    target TEXT PRIMARY KEY, verdict TEXT NOT NULL, ground TEXT NOT NULL, reason TEXT NOT NULL,
    effective_s INTEGER NOT NULL, drop_s INTEGER, note TEXT NOT NULL, secret INTEGER NOT NULL,
    in_force INTEGER NOT NULL, dropped INTEGER NOT NULL, until_s INTEGER
) WITHOUT ROWID;
CREATE TABLE notices (number INTEGER PRIMARY KEY, site BLOB NOT NULL, open INTEGER NOT NULL, signed BLOB NOT NULL);
CREATE INDEX notices_by_site ON notices (site, number);
CREATE TABLE standing (
    site BLOB PRIMARY KEY, number INTEGER NOT NULL, verdict TEXT NOT NULL, ground TEXT NOT NULL, reason TEXT NOT NULL,
    rule TEXT NOT NULL, list TEXT, effective_s INTEGER NOT NULL, drop_s INTEGER, secret INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE answers (site BLOB PRIMARY KEY, reason TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE counter (only INTEGER PRIMARY KEY CHECK (only = 1), next INTEGER NOT NULL);
INSERT INTO counter VALUES (1, 1)
"""


class NoticesFailed(OperatorError):
    """The notices cannot be read or written."""

    code: ClassVar[str] = "notices-failed"


FILE: Final = Kind(
    "the notices",
    LAYOUT,
    _SCHEMA,
    NoticesFailed,
    upgrades={1: "ALTER TABLE measures ADD COLUMN until_s INTEGER"},
)


@dataclass(frozen=True, slots=True)
class Measure:
    """A rule of the operator, now or later. drop_s: when what it hits is deleted, None: it is kept. note, secret: for
    the decision log. in_force: the rule is in the store. until_s: when it ends by itself, None: never."""

    target: str
    verdict: str
    ground: str
    reason: str
    effective_s: int
    drop_s: int | None = None
    note: str = ""
    secret: bool = False
    in_force: bool = False
    dropped: bool = False
    until_s: int | None = None

    def row(self) -> RuleRow:
        """The rule."""
        return RuleRow(self.target, self.verdict, self.ground, self.reason, self.effective_s)


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a site is or will be refused as a whole. rule: as a target or line; list_name: of whose it is."""

    verdict: str
    ground: str
    reason: str
    rule: str
    list_name: str | None
    effective_s: int
    drop_s: int | None = None
    secret: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """The open notice of a site: its number, and what it says."""

    number: int
    cause: Cause


class NoticeBook:
    """Methods block on the disk and may be called from any thread. Raise NoticesFailed; then nothing was written."""

    def __init__(self, path: Path) -> None:
        self._database = Database(FILE, path)

    def close(self) -> None:
        self._database.close()

    def measures(self) -> list[Measure]:
        """All, by their targets."""
        with self._database.reading() as database:
            rows = database.execute("SELECT * FROM measures ORDER BY target").fetchall()
        return [_measure(row) for row in rows]

    def put(self, measures: Sequence[Measure]) -> None:
        """Adds or replaces, all or none."""
        with self._database.writing() as database:
            database.executemany(
                "INSERT OR REPLACE INTO measures VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [astuple(each) for each in measures],
            )

    def take_back(self, target: str) -> bool:
        """Forgets a measure; False when there was none."""
        with self._database.writing() as database:
            return database.execute("DELETE FROM measures WHERE target = ?", (target,)).rowcount > 0

    def standing(self) -> dict[SiteId, Standing]:
        """The open notices."""
        with self._database.reading() as database:
            rows = database.execute("SELECT * FROM standing").fetchall()
        return {SiteId(row[0]): Standing(row[1], _cause(row[2:])) for row in rows}

    def next_number(self) -> int:
        """The number of the next notice; never one that was given before."""
        with self._database.reading() as database:
            return int(database.execute("SELECT next FROM counter").fetchone()[0])

    def add(self, given: Sequence[tuple[SignedNotice, Cause | None]]) -> None:
        """Keeps notices, each with what holds from now on for its site: a cause, or None when it is refused no longer.
        All or none."""
        with self._database.writing() as database:
            for signed, cause in given:
                self._add(database, signed, cause)
            self._tidy(database)

    def _add(self, database: sqlite3.Connection, signed: SignedNotice, cause: Cause | None) -> None:
        notice = signed.notice
        database.execute("UPDATE notices SET open = 0 WHERE site = ?", (notice.site,))
        database.execute(
            "INSERT INTO notices VALUES (?, ?, ?, ?)", (notice.number, notice.site, cause is not None, signed.encode())
        )
        database.execute("UPDATE counter SET next = ?", (notice.number + 1,))
        database.execute("DELETE FROM standing WHERE site = ?", (notice.site,))
        database.execute("DELETE FROM answers WHERE site = ?", (notice.site,))
        if cause is not None:
            database.execute(
                "INSERT INTO standing VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (notice.site, notice.number, *astuple(cause)),
            )
        database.execute(
            "DELETE FROM notices WHERE site = ? AND number NOT IN"
            " (SELECT number FROM notices WHERE site = ? ORDER BY number DESC LIMIT ?)",
            (notice.site, notice.site, KEPT_PER_SITE),
        )

    def _tidy(self, database: sqlite3.Connection) -> None:
        (closed,) = database.execute("SELECT count(*) FROM notices WHERE NOT open").fetchone()
        if closed > KEPT_CLOSED:
            database.execute(
                "DELETE FROM notices WHERE number IN"
                " (SELECT number FROM notices WHERE NOT open ORDER BY number LIMIT ?)",
                (closed - KEPT_CLOSED,),
            )

    def answer(self, reasons: Mapping[SiteId, str]) -> None:
        """What the notices that lift refusals of these sites will give as a reason."""
        with self._database.writing() as database:
            database.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", list(reasons.items()))

    def answers(self) -> dict[SiteId, str]:
        """By site, as `answer` was told."""
        with self._database.reading() as database:
            return {SiteId(site): reason for site, reason in database.execute("SELECT * FROM answers")}

    def of_site(self, site: SiteId, limit: int = KEPT_PER_SITE) -> list[bytes]:
        """The signed notices of a site, the newest first."""
        with self._database.reading() as database:
            return signed_notices(database, site, limit)

    def open(self, limit: int = OPEN_SHOWN_MAX) -> list[bytes]:
        """The open notices of all sites, the newest first."""
        with self._database.reading() as database:
            rows = database.execute("SELECT signed FROM notices WHERE open ORDER BY number DESC LIMIT ?", (limit,))
            return [bytes(signed) for (signed,) in rows]


def signed_notices(database: sqlite3.Connection, site: SiteId, limit: int) -> list[bytes]:
    """The signed notices of a site, the newest first."""
    rows = database.execute("SELECT signed FROM notices WHERE site = ? ORDER BY number DESC LIMIT ?", (site, limit))
    return [bytes(signed) for (signed,) in rows]


def _measure(row: Sequence[Any]) -> Measure:
    target, verdict, ground, reason, effective_s, drop_s, note, secret, in_force, dropped, until_s = row
    flags = (bool(secret), bool(in_force), bool(dropped))
    return Measure(target, verdict, ground, reason, effective_s, drop_s, note, *flags, until_s)


def _cause(row: Sequence[Any]) -> Cause:
    verdict, ground, reason, rule, list_name, effective_s, drop_s, secret = row
    return Cause(verdict, ground, reason, rule, list_name, effective_s, drop_s, bool(secret))


class NoticeReader:
    """Reads notices in a gateway worker: the public side alone. Short questions, which block on the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database = FILE.open_for_reading(path)

    def of_site(self, site: SiteId) -> list[bytes]:
        """As NoticeBook.of_site."""
        with FILE.translated(self._path, "reading"):
            return signed_notices(self._database, site, KEPT_PER_SITE)
