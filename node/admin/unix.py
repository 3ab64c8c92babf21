"""Unix sockets that only their owner can open: mode 0600 in a directory of mode 0700."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from protocol.errors import OperatorError

LISTEN_BACKLOG = 64


class SocketPathError(OperatorError):
    """The socket cannot be made: the directory is somebody else's, or another thing is in the way."""

    code: ClassVar[str] = "socket-path"


@contextlib.contextmanager
def listening_unix_socket(path: Path) -> Iterator[socket.socket]:
    """A listening, non-blocking socket at path; the file goes away at the end. SocketPathError.

    The caller holds the lock of the data_dir: a socket that is there already was left behind, and is
    replaced.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    with contextlib.closing(listener):
        try:
            _own_directory(path.parent)
            _remove_left_behind(path)
            listener.bind(str(path))
            # Nobody can connect between bind and chmod: the directory is closed, and nothing listens yet.
            path.chmod(0o600)
            listener.listen(LISTEN_BACKLOG)
            inode = path.stat().st_ino
        except OSError as error:
            raise SocketPathError(f"cannot listen at {path}: {error.strerror or error}") from error
        try:
            yield listener
        finally:
            with contextlib.suppress(OSError):
                if path.stat().st_ino == inode:
                    path.unlink()


def _own_directory(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.stat()
    if found.st_uid != os.geteuid():
        raise SocketPathError(
            f"{directory} belongs to user {found.st_uid}, not to the one that runs the node",
            hint="run the node as the owner of its data_dir, or choose another data_dir",
        )
    if stat.S_IMODE(found.st_mode) != 0o700:
        directory.chmod(0o700)


def _remove_left_behind(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise SocketPathError(f"{path} is in the way and is no socket", hint="move it away")
    path.unlink()
