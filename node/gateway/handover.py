"""Workers that outlive their daemon, and how the next daemon takes over from them (docs/spec/gateway.md, 6).

Each worker listens on a Unix socket of its own, `run/gw/PID`. A daemon that starts finds there the workers of one that
died: they give it their listening sockets, so that no reader is refused, and end once its own workers are ready.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import trio

from node.admin.unix import listening_unix_socket

FOLDER = "gw"
GREETING = b"listening"
RETIRE = b"retire"
ASK_S = 2.0  # for a worker to answer; one that does not hangs, and is killed
PATIENCE_S = 60.0  # for a new daemon's workers to be ready
LISTENERS_MAX = 64
LOOK_EVERY_S = 0.3

log = logging.getLogger(__name__)


class Successor:
    """A worker's side: what a new daemon is given, and when the worker has to end."""

    def __init__(self, run_dir: Path, listeners: Sequence[socket.socket], retire: Callable[[], trio.Event]) -> None:
        """retire: ends the worker when its readers are served; its event says that it listens no more."""
        self._path = run_dir / FOLDER / str(os.getpid())
        self._listeners = listeners
        self._retire = retire
        self._is_retired = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Answers new daemons until one has taken over. SocketPathError when it cannot listen.

        After that nobody finds the worker any more: it has nothing to hand over, and ends by itself.
        """
        with listening_unix_socket(self._path) as listener:
            task_status.started()
            accepting = trio.socket.from_stdlib_socket(listener)
            while not self._is_retired:
                daemon, _ = await accepting.accept()
                with daemon, contextlib.suppress(OSError), trio.move_on_after(PATIENCE_S):
                    await self._hand_over(daemon)

    async def _hand_over(self, daemon: trio.socket.SocketType) -> None:
        rights = struct.pack(f"{len(self._listeners)}i", *(listener.fileno() for listener in self._listeners))
        await daemon.sendmsg([GREETING], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        if await daemon.recv(len(RETIRE)) == RETIRE:
            self._is_retired = True
            await self._retire().wait()

    async def serve_alone(self, seconds: float) -> None:
        """After the daemon's end: returns after so long, or as soon as the node's folder is gone."""
        with trio.move_on_after(seconds):
            while True:
                await trio.sleep(LOOK_EVERY_S)
                if not self._is_retired and not self._path.is_socket():
                    return


class LeftWorker:
    """The daemon's side: one worker of a daemon that died."""

    def __init__(self, sock: socket.socket, pid: int, listeners: list[socket.socket]) -> None:
        self._sock = sock
        self.pid = pid
        self.listeners = listeners

    def retire(self) -> None:
        """Returns when it listens no more; blocks for up to ASK_S."""
        try:
            self._sock.sendall(RETIRE)
            self._sock.recv(1)  # its end, when it has closed its listening sockets
        except OSError:
            _kill(self.pid)
        self.close()

    def close(self) -> None:
        for sock in (self._sock, *self.listeners):
            sock.close()


class LeftWorkers:
    """All that a daemon left behind. Those that are not retired serve on. What blocks does so for seconds at most."""

    def __init__(self, found: Sequence[LeftWorker]) -> None:
        self._found = found

    @classmethod
    def find(cls, run_dir: Path) -> LeftWorkers:
        """The caller holds the lock of the data_dir, so that no daemon is alive to whom they belong. Blocks."""
        try:
            paths = sorted((run_dir / FOLDER).iterdir())
        except FileNotFoundError:
            return cls(())
        return cls([worker for path in paths if (worker := _ask(path)) is not None])

    @property
    def listeners(self) -> list[socket.socket]:
        """The readers' addresses that they listen at, some of them more than once."""
        return [listener for worker in self._found for listener in worker.listeners]

    def retire(self) -> None:
        """End them all, with the readers that they have served. Returns when they listen no more; blocks."""
        for worker in self._found:
            worker.retire()
        self._found = ()

    def close(self) -> None:
        for worker in self._found:
            worker.close()


def _ask(path: Path) -> LeftWorker | None:
    """None when nobody is there any more, or is not for long."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(ASK_S)
        sock.connect(str(path))
        pid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    except OSError:
        sock.close()
        path.unlink(missing_ok=True)
        return None
    try:
        greeting, fds, _, _ = socket.recv_fds(sock, len(GREETING), LISTENERS_MAX)
    except OSError:
        greeting, fds = b"", []
    listeners = [socket.socket(fileno=fd) for fd in fds]
    for listener in listeners:
        listener.setblocking(False)  # as it is for the worker, too: the flag is shared, and copying would clear it
    worker = LeftWorker(sock, pid, listeners)
    if greeting == GREETING:
        log.info("gateway worker %d outlived its daemon; it serves until its successors are ready", pid)
        return worker
    worker.close()
    _kill(pid)
    path.unlink(missing_ok=True)
    return None


def _kill(pid: int) -> None:
    """Returns when it is gone, and its sockets with it."""
    log.warning("gateway worker %d of an earlier daemon does not answer, and is killed", pid)
    with contextlib.suppress(ProcessLookupError), os.fdopen(os.pidfd_open(pid), "rb", buffering=0) as process:
        os.kill(pid, signal.SIGKILL)
        select.select([process], [], [], ASK_S)
