"""A file layer that stops, tears or fails at a chosen step, and can tell what power loss would leave."""

from __future__ import annotations

import errno
import os
import random
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from node.store import layout
from node.store.files import Buffer, OsFiles

T = TypeVar("T")
Fails = Callable[[int], int | None]

_GRAIN = 64  # bytes that reach the disk together or not; small, so that small packs can tear


def never(step: int) -> None:
    return None


class PowerCut(BaseException):
    """The process ends here; nothing that is written later reaches the disk."""


class FaultFiles(OsFiles):
    """Counts steps from 0. `stop_at` ends all at that step: before it, in its middle or after it (`how`).

    Steps for which `fails` is true raise its error instead; writes are then half done.
    """

    def __init__(
        self,
        *,
        stop_at: int | None = None,
        how: str = "before",
        fails: Fails = never,
        seed: int = 0,
        can_punch: bool = True,
    ) -> None:
        self.steps = 0
        self.stopped = False
        self.log: list[str] = []
        self._can_punch = can_punch
        self._stop_at = stop_at
        self._how = how
        self.fails = fails
        self._random = random.Random(seed)
        self._synced: dict[Path, bytes] = {}
        self._lasting_names: set[Path] = set()
        self._lasting_log_bytes = 0

    def stop_in(self, steps: int, how: str) -> None:
        """End all so many steps from now."""
        self._stop_at, self._how = self.steps + steps, how

    def _step(self, name: str, whole: Callable[[], T], part: Callable[[], object] = lambda: None) -> T:
        if self.stopped:
            raise PowerCut
        step, self.steps = self.steps, self.steps + 1
        self.log.append(name)
        if step == self._stop_at:
            self.stopped = True
            if self._how == "after":
                whole()
            elif self._how == "torn":
                part()
            raise PowerCut
        code = self.fails(step)
        if code is not None:
            part()
            if name == "commit":
                raise _sqlite_error(code)
            raise OSError(code, os.strerror(code))
        return whole()

    def create(self, path: Path) -> int:
        return self._step("create", lambda: super(FaultFiles, self).create(path))

    def write_at(self, fd: int, offset: int, buffers: Sequence[Buffer]) -> None:
        def part() -> None:
            joined = b"".join(buffers)
            super(FaultFiles, self).write_at(fd, offset, [joined[: self._random.randrange(len(joined) + 1)]])

        self._step("write", lambda: super(FaultFiles, self).write_at(fd, offset, buffers), part)

    def fsync(self, fd: int) -> None:
        def whole() -> None:
            path = path_of(fd)
            self._synced[path] = path.read_bytes()

        self._step("fsync", whole)

    def fsync_beside(self, fd: int) -> Callable[[], None]:
        """Before or after what the caller does meanwhile."""
        if self._random.random() < 0.5:
            return lambda: self.fsync(fd)
        try:
            self.fsync(fd)
        except OSError as error:
            return partial(_raise, error)
        return lambda: None

    def fsync_dir(self, path: Path) -> None:
        self._step("fsync_dir", lambda: self._lasting_names.update(path.iterdir()))

    def truncate(self, fd: int, size_bytes: int) -> None:
        self._step("truncate", lambda: super(FaultFiles, self).truncate(fd, size_bytes))

    def allocate(self, fd: int, size_bytes: int) -> None:
        self._step("allocate", lambda: super(FaultFiles, self).truncate(fd, size_bytes))

    def unlink(self, path: Path) -> None:
        self._step("unlink", lambda: super(FaultFiles, self).unlink(path))

    def replace(self, path: Path, target: Path) -> None:
        self._step("replace", lambda: super(FaultFiles, self).replace(path, target))

    def punch(self, fd: int, offset: int, length: int) -> bool:
        if not self._can_punch:
            return False
        return self._step(
            "punch",
            lambda: super(FaultFiles, self).punch(fd, offset, length),
            lambda: super(FaultFiles, self).punch(fd, offset, (length + 1) // 2),
        )

    def commit(self, connection: sqlite3.Connection, *, durable: bool) -> None:
        def whole() -> None:
            (_, _, database) = connection.execute("PRAGMA database_list").fetchone()
            log = _log_of(Path(database))
            before = log.stat().st_size
            super(FaultFiles, self).commit(connection, durable=durable)
            (synchronous,) = connection.execute("PRAGMA synchronous").fetchone()
            after = log.stat().st_size
            if synchronous == 2 and after > before:  # only then does SQLite sync its log
                self._lasting_log_bytes = after

        self._step("commit", whole)

    # --- what is left afterwards ---------------------------------------------------------------------------

    def copy_after_kill(self, store: Path, target: Path) -> None:
        """The kernel goes on: all that was written is there."""
        layout.packs_dir(store).mkdir(parents=True, exist_ok=True)  # the end may have come before
        shutil.copytree(store, target, ignore=shutil.ignore_patterns("*-shm"))

    def copy_after_power_loss(self, store: Path, target: Path) -> None:
        """Of what was not synced some reached the disk, in any order; names and the database's log likewise."""
        self.copy_after_kill(store, target)
        log = _log_of(target / layout.DATABASE_NAME)
        if log.exists():
            self._tear_log(log)
        actual = set(layout.packs_dir(store).iterdir())
        for path in sorted(actual | set(self._synced)):
            copy = layout.packs_dir(target) / path.name
            synced = self._synced.get(path, b"")
            if path not in actual:
                if path in self._lasting_names and self._random.random() < 0.5:
                    copy.write_bytes(synced)
            elif path not in self._lasting_names and self._random.random() < 0.5:
                copy.unlink()
            else:
                copy.write_bytes(self._mixed(synced, path.read_bytes()))

    def _tear_log(self, log: Path) -> None:
        raw = bytearray(log.read_bytes())
        lasting = self._lasting_log_bytes
        assert len(raw) >= lasting, "the log was started anew; the model does not know that"
        del raw[self._random.randint(lasting, len(raw)) :]
        if len(raw) > lasting and self._random.random() < 0.3:
            raw[self._random.randrange(lasting, len(raw))] ^= 0xFF
        log.write_bytes(raw)

    def _mixed(self, synced: bytes, actual: bytes) -> bytes:
        size = self._random.choice(
            (len(synced), len(actual), self._random.randint(*sorted((len(synced), len(actual)))))
        )
        mixed = bytearray()
        for at in range(0, size, _GRAIN):
            source = synced if self._random.random() < 0.3 else actual
            mixed += source[at : at + _GRAIN].ljust(_GRAIN, b"\0")
        return bytes(mixed[:size])


def _raise(error: OSError) -> None:
    raise error


def _sqlite_error(code: int) -> sqlite3.OperationalError:
    known = {errno.ENOSPC: sqlite3.SQLITE_FULL, errno.EROFS: sqlite3.SQLITE_READONLY}
    error = sqlite3.OperationalError(os.strerror(code))
    error.sqlite_errorcode = known.get(code, sqlite3.SQLITE_IOERR)
    return error


def path_of(fd: int) -> Path:
    return Path(os.readlink(f"/proc/self/fd/{fd}"))


def _log_of(database: Path) -> Path:
    return database.with_name(database.name + "-wal")
