"""The store's directory: made private, locked against a second daemon, with some room kept for a full disk."""

from __future__ import annotations

import fcntl
import logging
import os
from contextlib import suppress
from pathlib import Path

from node.store import layout
from node.store.errors import StoreLocked
from node.store.faults import translated
from node.store.files import Files

_log = logging.getLogger(__name__)


class StoreLock:
    """Holds the directory until closed or until the process ends. Raises StoreLocked."""

    def __init__(self, directory: Path, files: Files) -> None:
        with translated(directory, "opening the store"):
            _make_private(layout.packs_dir(directory), files)
            path = directory / layout.LOCK_NAME
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                owner = os.pread(self._fd, 20, 0).decode("ascii", "replace").strip()
                os.close(self._fd)
                raise StoreLocked(
                    f"the store in {directory} is in use by process {owner or 'unknown'}",
                    hint="stop the other node first, or give this one a data directory of its own",
                ) from None
            with suppress(OSError):  # only information: a full disk shall not keep the node from starting
                os.ftruncate(self._fd, 0)
                os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _make_private(directory: Path, files: Files) -> None:
    """Make the directory and those above it, 0700, each on the disk before anything is acknowledged in it."""
    if directory.is_dir():
        return
    if directory.parent != directory:
        _make_private(directory.parent, files)
    directory.mkdir(mode=0o700, exist_ok=True)
    files.fsync_dir(directory.parent)


class Ballast:
    """A file of no use but its size: given up so that deleting and refusing work on a full disk."""

    def __init__(self, directory: Path, files: Files, size_bytes: int) -> None:
        self._directory = directory
        self._path = directory / layout.BALLAST_NAME
        self._files = files
        self._size_bytes = size_bytes

    def release_if_low(self) -> None:
        """Before a step that must work on a full disk."""
        with suppress(OSError):
            if self._files.free_bytes(self._directory) < self._size_bytes // 2 and self._held_bytes():
                _log.warning("the disk of %s is full; using the room kept for this", self._directory)
                self._resize(0)

    def restore(self) -> None:
        """After a start or after freeing space: take the room again when there is plenty."""
        with suppress(OSError):
            wanted = self._size_bytes - self._held_bytes()
            if wanted > 0 and self._files.free_bytes(self._directory) >= 2 * wanted + self._size_bytes:
                self._resize(self._size_bytes)

    def _held_bytes(self) -> int:
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0

    def _resize(self, size_bytes: int) -> None:
        fd = self._files.create(self._path)
        try:
            if size_bytes:
                self._files.allocate(fd, size_bytes)
        finally:
            os.close(fd)
