"""The file `decisions.db`: its tables, how it is opened, and its errors."""

from __future__ import annotations

from typing import ClassVar, Final

from node.databases import Kind
from protocol.errors import OperatorError

LAYOUT: Final = 1

SCHEMA: Final = """
CREATE TABLE entries (number INTEGER PRIMARY KEY, entry BLOB NOT NULL, withheld INTEGER NOT NULL DEFAULT 0);
CREATE TABLE nodes (level INTEGER NOT NULL, place INTEGER NOT NULL, hash BLOB NOT NULL, PRIMARY KEY (level, place))
    WITHOUT ROWID;
CREATE TABLE opened (number INTEGER NOT NULL, name TEXT NOT NULL, salt BLOB NOT NULL, text TEXT NOT NULL,
    PRIMARY KEY (number, name)) WITHOUT ROWID;
CREATE TABLE private_notes (number INTEGER PRIMARY KEY, salt BLOB NOT NULL, text TEXT NOT NULL);
CREATE TABLE standing (kind TEXT NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL, number INTEGER NOT NULL,
    PRIMARY KEY (kind, name)) WITHOUT ROWID;
CREATE TABLE remarks (target TEXT PRIMARY KEY, note TEXT NOT NULL, withheld INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE head (only INTEGER PRIMARY KEY CHECK (only = 1), size INTEGER NOT NULL, signed BLOB NOT NULL)
"""


class LogFailed(OperatorError):
    """The decision log cannot be read or written; what was decided is in force all the same."""

    code: ClassVar[str] = "decision-log-failed"


FILE: Final = Kind(
    "the decision log",
    LAYOUT,
    SCHEMA,
    LogFailed,
    upgrades={},
    hint="free some space, or check the disk; a damaged file can be moved away, and a new log begins",
)
