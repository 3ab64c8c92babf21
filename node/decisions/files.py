"""The file `decisions.db`: its tables, how it is opened, and its errors."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Final

from protocol.errors import OperatorError

LAYOUT: Final = 1
BUSY_S: Final = 10.0

SCHEMA: Final = f"""
CREATE TABLE entries (number INTEGER PRIMARY KEY, entry BLOB NOT NULL, withheld INTEGER NOT NULL DEFAULT 0);
CREATE TABLE nodes (level INTEGER NOT NULL, place INTEGER NOT NULL, hash BLOB NOT NULL, PRIMARY KEY (level, place))
    WITHOUT ROWID;
CREATE TABLE opened (number INTEGER NOT NULL, name TEXT NOT NULL, salt BLOB NOT NULL, text TEXT NOT NULL,
    PRIMARY KEY (number, name)) WITHOUT ROWID;
CREATE TABLE private_notes (number INTEGER PRIMARY KEY, salt BLOB NOT NULL, text TEXT NOT NULL);
CREATE TABLE standing (kind TEXT NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL, number INTEGER NOT NULL,
    PRIMARY KEY (kind, name)) WITHOUT ROWID;
CREATE TABLE remarks (target TEXT PRIMARY KEY, note TEXT NOT NULL, withheld INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE head (only INTEGER PRIMARY KEY CHECK (only = 1), size INTEGER NOT NULL, signed BLOB NOT NULL);
PRAGMA user_version = {LAYOUT}
"""


class LogFailed(OperatorError):
    """The decision log cannot be read or written; what was decided is in force all the same."""

    code: ClassVar[str] = "decision-log-failed"


@contextmanager
def translated(path: Path, doing: str) -> Iterator[None]:
    """Raises what SQLite or the disk says as LogFailed."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        hint = "free some space, or check the disk; a damaged file can be moved away, and a new log begins"
        raise LogFailed(f"{doing} the decision log {path} failed: {error}", hint=hint) from error


def open_for_writing(path: Path) -> sqlite3.Connection:
    """The file, made if need be: 0600, its folder synced. LogFailed."""
    with translated(path, "opening"):
        new = not path.exists()
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        database = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        layout = database.execute("PRAGMA user_version").fetchone()[0]
        if layout == 0:
            database.executescript(f"BEGIN IMMEDIATE; {SCHEMA}; COMMIT")
        elif layout != LAYOUT:
            database.close()
            raise LogFailed(f"{path} was written by another version of fednode (layout {layout})")
        if new:
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        return database


def open_for_reading(path: Path) -> sqlite3.Connection:
    """A connection that cannot write. LogFailed, also when there is no log yet."""
    with translated(path, "opening"):
        quoted = str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
        database = sqlite3.connect(
            f"file:{quoted}?mode=ro", uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
        database.execute("PRAGMA query_only = 1")
        if database.execute("PRAGMA user_version").fetchone()[0] != LAYOUT:
            database.close()
            raise LogFailed(f"{path} was written by another version of fednode")
        return database
