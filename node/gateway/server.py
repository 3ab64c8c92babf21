"""Accepts readers' connections, bounds how many there are, and stops in time whatever they do."""

from __future__ import annotations

import errno
import ipaddress
import logging
import socket
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import trio

from node.gateway import access_log
from node.gateway.connection import Answered, Connection, ErrorPage, Handler, Phase
from node.gateway.counters import AnswerCounters
from node.gateway.http1 import BadRequest, Request
from node.gateway.limits import Limits
from node.gateway.proxies import TrustedProxies
from node.gateway.response import Response

ACCEPT_PAUSE_S = 0.1  # when the process has no file descriptor left
COMPLAIN_EVERY_S = 10.0
_OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

log = logging.getLogger(__name__)


@dataclass(slots=True)
class ServerStats:
    """Counts since the start; connections: now."""

    connections: int = 0
    accepted: int = 0
    rejected: int = 0
    requests: int = 0
    failed: int = 0


class HttpServer:
    """Serves requests of all listeners with one handler. Readers' addresses stay in memory and are never logged."""

    def __init__(
        self,
        handler: Handler,
        error_page: ErrorPage,
        limits: Limits,
        *,
        proxies: TrustedProxies | None = None,
        access_log: bool = False,
    ) -> None:
        self._handler = handler
        self._error_page = error_page
        self._limits = limits
        self._proxies = proxies or TrustedProxies(())
        self._access_log = access_log
        self._open: set[Connection] = set()
        self._idle: dict[Connection, None] = {}  # longest idle first
        self._by_address: Counter[str] = Counter()
        self._rejecting = 0
        self._complained_s = float("-inf")
        self._stop = trio.Event()
        self._empty = trio.Event()
        self.stats = ServerStats()
        self.counters = AnswerCounters()

    def stop(self) -> None:
        """Take no more connections, let answers end within the grace, then cut."""
        self._stop.set()

    async def serve(
        self,
        listeners: Sequence[trio.socket.SocketType],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serves until `stop`, then returns within the grace."""
        async with trio.open_nursery() as readers:
            async with trio.open_nursery() as accepting:
                for listener in listeners:
                    accepting.start_soon(self._accept, listener, readers)
                task_status.started()
                await self._stop.wait()
                accepting.cancel_scope.cancel()
            for connection in list(self._open):
                connection.close_if_waiting()
            with trio.move_on_after(self._limits.stop_grace_s):
                while self._open:
                    self._empty = trio.Event()
                    await self._empty.wait()
            readers.cancel_scope.cancel()

    async def _accept(self, listener: trio.socket.SocketType, readers: trio.Nursery) -> None:
        while True:
            try:
                sock, address = await listener.accept()
            except OSError as error:
                if error.errno in _OUT_OF_RESOURCES:
                    await self._pause(error)
                continue  # otherwise the reader was gone before it was accepted
            self.stats.accepted += 1
            self._start(sock, str(address[0]), readers)

    async def _pause(self, error: OSError) -> None:
        """Until connections end and give back what is short."""
        if trio.current_time() - self._complained_s > COMPLAIN_EVERY_S:
            self._complained_s = trio.current_time()
            log.error("cannot accept connections at the moment: %s", error.strerror)
        await trio.sleep(ACCEPT_PAUSE_S)

    def _start(self, sock: trio.socket.SocketType, host: str, readers: trio.Nursery) -> None:
        key = address_key(host)
        too_many = self._by_address[key] >= self._limits.address_connections_max
        shared = self._proxies.trusts(host) or (is_loopback(host) and not self._limits.limit_loopback)
        if too_many and not shared:
            self._reject(sock, readers)
            return
        if len(self._open) >= self._limits.connections_max:
            if not self._idle:
                self._reject(sock, readers)
                return
            longest_idle = next(iter(self._idle))
            del self._idle[longest_idle]
            longest_idle.close_if_waiting()
        handler = partial(self._answer, host)
        connection = Connection(sock, handler, self._error_page, self._limits, self._on_phase, self._on_answer)
        self._open.add(connection)
        self._by_address[key] += 1
        self.stats.connections = len(self._open)
        readers.start_soon(self._serve_reader, connection, sock, key)

    def _reject(self, sock: trio.socket.SocketType, readers: trio.Nursery) -> None:
        self.stats.rejected += 1
        if self._rejecting >= self._limits.rejects_max:
            sock.close()
        else:
            readers.start_soon(self._say_busy, sock)

    async def _serve_reader(self, connection: Connection, sock: trio.socket.SocketType, key: str) -> None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await connection.run()
        except Exception:  # the connection's task root: a bug of ours ends this connection alone
            self.stats.failed += 1
            log.exception("serving a reader failed")
        finally:
            sock.close()
            self._forget(connection, key)

    def _forget(self, connection: Connection, key: str) -> None:
        self._open.discard(connection)
        self._idle.pop(connection, None)
        self._by_address[key] -= 1
        if not self._by_address[key]:
            del self._by_address[key]
        self.stats.connections = len(self._open)
        if not self._open:
            self._empty.set()

    def _on_phase(self, connection: Connection, phase: Phase) -> None:
        self._idle.pop(connection, None)
        if phase is Phase.IDLE:
            self._idle[connection] = None

    def _on_answer(self, answered: Answered) -> None:
        self.counters.add(answered.status, answered.sent_bytes, answered.latency_s)
        if self._access_log and answered.request is not None:
            fields = access_log.fields_of(answered.request, answered.status, answered.sent_bytes, answered.duration_s)
            access_log.write(fields)

    async def _answer(self, peer: str, request: Request) -> Response:
        self.stats.requests += 1
        try:
            if request.method == "POST":
                request = replace(request, reader=self._proxies.reader(request, peer))
            return await self._handler(self._proxies.read(request, peer))
        except BadRequest:
            raise
        except Exception:  # the request's task root: a bug of ours costs one answer, not the connection
            self.stats.failed += 1
            log.exception("a request failed")
            return self._error_page(BadRequest(500, "this node failed to answer"))

    async def _say_busy(self, sock: trio.socket.SocketType) -> None:
        """503 to a connection that is one too many; a stranger gets a second of our time for it."""

        async def busy(_: Request) -> Response:
            return self._error_page(BadRequest(503, "too many connections"))

        limits = Limits(idle_s=1.0, head_s=1.0, stall_s=1.0)
        connection = Connection(sock, busy, self._error_page, limits, lambda *_: None)
        connection.last_answer = True
        self._rejecting += 1
        try:
            with trio.move_on_after(2.0):
                await connection.run()
        finally:
            self._rejecting -= 1


def is_loopback(host: str) -> bool:
    """An address of this machine itself, which may be a proxy for everybody."""
    return ipaddress.ip_address(host.partition("%")[0]).is_loopback


def address_key(host: str) -> str:
    """What one reader has: an IPv4 address, or the /64 of an IPv6 address."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return (address.packed[:8]).hex()
    return host
