"""Reading all of a store and comparing index and packs, both ways (docs/spec/store.md, "Verifying").

Goes through a read-only connection of its own, so that it may run beside the daemon, and changes nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from node.store import layout
from node.store.faults import translated
from node.store.packs import HEADER
from node.store.reader import PackReader, open_reader
from protocol import car
from protocol.cid import RAW, Cid
from protocol.errors import DecodeError

_BLOCK: Final = 0
_NOTE: Final = 1
_DEAD: Final = 2
_PAGE_ROWS: Final = 500
_TRIES: Final = 3  # something may move or go while it is looked at; what stays wrong is wrong
_TRY_AGAIN_S: Final = 0.2
_CHUNK_BYTES: Final = layout.MIB
_NAMED_MAX: Final = 1000  # blocks and problems that a report names; the rest is counted

_PLACES: Final = " UNION ALL ".join(
    f"SELECT {kind} AS kind, start, span, {cid} AS cid, {corrupt} AS corrupt FROM {table} WHERE pack = ? AND start >= ?"  # noqa: S608 - constants
    for kind, table, cid, corrupt in (
        (_BLOCK, "blocks", "cid", "corrupt"),
        (_NOTE, "notes", "release_cid", "0"),
        (_DEAD, "dead", "NULL", "0"),
    )
)
_MUST_BE_EMPTY: Final = {
    "blocks that nobody keeps": "SELECT count(*) FROM blocks WHERE NOT EXISTS (SELECT 1 FROM refs WHERE block = id)"
    " AND NOT EXISTS (SELECT 1 FROM cache WHERE block = id)",
    "references to no block": "SELECT count(*) FROM refs WHERE NOT EXISTS (SELECT 1 FROM blocks WHERE id = block)",
    "cached blocks that are none": "SELECT count(*) FROM cache"
    " WHERE NOT EXISTS (SELECT 1 FROM blocks WHERE id = block)",
    "references of no hold": "SELECT count(*) FROM refs WHERE NOT EXISTS (SELECT 1 FROM holds WHERE id = hold)",
    "sites whose hold is not finished": "SELECT count(*) FROM sites WHERE hold IS NOT NULL"
    " AND NOT EXISTS (SELECT 1 FROM holds WHERE id = sites.hold AND state = 1)",
    "finished holds that are not whole": "SELECT count(*) FROM holds WHERE state = 1"
    " AND (done_blocks, done_bytes) IS NOT (SELECT count(*), ifnull(sum(length), 0)"
    " FROM refs JOIN blocks ON blocks.id = block WHERE hold = holds.id)",
    "wrong totals": "SELECT count(*) FROM totals WHERE (held_blocks + cache_blocks, held_bytes + cache_bytes)"
    " IS NOT (SELECT count(*), ifnull(sum(length), 0) FROM blocks)",
}


@dataclass(slots=True)
class Verified:
    """`damaged` were not known to be; `problems` are what index and packs disagree in."""

    packs: int = 0
    blocks: int = 0
    bytes: int = 0
    damaged: list[Cid] = field(default_factory=list)
    damaged_count: int = 0
    known_damaged: int = 0
    problems: list[str] = field(default_factory=list)
    problem_count: int = 0

    @property
    def ok(self) -> bool:
        return not (self.damaged_count or self.known_damaged or self.problem_count)

    def add_problem(self, text: str) -> None:
        self.problem_count += 1
        if len(self.problems) < _NAMED_MAX:
            self.problems.append(text)


class _Row(NamedTuple):
    kind: int
    start: int
    span: int
    cid: bytes | None
    corrupt: int

    @property
    def end(self) -> int:
        return self.start + self.span


class Pace:
    """Keeps reading below so many bytes a second; 0 for as fast as it goes."""

    def __init__(self, bytes_per_s: int, sleep: Callable[[float], None] = time.sleep) -> None:
        self._bytes_per_s = bytes_per_s
        self._sleep = sleep
        self._began_s = time.monotonic()
        self._spent = 0

    def spend(self, size: int) -> None:
        self._spent += size
        if self._bytes_per_s:
            ahead_s = self._spent / self._bytes_per_s - (time.monotonic() - self._began_s)
            if ahead_s > 0:
                self._sleep(ahead_s)


def verify(
    directory: Path,
    *,
    pace: Pace | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Verified:
    """Read every block. `progress` is told the bytes of packs that are done and in all. Raises OperatorError."""
    with closing(open_reader(directory)) as reader, translated(directory, "verifying the store"):
        work = _Verify(directory, reader, pace or Pace(0))
        work.check_index()
        packs = work.packs()
        total, done = sum(packs.values()), 0
        for pack, size in packs.items():
            work.check_pack(pack)
            done += size
            progress(done, total)
        work.check_files()
        return work.result


class _Verify:
    def __init__(self, directory: Path, reader: PackReader, pace: Pace) -> None:
        self._directory = directory
        self._reader = reader
        self._pace = pace
        self.result = Verified()

    def packs(self) -> dict[int, int]:
        with self._reader.reading() as tx:
            return dict(tx.execute("SELECT id, size_bytes FROM packs ORDER BY id").fetchall())

    def check_index(self) -> None:
        with self._reader.reading() as tx:
            tx.execute("BEGIN")  # one state for all of it
            try:
                for (text,) in tx.execute("PRAGMA quick_check").fetchall():
                    if text != "ok":
                        self.result.add_problem(f"index: {text}")
                for name, query in _MUST_BE_EMPTY.items():
                    (count,) = tx.execute(query).fetchone()
                    if count:
                        self.result.add_problem(f"index: {count} {name}")
            finally:
                tx.execute("COMMIT")

    def check_files(self) -> None:
        """Packs that the index does not know; one that was begun a moment ago has its row a moment later."""
        for path in layout.packs_dir(self._directory).iterdir():
            if path.suffix == ".car" and not any(self._is_known(path) for _ in self._tries()):
                self.result.add_problem(f"{path.name}: the index does not know this pack")

    def _is_known(self, path: Path) -> bool:
        return not path.exists() or path.name in {layout.pack_name(pack) for pack in self.packs()}

    @staticmethod
    def _tries() -> Iterator[None]:
        for left in reversed(range(_TRIES)):
            yield
            if left:
                time.sleep(_TRY_AGAIN_S)

    # --- one pack ------------------------------------------------------------------------------------------

    def check_pack(self, pack: int) -> None:
        at: int | None = 0
        while at is not None:
            at = self._check_page(pack, at)
        self.result.packs += 1

    def _check_page(self, pack: int, at: int) -> int | None:
        """From `at` on; gives where the next page begins."""
        for _ in self._tries():
            size = self.packs().get(pack)
            if size is None:
                return None  # it was freed meanwhile
            rows = self._rows(pack, at)
            page = _Page(self._directory, pack, self._pace)
            end = page.check(rows, at, size, last=len(rows) < _PAGE_ROWS)
            if not page.damaged and not page.problems:
                break
        self._count(rows, page)
        return end if len(rows) == _PAGE_ROWS else None

    def _rows(self, pack: int, at: int) -> list[_Row]:
        with self._reader.reading() as tx:
            found = tx.execute(f"{_PLACES} ORDER BY start LIMIT ?", (*(pack, at) * 3, _PAGE_ROWS)).fetchall()
        return [_Row(*row) for row in found]

    def _count(self, rows: list[_Row], page: _Page) -> None:
        result = self.result
        blocks = [row for row in rows if row.kind == _BLOCK]
        result.blocks += len(blocks)
        result.bytes += sum(row.span for row in blocks)
        result.known_damaged += sum(1 for row in blocks if row.corrupt)
        result.damaged_count += len(page.damaged)
        result.damaged += page.damaged[: _NAMED_MAX - len(result.damaged)]
        for text in page.problems:
            result.add_problem(f"{layout.pack_name(page.pack)}: {text}")


class _Page:
    """One look at some rows of a pack and the bytes that they name."""

    def __init__(self, directory: Path, pack: int, pace: Pace) -> None:
        self.pack = pack
        self.damaged: list[Cid] = []
        self.problems: list[str] = []
        self._path = layout.pack_path(directory, pack)
        self._pace = pace
        self._fd = -1

    def check(self, rows: list[_Row], at: int, size: int, *, last: bool) -> int:
        """Gives the end of what was looked at."""
        try:
            self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            self.problems.append("this pack is missing")
            return size
        try:
            if at == 0:
                at = len(HEADER)
                if self._read(0, at) != HEADER:
                    self.problems.append("its header is damaged")
            if last and os.fstat(self._fd).st_size < size:
                self.problems.append(f"it has {os.fstat(self._fd).st_size} bytes where the index says {size}")
            for row in rows:
                if row.start < at:
                    self.problems.append(f"two things at byte {row.start}")
                self._check_gap(at, min(row.start, size))
                self._check_row(row)
                at = max(at, row.end)
            if last:
                self._check_gap(at, size)
        finally:
            os.close(self._fd)
        return at

    def _check_row(self, row: _Row) -> None:
        if row.kind == _DEAD or row.corrupt or row.cid is None:
            return
        cid = Cid(row.cid)
        section = self._read(row.start, row.span)
        if row.kind == _NOTE:
            if not _is_note(cid, section):
                self.problems.append(f"the note at byte {row.start} is damaged")
        elif not _is_block(cid, section):
            self.damaged.append(cid)

    def _check_gap(self, start: int, stop: int) -> None:
        for at in range(start, stop, _CHUNK_BYTES):
            if self._read(at, min(_CHUNK_BYTES, stop - at)).strip(b"\0"):
                self.problems.append(f"bytes after byte {at} that the index does not name")
                return

    def _read(self, at: int, size: int) -> bytes:
        """Shorter, or nothing, where the disk does not give it."""
        self._pace.spend(size)
        try:
            return os.pread(self._fd, size, at)
        except OSError:
            return b""


def _is_block(cid: Cid, section: bytes) -> bool:
    at = section.find(cid, 1, 10 + len(cid))  # behind the length
    if at < 0:
        return False
    data = memoryview(section)[at + len(cid) :]
    try:
        cid.verify(data)
    except DecodeError:
        return False
    return section[:at] + cid == car.section_prefix(cid, len(data))


def _is_note(cid: Cid, section: bytes) -> bool:
    at = section.find(cid)
    return at > 0 and Cid.of(RAW, section[at + len(cid) :]) == cid
