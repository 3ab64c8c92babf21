"""Accepts readers' connections, bounds how many there are, and stops in time whatever they do."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import trio

from node.gateway import access_log
from node.gateway.connection import Answered, Connection, ErrorPage, Handler
from node.gateway.counters import AnswerCounters
from node.gateway.crowd import Crowd, Reader
from node.gateway.http1 import BadRequest, Request
from node.gateway.idle_poll import IdlePoll
from node.gateway.limits import Limits
from node.gateway.proxies import TrustedProxies
from node.gateway.rates import RequestRates, address_key, is_loopback
from node.gateway.response import Response

ACCEPT_PAUSE_S = 0.1  # when the process has no file descriptor left
COMPLAIN_EVERY_S = 10.0
REJECTED_RETRY_S = 10.0  # when somebody who had too many connections may try again
_OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

log = logging.getLogger(__name__)


@dataclass(slots=True)
class ServerStats:
    """Counts since the start; connections: now. rejected: connections; limited: requests that came too fast."""

    connections: int = 0
    accepted: int = 0
    rejected: int = 0
    requests: int = 0
    limited: int = 0
    failed: int = 0


class AtHand(Protocol):
    """Answers that need not be made."""

    def begin_round(self) -> None:
        """What is asked until the next call had all arrived before this one."""
        ...

    def answer(self, request: Request) -> Response | None:
        """With its whole body; None if the handler has to make it."""
        ...


class NothingAtHand:
    """Each answer is made."""

    def begin_round(self) -> None:
        pass

    def answer(self, request: Request) -> Response | None:
        return None


class HttpServer:
    """Serves requests of all listeners with one handler. Readers' addresses stay in memory and are never logged."""

    def __init__(
        self,
        handler: Handler,
        error_page: ErrorPage,
        limits: Limits,
        *,
        at_hand: AtHand | None = None,
        proxies: TrustedProxies | None = None,
        access_log: bool = False,
    ) -> None:
        """at_hand: is asked before the handler."""
        self._handler = handler
        self._at_hand: AtHand = at_hand or NothingAtHand()
        self._error_page = error_page
        self._limits = limits
        self._proxies = proxies or TrustedProxies(())
        self._access_log = access_log
        self._crowd = Crowd(limits.connections_max, limits.address_connections_max)
        self._rates = RequestRates(limits.address_requests_per_s, limits.address_burst_s, limits.addresses_max)
        self._poll = IdlePoll(self._at_hand.begin_round)
        self._running: set[Connection] = set()
        self._rejecting = 0
        self._complained_s = float("-inf")
        self._stop = trio.Event()
        self._retiring = False
        self._deaf = trio.Event()
        self._empty = trio.Event()
        self.stats = ServerStats()
        self.counters = AnswerCounters()

    def stop(self) -> None:
        """Take no more connections, let answers end within the grace, then cut."""
        self._stop.set()

    def retire(self) -> trio.Event:
        """As stop, but nobody is to notice: who is connected may ask once more. The event: nothing listens any more."""
        self._retiring = True
        self._stop.set()
        return self._deaf

    async def serve(
        self,
        listeners: Sequence[trio.socket.SocketType],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serves until `stop` or `retire`, closes the listeners, then returns within the grace."""
        async with trio.open_nursery() as readers:
            readers.start_soon(self._poll.run)
            async with trio.open_nursery() as accepting:
                for listener in listeners:
                    accepting.start_soon(self._accept, listener, readers)
                task_status.started()
                await self._stop.wait()
                accepting.cancel_scope.cancel()
            for listener in listeners:
                listener.close()
            self._deaf.set()
            for connection in self._running:
                connection.last_answer = True
            if self._retiring:
                await self._until_empty(self._limits.retire_wait_s)
            for connection in list(self._running):
                connection.close_if_waiting()
            await self._until_empty(self._limits.retire_answers_s if self._retiring else self._limits.stop_grace_s)
            readers.cancel_scope.cancel()

    async def _until_empty(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            while self._running:
                self._empty = trio.Event()
                await self._empty.wait()

    async def _accept(self, listener: trio.socket.SocketType, readers: trio.Nursery) -> None:
        while True:
            try:
                sock, address = await listener.accept()
            except OSError as error:
                if error.errno in _OUT_OF_RESOURCES:
                    await self._pause(error)
                continue  # otherwise the reader was gone before it was accepted
            self.stats.accepted += 1
            plain = socket.socket(sock.family, sock.type, sock.proto, fileno=sock.detach())
            plain.setblocking(False)
            self._start(plain, str(address[0]), readers)

    async def _pause(self, error: OSError) -> None:
        """Until connections end and give back what is short."""
        if trio.current_time() - self._complained_s > COMPLAIN_EVERY_S:
            self._complained_s = trio.current_time()
            log.error("cannot accept connections at the moment: %s", error.strerror)
        await trio.sleep(ACCEPT_PAUSE_S)

    def _start(self, sock: socket.socket, host: str, readers: trio.Nursery) -> None:
        is_proxy = self._proxies.trusts(host)
        shared = is_proxy or (is_loopback(host) and not self._limits.limit_loopback)
        reader = Reader(host, None if shared else address_key(host), is_proxy)
        refusal = self._refusal(reader)
        if refusal is not None:
            self._reject(sock, refusal, readers)
            return
        connection = Connection(
            sock,
            partial(self._answer, reader),
            self._error_page,
            self._limits,
            self._poll,
            self._crowd.on_phase,
            partial(self._on_answer, reader),
            partial(self._answer_at_once, reader),
        )
        self._crowd.add(connection, reader)
        self._running.add(connection)
        self.stats.connections = len(self._crowd)
        readers.start_soon(self._serve_reader, connection, sock)

    def _refusal(self, reader: Reader) -> BadRequest | None:
        """Why there is no connection for the reader; it counts as a request of its address."""
        if self._crowd.is_crowding(reader):
            return BadRequest(429, "too many connections from this address", retry_s=REJECTED_RETRY_S)
        if reader.key is not None:
            wait_s = self._rates.take(reader.key, trio.current_time())
            if wait_s:
                return BadRequest(429, "too many requests from this address", retry_s=wait_s)
        if not self._crowd.make_room(reader):
            return BadRequest(503, "too many connections", retry_s=REJECTED_RETRY_S)
        return None

    def _reject(self, sock: socket.socket, refusal: BadRequest, readers: trio.Nursery) -> None:
        self.stats.rejected += 1
        if self._rejecting >= self._limits.rejects_max:
            sock.close()
        else:
            self._rejecting += 1
            readers.start_soon(self._say_why, sock, refusal)

    async def _serve_reader(self, connection: Connection, sock: socket.socket) -> None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await connection.run()
        except Exception:  # the connection's task root: a bug of ours ends this connection alone
            self.stats.failed += 1
            log.exception("serving a reader failed")
        finally:
            self._crowd.remove(connection)
            self._running.discard(connection)
            self.stats.connections = len(self._crowd)
            if not self._running:
                self._empty.set()

    def _on_answer(self, reader: Reader, answered: Answered) -> None:
        if reader.busy_key is not None:
            self._crowd.answered(reader)
        self.counters.add(answered.status, answered.sent_bytes, answered.latency_s)
        if self._access_log and answered.request is not None:
            fields = access_log.fields_of(answered.request, answered.status, answered.sent_bytes, answered.duration_s)
            access_log.write(fields)

    def _answer_at_once(self, reader: Reader, request: Request) -> Response | None:
        response = self._at_hand.answer(self._proxies.read(request, reader.host))
        if response is not None:
            self.stats.requests += 1
            self._check_rate(reader, request)
        return response

    async def _answer(self, reader: Reader, request: Request) -> Response:
        self.stats.requests += 1
        self._check_rate(reader, request)
        try:
            if request.method in ("POST", "PUT"):
                request = replace(request, reader=self._proxies.reader(request, reader.host))
            return await self._handler(self._proxies.read(request, reader.host))
        except BadRequest:
            raise
        except Exception:  # the request's task root: a bug of ours costs one answer, not the connection
            self.stats.failed += 1
            log.exception("a request failed")
            return self._error_page(BadRequest(500, "this node failed to answer"))

    def _check_rate(self, reader: Reader, request: Request) -> None:
        """Raises BadRequest. Behind a trusted proxy each request has an address of its own."""
        key = reader.key
        if reader.is_proxy:
            behind = self._proxies.reader(request, reader.host)
            key = address_key(behind) if behind != reader.host else None
            if key is not None and not self._crowd.begin_answer(reader, key):
                self.stats.limited += 1
                raise BadRequest(429, "too many requests at a time from this address", retry_s=REJECTED_RETRY_S)
        if key is not None:
            wait_s = self._rates.take(key, trio.current_time())
            if wait_s:
                self.stats.limited += 1
                raise BadRequest(429, "too many requests from this address", retry_s=wait_s)

    async def _say_why(self, sock: socket.socket, refusal: BadRequest) -> None:
        """429 or 503 to a connection that is one too many; a stranger gets a second of our time for it."""

        async def refuse(_: Request) -> Response:
            return self._error_page(refusal)

        limits = Limits(idle_s=1.0, head_s=1.0, stall_s=1.0)
        connection = Connection(sock, refuse, self._error_page, limits, self._poll, lambda *_: None)
        connection.last_answer = True
        try:
            with trio.move_on_after(2.0):
                await connection.run()
        finally:
            self._rejecting -= 1
