"""Every step that changes the disk goes through this layer, so that tests can stop or tear it at any of them."""

from __future__ import annotations

import ctypes
import errno
import os
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Protocol

Buffer = bytes | bytearray | memoryview

_IOV_MAX: Final = 1024  # Linux takes no more buffers in one call
_PUNCH_KEEP_SIZE: Final = 0x02 | 0x01  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
_START_WRITING: Final = 0x02  # SYNC_FILE_RANGE_WRITE
_NOT_SUPPORTED: Final = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


class Files(Protocol):
    """Errors are OSError, or sqlite3.Error from `commit`."""

    def create(self, path: Path) -> int:
        """An empty file open for reading and writing, mode 0600; an old one of that name is emptied."""

    def open(self, path: Path) -> int: ...

    def write_at(self, fd: int, offset: int, buffers: Sequence[Buffer]) -> None:
        """All of it, or an error; what an error leaves between `offset` and the end is undefined."""

    def start_writing(self, fd: int, offset: int, length: int) -> None:
        """Have the disk begin with this range, so that a later sync finds it done. A hint: nothing is promised."""

    def fsync(self, fd: int) -> None: ...

    def fsync_beside(self, fd: int) -> Callable[[], None]:
        """`fsync` while the caller does something else; what is given waits for it and raises what it raised."""

    def fsync_dir(self, path: Path) -> None: ...

    def truncate(self, fd: int, size_bytes: int) -> None: ...

    def allocate(self, fd: int, size_bytes: int) -> None:
        """Reserve real disk space for the file."""

    def unlink(self, path: Path) -> None:
        """No error when it is gone already."""

    def replace(self, path: Path, target: Path) -> None:
        """Rename; a target that is there goes."""

    def punch(self, fd: int, offset: int, length: int) -> bool:
        """Give the range back to the disk; it reads as zeros. False when the file system cannot."""

    def commit(self, connection: sqlite3.Connection, *, durable: bool) -> None:
        """`durable`: the connection was told to sync its log with this commit."""

    def free_bytes(self, path: Path) -> int: ...


class OsFiles:
    """The real disk."""

    def create(self, path: Path) -> int:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def open(self, path: Path) -> int:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)

    def write_at(self, fd: int, offset: int, buffers: Sequence[Buffer]) -> None:
        for first in range(0, len(buffers), _IOV_MAX):
            group = list(buffers[first : first + _IOV_MAX])
            size = sum(len(buffer) for buffer in group)
            written = os.pwritev(fd, group, offset)
            if written < size:
                _write_rest(fd, offset + written, group, written)
            offset += size

    def start_writing(self, fd: int, offset: int, length: int) -> None:
        if _sync_file_range is not None:
            _sync_file_range(fd, offset, length, _START_WRITING)

    def fsync(self, fd: int) -> None:
        os.fdatasync(fd)  # also writes the file's size, which is the metadata that reading back needs

    def fsync_beside(self, fd: int) -> Callable[[], None]:
        return _beside.submit(self.fsync, fd).result

    def fsync_dir(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def truncate(self, fd: int, size_bytes: int) -> None:
        os.ftruncate(fd, size_bytes)

    def allocate(self, fd: int, size_bytes: int) -> None:
        os.posix_fallocate(fd, 0, size_bytes)

    def unlink(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def replace(self, path: Path, target: Path) -> None:
        path.replace(target)

    def punch(self, fd: int, offset: int, length: int) -> bool:
        if _fallocate is None:
            return False
        if _fallocate(fd, _PUNCH_KEEP_SIZE, offset, length) == 0:
            return True
        code = ctypes.get_errno()
        if code in _NOT_SUPPORTED:
            return False
        raise OSError(code, os.strerror(code))

    def commit(self, connection: sqlite3.Connection, *, durable: bool) -> None:
        connection.execute("COMMIT")

    def free_bytes(self, path: Path) -> int:
        stat = os.statvfs(path)
        return stat.f_bavail * stat.f_frsize


def _write_rest(fd: int, offset: int, buffers: Sequence[Buffer], skip: int) -> None:
    """Go on after a short write, which Linux gives near the end of the space and above 2 GiB."""
    for buffer in buffers:
        if skip >= len(buffer):
            skip -= len(buffer)
            continue
        rest = memoryview(buffer)[skip:]
        skip = 0
        while rest:
            written = os.pwrite(fd, rest, offset)
            if written == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            offset += written
            rest = rest[written:]


def _libc(*names: str, arguments: Sequence[type]) -> ctypes._NamedFuncPointer | None:  # pragma: no cover
    """The first of these that the C library has; Python gives access to neither."""
    libc = ctypes.CDLL(None, use_errno=True)
    for name in names:
        function = getattr(libc, name, None)
        if function is not None:
            function.argtypes = arguments
            function.restype = ctypes.c_int
            return function  # type: ignore[no-any-return]
    return None


_fallocate = _libc("fallocate64", "fallocate", arguments=(ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64))
_sync_file_range = _libc("sync_file_range", arguments=(ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint))
_beside = ThreadPoolExecutor(2, thread_name_prefix="fsync")
