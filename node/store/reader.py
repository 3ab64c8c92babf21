"""Reading a store, from the daemon or from any other process (docs/spec/store.md, "Reading")."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from node.store import layout, names, rules, sites, trees
from node.store.blocks import groups, marks, padded
from node.store.errors import BlockCorrupt, BlockMissing, StoreClosed, StoreTooNew
from node.store.faults import translated
from node.store.packs import Place
from node.store.port import NameRow, RuleRow, SiteRecord, TreeRecord
from protocol.cid import Cid
from protocol.errors import DecodeError
from protocol.site_id import SiteId

_BUSY_TIMEOUT_S: Final = 10.0  # only while the writer recovers the log after a crash
_TRIES: Final = 5  # a block may move or go while it is read; that it does so more often is damage


def open_reader(directory: Path) -> PackReader:
    """A StoreReader of the store in `directory`, which a daemon has made. Raises OperatorError."""
    return PackReader(directory)


class PackReader:
    """StoreReader with a connection of its own; thread-safe, holds no lock and no file open between calls."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock = threading.Lock()
        self._closed = False
        self._seen_version = -1
        self._rules_version = -1
        with translated(directory, "opening the index"):
            uri = (directory / layout.DATABASE_NAME).absolute().as_uri() + "?mode=ro"
            self._connection = sqlite3.connect(
                uri, uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            try:
                self._set_up()
            except BaseException:
                self._connection.close()
                raise

    def _set_up(self) -> None:
        self._connection.execute("PRAGMA cache_size = -4000")  # KiB
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version != layout.SCHEMA_VERSION:
            raise StoreTooNew(
                f"the store in {self.directory} has layout {version}, this process reads {layout.SCHEMA_VERSION}",
                hint="restart the node, so that all its processes are of one version",
            )

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for this thread alone. Fetch all inside: an open cursor keeps the log from shrinking. Others
        wait meanwhile, and among them is the loop."""
        with self._lock, translated(self.directory, "reading the index"):
            if self._closed:
                raise StoreClosed("the store is closed")
            yield self._connection

    def get_block(self, cid: Cid) -> bytes:
        return self.read_block(cid, lambda: None)

    def read_block(self, cid: Cid, on_corrupt: Callable[[], None]) -> bytes:
        """As get_block; `on_corrupt` is called when the bytes turn out to be damaged."""
        cid = cid.canonical
        before: Place | None = None
        for _ in range(_TRIES):
            place, corrupt = self._place(cid)
            if corrupt:
                raise BlockCorrupt(cid)
            if place == before:
                break
            with translated(self.directory, "reading a block"):
                data = _read(layout.pack_path(self.directory, place.pack), place)
            if data is not None and _matches(cid, data):
                return data
            before = place
        on_corrupt()
        raise BlockCorrupt(cid)

    def _place(self, cid: Cid) -> tuple[Place, bool]:
        with self.reading() as connection:
            row = connection.execute(
                "SELECT pack, start, span, length, corrupt FROM blocks WHERE cid = ?", (cid,)
            ).fetchone()
        if row is None:
            raise BlockMissing(cid)
        return Place(*row[:4]), bool(row[4])

    def has_blocks(self, cids: Iterable[Cid]) -> set[Cid]:
        return self._among(cids, "", ())

    def blocks_of(self, site: SiteId, cids: Iterable[Cid]) -> set[Cid]:
        held = "SELECT 1 FROM refs WHERE block = blocks.id AND hold = (SELECT hold FROM sites WHERE site = ?)"
        return self._among(cids, f" AND EXISTS ({held})", (site,))

    def _among(self, cids: Iterable[Cid], condition: str, bound: tuple[bytes, ...]) -> set[Cid]:
        """Those of `cids`, as they were asked for, that have a row under the condition."""
        found: set[Cid] = set()
        for group in groups(cids):
            wanted = padded([cid.canonical for cid in group])
            with self.reading() as connection:
                rows = connection.execute(
                    f"SELECT cid FROM blocks WHERE corrupt = 0 AND cid IN ({marks(len(wanted))}){condition}",  # noqa: S608
                    (*wanted, *bound),
                ).fetchall()
            here = {row[0] for row in rows}
            found.update(cid for cid in group if cid.canonical in here)
        return found

    def sites_of(self, cid: Cid, *, limit: int) -> list[SiteId]:
        with self.reading() as connection:
            rows = connection.execute(
                "SELECT sites.site FROM blocks JOIN refs ON refs.block = blocks.id JOIN holds ON holds.id = refs.hold"
                " JOIN sites ON sites.site = holds.owner AND sites.hold = holds.id WHERE blocks.cid = ?"
                " ORDER BY sites.id LIMIT ?",
                (cid.canonical, limit),
            ).fetchall()
        return [SiteId(row[0]) for row in rows]

    def trees(self) -> list[TreeRecord]:
        with self.reading() as connection:
            rows = trees.all_rows(connection)
        return trees.records(rows)

    def tree(self, root: Cid) -> TreeRecord | None:
        with self.reading() as connection:
            return trees.load(connection, root.canonical)

    def trees_of(self, cid: Cid, *, limit: int) -> list[Cid]:
        with self.reading() as connection:
            return trees.roots_of(connection, cid.canonical, limit)

    def name(self, name: bytes) -> NameRow | None:
        with self.reading() as connection:
            return names.load(connection, name)

    def names(self, *, kept_only: bool = False) -> list[NameRow]:
        with self.reading() as connection:
            return names.load_all(connection, kept_only=kept_only)

    def site(self, site: SiteId) -> SiteRecord | None:
        with self.reading() as connection:
            return sites.load(connection, site)

    def sites(self) -> list[SiteRecord]:
        with self.reading() as connection:
            rows = sites.all_rows(connection)
        return sites.records(rows)

    def rules(self) -> list[RuleRow]:
        with self.reading() as connection:
            return rules.load(connection)

    def data_version(self) -> int:
        with self.reading() as connection:
            (version,) = connection.execute("PRAGMA data_version").fetchone()
        return int(version)

    def rules_version(self) -> int:
        with self.reading() as connection:
            (version,) = connection.execute("PRAGMA data_version").fetchone()
            if version != self._seen_version:
                self._rules_version = rules.version(connection)
                self._seen_version = version
            return self._rules_version

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._connection.close()


def _read(path: Path, place: Place) -> bytes | None:
    """The data, or None when the file does not give it. A file is opened for each read: a descriptor that is
    kept would keep a deleted pack on the disk, and opening costs less than the hash."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        data = os.pread(fd, place.length, place.data_offset)
    except OSError:  # a bad sector: as good as wrong bytes
        return None
    finally:
        os.close(fd)
    return data if len(data) == place.length else None


def _matches(cid: Cid, data: bytes) -> bool:
    try:
        cid.verify(data)
    except DecodeError:
        return False
    return True
