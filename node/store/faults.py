"""One place where errors of the disk and of SQLite become the store's own (docs/spec/store.md, "Errors")."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from node.store import layout
from node.store.errors import StoreDamaged, StoreFailed, StoreFull, StoreReadOnly
from protocol.errors import OperatorError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


@contextmanager
def translated(directory: Path, doing: str) -> Iterator[None]:
    """Raise what happens inside as the OperatorError that tells the operator what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise from_sqlite(error, directory, doing) from error
    except OSError as error:
        raise from_os(error, directory, doing) from error


def from_os(error: OSError, directory: Path, doing: str) -> OperatorError:
    if error.errno in _FULL:
        return _full(directory, doing)
    if error.errno in _READ_ONLY:
        return _read_only(directory, doing)
    reason = error.strerror or str(error)
    return StoreFailed(
        f"{doing} failed in {directory}: {reason}", hint="look at the system's log for errors of this disk"
    )


def from_sqlite(error: sqlite3.Error, directory: Path, doing: str) -> OperatorError:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return _full(directory, doing)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreDamaged(
            f"the index of the store in {directory} is damaged: {error}",
            hint="check the disk, then run: fednode store rebuild",
        )
    if code == sqlite3.SQLITE_READONLY or _is_read_only(directory):
        return _read_only(directory, doing)
    if _is_full(directory):
        return _full(directory, doing)
    return StoreFailed(
        f"{doing} failed in {directory}: {error}", hint="look at the system's log for errors of this disk"
    )


def _full(directory: Path, doing: str) -> OperatorError:
    return StoreFull(
        f"{doing} failed: no space left on the disk of {directory}",
        hint="free space on this disk or lower hosting.quota_bytes; reading goes on meanwhile",
    )


def _read_only(directory: Path, doing: str) -> OperatorError:
    return StoreReadOnly(
        f"{doing} failed: {directory} cannot be written",
        hint="check that the disk is mounted writable and that the directory belongs to this user",
    )


def _is_read_only(directory: Path) -> bool:
    """SQLite reports it as a plain I/O error; and of a disk that failed, ext4 says it only to who tries."""
    try:
        os.utime(directory / layout.LOCK_NAME)
    except OSError as error:
        return error.errno in _READ_ONLY
    return False


def _is_full(directory: Path) -> bool:
    """SQLite reports some failures to grow a file as plain I/O errors."""
    try:
        stat = os.statvfs(directory)
    except OSError:
        return False
    return stat.f_bavail * stat.f_frsize < 64 * 1024
