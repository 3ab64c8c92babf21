"""The one writing connection to the SQLite index, its lock and its transactions."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from node.store import layout
from node.store.errors import StoreClosed, StoreDamaged, StoreTooNew
from node.store.faults import translated
from node.store.files import Files

_log = logging.getLogger(__name__)

_BUSY_TIMEOUT_S: Final = 10.0  # only a reader that recovers the log of a dead writer can make us wait
_PRAGMAS: Final = (
    "PRAGMA cache_size = -8000",  # KiB
    "PRAGMA temp_store = MEMORY",
    "PRAGMA wal_autocheckpoint = 4000",  # pages, 16 MiB: CIDs are random, so the same pages change again and again
    "PRAGMA journal_size_limit = 33554432",  # bytes; the log shrinks back to this after a large transaction
)


class Index:
    """Opens or creates the database; `lock` serialises writers and is re-entrant."""

    def __init__(self, directory: Path, files: Files, *, name: str = layout.DATABASE_NAME) -> None:
        self.directory = directory
        self.lock = threading.RLock()
        self._files = files
        self._closed = False
        path = self._path = directory / name
        with translated(directory, "opening the index"):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # SQLite would make it 0644
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            try:
                self._set_up()
            except BaseException:
                self._connection.close()
                raise

    def _set_up(self) -> None:
        connection = self._connection
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StoreDamaged(
                f"the file system of {self.directory} cannot share memory between processes",
                hint="put the data directory on a local disk",
            )
        for pragma in _PRAGMAS:
            connection.execute(pragma)
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > layout.SCHEMA_VERSION:
            raise StoreTooNew(
                f"the store in {self.directory} has layout {version}, this fednode knows {layout.SCHEMA_VERSION}",
                hint="start the version of fednode that wrote it, or a later one",
            )
        if version == 0 and self._path.name == layout.DATABASE_NAME:
            _refuse_packs(self.directory)
        if version < layout.SCHEMA_VERSION:
            self._bring_up(version)

    def _bring_up(self, version: int) -> None:
        """From an empty database, or from an earlier layout, in one step."""
        later = [layout.UPGRADES[each] for each in range(version, layout.SCHEMA_VERSION)] if version else []
        with self.transaction(durable=True) as tx:
            for statement in ";".join(later or [layout.SCHEMA]).split(";"):
                tx.execute(statement)
            tx.execute(f"PRAGMA application_id = {layout.APPLICATION_ID}")
            tx.execute(f"PRAGMA user_version = {layout.SCHEMA_VERSION}")

    @contextmanager
    def transaction(self, *, durable: bool) -> Iterator[sqlite3.Connection]:
        """All or nothing. `durable`: on return it and everything committed before is on the disk.

        Errors of SQLite and of the disk inside become OperatorErrors.
        """
        with self.lock, translated(self.directory, "writing the index"):
            if self._closed:
                raise StoreClosed("the store is closed")
            connection = self._connection
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                if durable:  # a commit that changed nothing would not sync the log
                    connection.execute("UPDATE totals SET tick = tick + 1")
                self._files.commit(connection, durable=durable)
            except BaseException:
                if connection.in_transaction:
                    with suppress(sqlite3.Error):
                        connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        with self.lock:
            self._closed = True
            with suppress(sqlite3.Error):
                self._connection.close()


def _refuse_packs(directory: Path) -> None:
    """Without its index a store looks new, and all packs would be taken for remains."""
    if any(path.suffix == ".car" for path in layout.packs_dir(directory).iterdir()):
        raise StoreDamaged(f"the store in {directory} has packs and no index", hint="fednode store rebuild")
