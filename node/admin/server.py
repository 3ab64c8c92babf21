"""Serves the admin API on a Unix socket that only its owner can open.

Hypercorn's own accept loop shields every write and never gives one up, so that one client that stops reading
would hold up the end of the daemon. Here each connection's stream is ours: a write has a deadline, and at the
end the streams are closed under hypercorn, whose connection tasks then end by themselves.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import trio
from hypercorn.config import Config
from hypercorn.events import Event, Updated
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import wrap_app
from starlette.types import ASGIApp

from node.admin.app import create_app
from node.admin.cases import CaseControl
from node.admin.control import NodeControl
from node.admin.imports import ImportControl
from node.admin.invitations import InvitationControl
from node.admin.members import MemberControl
from node.admin.trees import TreeControl
from node.admin.unix import listening_unix_socket

HEAD_MAX_BYTES = 64 * 1024
"""Of a request's first line and headers; a target of 8192 characters in a query fits in when each is
%-encoded."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AdminLimits:
    """connections_max: open at once; one more is closed at once. write_stall_s: a client that takes nothing
    for so long is dropped. idle_s: a connection without a request in flight is closed after it."""

    connections_max: int = 64
    write_stall_s: float = 20.0
    idle_s: float = 30.0


async def serve_admin(
    control: NodeControl,
    socket_path: Path,
    *,
    cases: CaseControl | None = None,
    imports: ImportControl | None = None,
    trees: TreeControl | None = None,
    members: MemberControl | None = None,
    invitations: InvitationControl | None = None,
    limits: AdminLimits | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Listens (then task_status is started) and serves until cancelled; then ends at once, whatever clients
    do.

    SocketPathError if it cannot listen. The caller holds the lock of the data_dir.
    """
    with listening_unix_socket(socket_path) as listener:
        task_status.started()
        app = create_app(control, cases, imports, trees, members, invitations)
        await serve_app(app, trio.SocketListener(trio.socket.from_stdlib_socket(listener)), limits)


async def serve_app(app: ASGIApp, listener: trio.SocketListener, limits: AdminLimits | None = None) -> None:
    """Serves an application to a few local clients until cancelled; then ends at once, whatever they do."""
    await _Server(app, limits or AdminLimits()).run(listener)


class _Stream:
    """A socket stream as hypercorn uses it, with a deadline for writes and an abort that needs no await."""

    def __init__(self, stream: trio.SocketStream, write_stall_s: float) -> None:
        self._stream = stream
        self._write_stall_s = write_stall_s
        self._sending = trio.Lock()  # hypercorn may end the stream in one task while another writes
        self.socket = stream.socket

    async def send_all(self, data: bytes) -> None:
        with trio.move_on_after(self._write_stall_s) as deadline:
            async with self._sending:
                await self._stream.send_all(data)
        if deadline.cancelled_caught:
            self.abort()
            raise trio.BrokenResourceError("the client does not read")

    async def receive_some(self, max_bytes: int) -> bytes:
        return bytes(await self._stream.receive_some(max_bytes))

    async def send_eof(self) -> None:
        async with self._sending:
            await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()

    def abort(self) -> None:
        self.socket.close()


class _Connection(TCPServer):  # type: ignore[misc]  # hypercorn's types are not read
    """Hypercorn's connection; but when the client left it ends with its last request, not after the idle time."""

    _client_left = False

    async def _read_data(self) -> None:
        await super()._read_data()
        self._client_left = True
        await self.idle_task.stop()

    async def protocol_send(self, event: Event) -> None:
        if not (self._client_left and isinstance(event, Updated)):
            await super().protocol_send(event)


class _Server:
    def __init__(self, app: ASGIApp, limits: AdminLimits) -> None:
        self._app = wrap_app(app, wsgi_max_body_size=0, mode="asgi")
        self._limits = limits
        self._config = Config()
        self._config.errorlog = log
        self._config.accesslog = None
        self._config.include_server_header = False
        self._config.keep_alive_timeout = limits.idle_s
        self._config.h11_max_incomplete_size = HEAD_MAX_BYTES
        self._context = WorkerContext(None)
        self._streams: set[_Stream] = set()

    async def run(self, listener: trio.SocketListener) -> None:
        async with trio.open_nursery() as nursery:
            try:
                await trio.serve_listeners(self._connection, [listener], handler_nursery=nursery)
            finally:
                # Wakes the writes that hypercorn shields from cancellation.
                for stream in self._streams:
                    stream.abort()
                nursery.cancel_scope.cancel()

    async def _connection(self, accepted: trio.SocketStream) -> None:
        stream = _Stream(accepted, self._limits.write_stall_s)
        if len(self._streams) >= self._limits.connections_max:
            log.warning("more than %d admin connections: one is closed", self._limits.connections_max)
            stream.abort()
            return
        self._streams.add(stream)
        try:
            await _Connection(self._app, self._config, self._context, ConnectionState({}), stream)
        except Exception:  # a connection's task root: whatever hypercorn does ends this connection alone
            log.exception("an admin connection failed")
        finally:
            self._streams.discard(stream)
            stream.abort()
