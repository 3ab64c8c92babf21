"""The queue of reports and appeals in `reports.db`: one open case of each kind for each subject, however many come."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, Final

from node.casework.model import APPEAL, LEVELS, BadReport, Report, rank_s, stricter
from node.databases import Database, Kind
from protocol.errors import OperatorError

Json = dict[str, Any]
LAYOUT: Final = 2
REPORTS_MAX: Final = 200_000  # in the file; at 6 KB for the longest about a gigabyte
CASE_REPORTS_MAX: Final = 1000  # kept with their text for one open case; more are counted, and share the case's answer
KEEP_DECIDED_S: Final = 180 * 86400  # then the reports and their contacts are deleted
TOKEN_BYTES: Final = 16
PAGE_MAX: Final = 500
APPEALS_MAX: Final = 5  # of one site within APPEALS_S; more are not taken
APPEALS_S: Final = 30 * 86400
OPEN: Final = "open"

_SCHEMA: Final = """
CREATE TABLE cases (
    id INTEGER PRIMARY KEY, subject TEXT NOT NULL, category TEXT NOT NULL, first_s INTEGER NOT NULL,
    last_s INTEGER NOT NULL, count INTEGER NOT NULL, due_s INTEGER NOT NULL, rank_s INTEGER NOT NULL,
    state TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '', decided_s INTEGER, entry INTEGER,
    kind TEXT NOT NULL DEFAULT 'report'
);
CREATE UNIQUE INDEX cases_open ON cases (subject, kind) WHERE state = 'open';
CREATE INDEX cases_by_rank ON cases (state, rank_s);
CREATE INDEX cases_by_due ON cases (state, due_s);
CREATE INDEX cases_by_subject ON cases (subject);
CREATE TABLE reports (
    id INTEGER PRIMARY KEY, case_id INTEGER NOT NULL, token BLOB NOT NULL UNIQUE, place TEXT NOT NULL,
    category TEXT NOT NULL, why TEXT NOT NULL, contact TEXT NOT NULL, evidence TEXT NOT NULL, at_s INTEGER NOT NULL
);
CREATE INDEX reports_by_case ON reports (case_id)
"""
_FROM_1: Final = """
ALTER TABLE cases ADD COLUMN kind TEXT NOT NULL DEFAULT 'report';
DROP INDEX cases_open;
CREATE UNIQUE INDEX cases_open ON cases (subject, kind) WHERE state = 'open'
"""


class BookFailed(OperatorError):
    """The queue of reports cannot be read or written."""

    code: ClassVar[str] = "reports-failed"


FILE: Final = Kind("the reports", LAYOUT, _SCHEMA, BookFailed, upgrades={1: _FROM_1})


@dataclass(frozen=True, slots=True)
class Case:
    """All reports on one subject, or all appeals of one site (kind: report, appeal). state: open, or how it was
    decided. entry: of the decision log."""

    id: int
    subject: str
    category: str
    first_s: int
    last_s: int
    count: int
    due_s: int
    rank_s: int
    state: str
    reason: str
    decided_s: int | None
    entry: int | None
    kind: str = "report"


@dataclass(frozen=True, slots=True)
class Backlog:
    """How much waits. oldest_due_s: when the most overdue case was or is due; late: how many are."""

    open: int
    late: int
    oldest_due_s: int | None


class ReportBook:
    """Methods block on the disk and may be called from any thread. Raise BookFailed, and then nothing was written."""

    def __init__(self, path: Path, *, now_s: Callable[[], int]) -> None:
        self._now_s = now_s
        self._database = Database(FILE, path)

    def close(self) -> None:
        self._database.close()

    def add(self, reports: Sequence[Report]) -> list[str]:
        """Takes reports in, all or none; a token for each. On disk when it returns. BadReport when there is no room."""
        tokens = []
        with self._database.writing() as database:
            (stored,) = database.execute("SELECT count(*) FROM reports").fetchone()
            if stored + len(reports) > REPORTS_MAX:
                raise BadReport("this node cannot take more reports at the moment")
            for report in reports:
                token = secrets.token_urlsafe(TOKEN_BYTES)
                self._add(database, report, _hashed(token))
                tokens.append(token)
        return tokens

    def add_appeal(self, report: Report, digest: bytes) -> bool:
        """Takes an appeal in, of category `appeal`; False when it is there already. On disk when it returns. BadReport
        when the site has made too many."""
        since_s = self._now_s() - APPEALS_S
        with self._database.writing() as database:
            if database.execute("SELECT 1 FROM reports WHERE token = ?", (digest,)).fetchone() is not None:
                return False
            (made,) = database.execute(
                "SELECT count(*) FROM reports JOIN cases ON case_id = cases.id"
                " WHERE subject = ? AND kind = 'appeal' AND at_s > ?",
                (report.subject, since_s),
            ).fetchone()
            if made >= APPEALS_MAX:
                raise BadReport(f"this site has appealed {made} times within {APPEALS_S // 86400} days")
            self._add(database, report, digest)
        return True

    def _add(self, database: sqlite3.Connection, report: Report, token: bytes) -> None:
        now_s = self._now_s()
        kind = APPEAL if report.category == APPEAL else "report"
        row = database.execute(
            "SELECT id, category, first_s, count FROM cases WHERE subject = ? AND kind = ? AND state = 'open'",
            (report.subject, kind),
        ).fetchone()
        if row is None:
            due_s = now_s + LEVELS[report.category].level_s
            case_id = database.execute(
                "INSERT INTO cases (subject, category, first_s, last_s, count, due_s, rank_s, state, kind)"
                " VALUES (?, ?, ?, ?, 1, ?, ?, 'open', ?)",
                (report.subject, report.category, now_s, now_s, due_s, rank_s(now_s, report.category, 1), kind),
            ).lastrowid
            kept = True
        else:
            case_id, category, first_s, count = row
            category = stricter(category, report.category)
            due_s = first_s + LEVELS[category].level_s
            rank = rank_s(first_s, category, count + 1)
            database.execute(
                "UPDATE cases SET category = ?, last_s = ?, count = count + 1, due_s = ?, rank_s = ? WHERE id = ?",
                (category, now_s, due_s, rank, case_id),
            )
            kept = count < CASE_REPORTS_MAX
        texts = (report.where, report.category, report.why, report.contact, report.evidence)
        place, category, why, contact, evidence = texts if kept else ("", report.category, "", report.contact, "")
        database.execute(
            "INSERT INTO reports (case_id, token, place, category, why, contact, evidence, at_s)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (case_id, token, place, category, why, contact, evidence, now_s),
        )

    def cases(self, *, state: str = OPEN, category: str = "", offset: int = 0, limit: int = PAGE_MAX) -> list[Case]:
        """The most urgent first."""
        where = "state = 'open'" if state == OPEN else "state != 'open'"
        order = "rank_s, id" if state == OPEN else "decided_s DESC, id"
        with self._database.reading() as database:
            rows = database.execute(
                f"SELECT * FROM cases WHERE {where} AND (? = '' OR category = ?) ORDER BY {order} LIMIT ? OFFSET ?",  # noqa: S608 - parts of our own
                (category, category, min(limit, PAGE_MAX), offset),
            ).fetchall()
        return [Case(*row) for row in rows]

    def open_cases(self, wanted: Iterable[range]) -> list[Case]:
        """The open ones with these numbers, the most urgent first. Costs what is asked for, however many wait."""
        rows: dict[int, tuple[Any, ...]] = {}
        with self._database.reading() as database:
            for first, last in _joined(wanted):  # NOT INDEXED: by number, not through the index of all open ones
                found = database.execute(
                    "SELECT * FROM cases NOT INDEXED WHERE state = 'open' AND id BETWEEN ? AND ?", (first, last)
                )
                rows |= {row[0]: row for row in found}
        return sorted((Case(*row) for row in rows.values()), key=lambda case: (case.rank_s, case.id))

    def case(self, case_id: int) -> tuple[Case, list[Json]] | None:
        """A case and its reports, the first ones; contacts included."""
        with self._database.reading() as database:
            row = database.execute("SELECT * FROM cases WHERE id = ?", (case_id,)).fetchone()
            rows = database.execute(
                "SELECT at_s, category, place, why, contact, evidence FROM reports WHERE case_id = ?"
                " ORDER BY id LIMIT ?",
                (case_id, PAGE_MAX),
            ).fetchall()
        names = ("at_s", "category", "where", "why", "contact", "evidence")
        return (Case(*row), [dict(zip(names, each, strict=True)) for each in rows]) if row else None

    def by_token(self, token: str) -> Case | None:
        """The case that a reporter's token stands for."""
        with self._database.reading() as database:
            row = database.execute(
                "SELECT cases.* FROM cases JOIN reports ON case_id = cases.id WHERE token = ?", (_hashed(token),)
            ).fetchone()
        return Case(*row) if row else None

    def decide(self, decisions: Sequence[tuple[int, int | None]], state: str, reason: str) -> None:
        """Closes cases: (id, entry of the decision log) each. Those that are closed already stay as they are."""
        now_s = self._now_s()
        with self._database.writing() as database:
            database.executemany(
                "UPDATE cases SET state = ?, reason = ?, decided_s = ?, entry = ? WHERE id = ? AND state = 'open'",
                [(state, reason, now_s, entry, case_id) for case_id, entry in decisions],
            )

    def backlog(self) -> Backlog:
        """What waits now."""
        now_s = self._now_s()
        with self._database.reading() as database:
            row = database.execute(
                "SELECT count(*), coalesce(sum(due_s < ?), 0), min(due_s) FROM cases WHERE state = 'open'", (now_s,)
            ).fetchone()
        return Backlog(*row)

    def tidy(self) -> int:
        """Deletes what was decided long ago; how many cases."""
        before_s = self._now_s() - KEEP_DECIDED_S
        with self._database.writing() as database:
            database.execute(
                "DELETE FROM reports WHERE case_id IN (SELECT id FROM cases WHERE state != 'open' AND decided_s < ?)",
                (before_s,),
            )
            return database.execute("DELETE FROM cases WHERE state != 'open' AND decided_s < ?", (before_s,)).rowcount


def _joined(wanted: Iterable[range]) -> list[tuple[int, int]]:
    """The first and the last number of each stretch."""
    found: list[tuple[int, int]] = []
    for numbers in sorted((each for each in wanted if each), key=lambda each: each.start):
        if found and numbers.start <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], numbers.stop - 1))
        else:
            found.append((numbers.start, numbers.stop - 1))
    return found


def _hashed(token: str) -> bytes:
    """What the file has of a token, so that who reads the file cannot ask in the reporters' names."""
    return sha256(token.encode("utf-8", "replace")).digest()
