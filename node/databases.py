"""Small SQLite files beside the store: opened so that what is committed lasts, read elsewhere without writing.

`decisions.db`, `invitations.db`, `notices.db` and `reports.db` are such. Each has a layout number (`user_version`)
and its own error.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from protocol.errors import OperatorError

BUSY_S: Final = 10.0
_HINT: Final = "free some space, or check the disk"


@dataclass(frozen=True, slots=True)
class Kind:
    """What a file holds. name: for errors ("the notices"). upgrades: from each earlier layout to the present one."""

    name: str
    layout: int
    schema: str
    failed: type[OperatorError]
    upgrades: Mapping[int, str]
    hint: str = _HINT

    @contextmanager
    def translated(self, path: Path, doing: str) -> Iterator[None]:
        """Raises what SQLite or the disk says as the file's own error."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise self.failed(f"{doing} {self.name} in {path} failed: {error}", hint=self.hint) from error

    def open_for_writing(self, path: Path) -> sqlite3.Connection:
        """The file, 0600, made if need be with its folder synced; raised to the present layout."""
        with self.translated(path, "opening"):
            new = not path.exists()
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
            database = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            layout = database.execute("PRAGMA user_version").fetchone()[0]
            if layout != self.layout:
                change = self.schema if layout == 0 else self.upgrades.get(layout)
                if change is None:
                    self._refuse(database, path, layout)
                database.executescript(f"BEGIN IMMEDIATE; {change}; PRAGMA user_version = {self.layout}; COMMIT")
            if new:
                _sync_folder(path.parent)
            return database

    def open_for_reading(self, path: Path) -> sqlite3.Connection:
        """A connection that cannot write. The file's own error, also when there is no file yet."""
        with self.translated(path, "opening"):
            quoted = str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
            database = sqlite3.connect(
                f"file:{quoted}?mode=ro", uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False
            )
            database.execute("PRAGMA query_only = 1")
            layout = database.execute("PRAGMA user_version").fetchone()[0]
            if layout != self.layout:
                self._refuse(database, path, layout)
            return database

    def _refuse(self, database: sqlite3.Connection, path: Path, layout: int) -> NoReturn:
        database.close()
        raise self.failed(f"{path} was written by another version of fednode (layout {layout})")


class Database:
    """A file of one kind that this process writes. From any thread, one at a time; raises the file's own error."""

    def __init__(self, kind: Kind, path: Path) -> None:
        self._kind = kind
        self._path = path
        self._lock = threading.Lock()
        self._connection = kind.open_for_writing(path)

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """To be read only."""
        with self._lock, self._kind.translated(self._path, "reading"):
            yield self._connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """What is written within is there wholly or not at all, and on the disk at the end."""
        with self._lock, self._kind.translated(self._path, "writing"), transaction(self._connection):
            yield self._connection


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Wholly or not at all; on the disk when it ends."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield database
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:  # a full disk has rolled back already
            database.execute("ROLLBACK")
        raise


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
