"""One reader's connection: requests in, answers out, with a deadline on every wait.

Whoever reads slowly, sends slowly or does neither loses the connection; a body that cannot be completed ends in RST,
so that no reader and no cache takes a part for the whole.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import logging
import math
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from email.utils import formatdate

import trio

from node.gateway.http1 import BadRequest, HeadReader, Request
from node.gateway.idle_poll import IdlePoll
from node.gateway.limits import INLINE_READ_MAX_BYTES, RECEIVE_BYTES, Limits
from node.gateway.response import Body, BodyCut, Response, encode_head

Handler = Callable[[Request], Awaitable[Response]]
AtOnce = Callable[[Request], Response | None]
"""The answer that is at hand, with its whole body; None if the handler has to make it. Raises BadRequest."""

ErrorPage = Callable[[BadRequest], Response]

_RESET = struct.pack("ii", 1, 0)  # struct linger: on, 0 seconds
_GONE = {errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTUNREACH, errno.ENETUNREACH}

log = logging.getLogger(__name__)


class Phase(enum.Enum):
    """What a connection is waiting for."""

    IDLE = enum.auto()  # the first byte of a request
    HEAD = enum.auto()  # the rest of its head
    ANSWER = enum.auto()  # the handler
    SEND = enum.auto()  # the reader to take the answer
    LINGER = enum.auto()  # the reader to close


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer that was sent, or as much of it as was taken. request: None for what was none.

    latency_s: from the request's head to the answer's; duration_s: to its end.
    """

    request: Request | None
    status: int
    sent_bytes: int
    latency_s: float
    duration_s: float


class Connection:
    """Runs until either side is done; `run` raises nothing but cancellation."""

    def __init__(
        self,
        sock: socket.socket,
        handler: Handler,
        error_page: ErrorPage,
        limits: Limits,
        poll: IdlePoll,
        on_phase: Callable[[Connection, Phase], None],
        on_answer: Callable[[Answered], None] = lambda _: None,
        at_once: AtOnce = lambda _: None,
    ) -> None:
        self._sock = sock
        self._handler = handler
        self._at_once = at_once
        self._error_page = error_page
        self._limits = limits
        self._poll = poll
        self._on_phase = on_phase
        self._on_answer = on_answer
        self._arrived: Request | None = None  # what the task is to answer
        self._has_ended = False  # the reader sends no more
        self._idle_until_s = 0.0
        self._request: Request | None = None  # what is being answered
        self._asked_s = self._ready_s = 0.0
        self._sent_bytes = self._sent_before_bytes = 0
        self._status = 0
        self._unsent: bytes | memoryview = b""  # of an answer that was begun at once
        self._has_waited = False
        self._heads = HeadReader(limits)
        self._scope = trio.CancelScope()
        self._phase = Phase.IDLE
        self.last_answer = False  # close after the answer that is being made

    def close_if_waiting(self) -> None:
        """Ends the connection now if no answer is being made or sent, else after that answer."""
        self.last_answer = True
        if self._phase in (Phase.IDLE, Phase.HEAD, Phase.LINGER):
            self._scope.cancel()

    def cut(self) -> None:
        """Ends the connection now; an answer on its way ends in a reset."""
        self.last_answer = True
        self._scope.cancel()

    async def run(self) -> None:
        """Serve the reader."""
        complete = False
        try:
            with self._scope:
                await self._serve()
            if self._scope.cancelled_caught and not self.last_answer:
                await self._on_deadline()
            complete = self._phase is not Phase.SEND
        except OSError as error:
            if error.errno not in _GONE:
                log.warning("a reader's connection failed: %s", error.strerror)
        except BodyCut:
            pass
        finally:
            self._close(reset=not complete)

    def _close(self, *, reset: bool) -> None:
        if reset:
            with contextlib.suppress(OSError):
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        trio.lowlevel.notify_closing(self._sock)
        self._sock.close()

    def _enter(self, phase: Phase, seconds: float) -> None:
        self._phase = phase
        self._scope.deadline = trio.current_time() + seconds
        self._on_phase(self, phase)

    async def _serve(self) -> None:
        try:
            while await self._serve_one():
                pass
        except BadRequest as error:
            await self._send_last(self._error_page(error))

    async def _serve_one(self) -> bool:
        """One request; False when the connection is done."""
        request = await self._next_request()
        if request is None:
            return False
        self._enter(Phase.ANSWER, self._limits.answer_s)
        self._request, self._asked_s = request, trio.current_time()
        response = await self._handler(request)
        chunked = response.length is None and request.chunks
        keep_alive = request.keep_alive and not self.last_answer
        await self._send(response, keep_alive=keep_alive, with_body=request.method != "HEAD", chunked=chunked)
        if not keep_alive:
            await self._linger()
        return keep_alive

    async def _next_request(self) -> Request | None:
        """The next one that is not answered at once; None when none will come."""
        request = self._heads.next_request()
        if request is None and self._heads.is_empty:
            request = await self._wait_idle()
        if request is None and not self._heads.is_empty:
            self._enter(Phase.HEAD, self._limits.head_s)
            while request is None and await self._receive_more():
                request = self._heads.next_request()
        if request is None:
            return None
        if not self._has_waited:  # pipelined: others have their turn, too
            await trio.lowlevel.checkpoint()
        self._has_waited = False
        return await self._with_body(request) if request.body_bytes else request

    async def _wait_idle(self) -> Request | None:
        """Until something has arrived that is not answered at once. None: no head, or nothing in time."""
        self._enter(Phase.IDLE, math.inf)
        self._idle_until_s = trio.current_time() + self._limits.idle_s
        self._has_waited = True
        while self._is_waiting():
            with trio.move_on_at(self._idle_until_s) as waiting:
                await self._poll.wait(self._sock, self._on_readable)
            if self._unsent:
                await self._send_rest()
            if waiting.cancelled_caught and trio.current_time() >= self._idle_until_s:
                break
        request, self._arrived = self._arrived, None
        return request

    def _on_readable(self) -> bool:
        """Answers what can be answered at once. False: the task goes on. Raises BadRequest, OSError."""
        try:
            data = self._sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return True
        self._has_ended = not data
        self._heads.feed(data)
        request = self._heads.next_request()
        if request is not None and not self._answer_at_once(request):
            self._arrived = request
        return self._is_waiting() and not self._unsent

    def _is_waiting(self) -> bool:
        return not self._has_ended and self._arrived is None and self._heads.is_empty

    def _answer_at_once(self, request: Request) -> bool:
        if self.last_answer or not request.keep_alive or not self._heads.is_empty:
            return False
        self._request, self._asked_s = request, trio.current_time()
        response = self._at_once(request)
        if response is None or not isinstance(response.body, bytes):
            return False
        self._begin_answer(response)
        try:
            self._unsent = self._send_at_once(encode_head(response, keep_alive=True, date=_http_date()), response.body)
        finally:
            if not self._unsent:
                self._end_answer()
        self._phase = Phase.SEND if self._unsent else Phase.IDLE
        self._on_phase(self, self._phase)
        self._idle_until_s = self._asked_s + self._limits.idle_s
        return True

    async def _send_rest(self) -> None:
        """Of an answer that was not taken whole at once."""
        rest, self._unsent = self._unsent, b""
        try:
            self._enter(Phase.SEND, self._limits.stall_s)
            await self._send_all(rest, trio.current_time() + self._limits.send_s(len(rest)))
        finally:
            self._end_answer()
        self._enter(Phase.IDLE, math.inf)
        self._idle_until_s = trio.current_time() + self._limits.idle_s

    async def _receive(self) -> bytes:
        """What has arrived, once something has; empty at the end. Cheaper than trio's recv, which tries first."""
        while True:
            await trio.lowlevel.wait_readable(self._sock)
            self._has_waited = True
            with contextlib.suppress(BlockingIOError):
                return self._sock.recv(RECEIVE_BYTES)

    async def _receive_more(self) -> bool:
        """False at the end."""
        data = await self._receive()
        self._heads.feed(data)
        return bool(data)

    async def _with_body(self, request: Request) -> Request | None:
        """Within the time that a head has."""
        self._enter(Phase.HEAD, self._limits.head_s)
        while (body := self._heads.take_body(request.body_bytes)) is None:
            if not await self._receive_more():
                return None
        return replace(request, body=body)

    async def _on_deadline(self) -> None:
        """Tell the reader what it was too slow with, where it can still be told."""
        if self._phase is Phase.HEAD:
            error = BadRequest(408, "the request did not arrive in time")
        elif self._phase is Phase.ANSWER:
            error = BadRequest(504, "no answer could be made in time")
        else:
            return
        with self._scope_again():
            await self._send_last(self._error_page(error))

    def _scope_again(self) -> trio.CancelScope:
        self._scope = trio.CancelScope()
        return self._scope

    async def _send_last(self, response: Response) -> None:
        self.last_answer = True
        is_head = self._request is not None and self._request.method == "HEAD"
        await self._send(response, keep_alive=False, with_body=not is_head)
        await self._linger()

    async def _send(self, response: Response, *, keep_alive: bool, with_body: bool, chunked: bool = False) -> None:
        self._begin_answer(response)
        try:
            await self._transmit(response, keep_alive=keep_alive, with_body=with_body, chunked=chunked)
        finally:
            self._end_answer()

    def _begin_answer(self, response: Response) -> None:
        self._status, self._ready_s, self._sent_before_bytes = response.status, trio.current_time(), self._sent_bytes
        if self._request is None:
            self._asked_s = self._ready_s

    def _end_answer(self) -> None:
        """It was sent, or as much of it as is to be."""
        request, self._request = self._request, None
        sent_bytes, duration_s = self._sent_bytes - self._sent_before_bytes, trio.current_time() - self._asked_s
        self._on_answer(Answered(request, self._status, sent_bytes, self._ready_s - self._asked_s, duration_s))

    async def _transmit(self, response: Response, *, keep_alive: bool, with_body: bool, chunked: bool) -> None:
        head = encode_head(response, keep_alive=keep_alive, date=_http_date(), chunked=chunked)
        body = response.body
        length = response.length if with_body else 0
        if length is None and not isinstance(body, bytes):
            await self._send_stream(head, body, chunked=chunked)
            return
        give_up = trio.current_time() + self._limits.send_s(length or 0)
        if length and not isinstance(body, bytes):
            self._enter(Phase.SEND, self._limits.stall_s)
            await self._send_body(head, body, give_up)
            return
        rest = self._send_at_once(head, body if length and isinstance(body, bytes) else b"")
        if rest:
            self._enter(Phase.SEND, self._limits.stall_s)
            await self._send_all(rest, give_up)

    async def _send_stream(self, head: bytes, body: Body, *, chunked: bool) -> None:
        """A body whose length nobody knows; without chunks it ends with the connection."""
        began, sent = trio.current_time(), 0
        give_up = began + self._limits.send_s(0)
        self._enter(Phase.SEND, self._limits.stall_s)
        body.on_abort(self._scope.cancel)
        await self._send_all(head, give_up, socket.MSG_MORE)
        while True:
            self._scope.deadline = give_up
            piece: bytes | memoryview = b""  # as below
            piece = await body.next_piece()
            sent += len(piece)
            give_up = began + self._limits.send_s(sent)
            self._scope.deadline = min(trio.current_time() + self._limits.stall_s, give_up)
            if chunked:
                size = f"{len(piece):x}\r\n".encode()
                if not piece:
                    await self._send_all(size + b"\r\n", give_up)
                    return
                await self._send_all(size, give_up, socket.MSG_MORE)
                await self._send_all(piece, give_up, socket.MSG_MORE)
                await self._send_all(b"\r\n", give_up)
            elif piece:
                await self._send_all(piece, give_up)
            else:
                return

    async def _send_body(self, head: bytes, body: Body, give_up: float) -> None:
        body.on_abort(self._scope.cancel)
        left = body.length or 0
        piece = await _next_piece(body, left)
        if len(piece) <= INLINE_READ_MAX_BYTES:
            await self._send_all(head + piece, give_up)
        else:
            await self._send_all(head, give_up, socket.MSG_MORE)
            await self._send_all(piece, give_up)
        left -= len(piece)
        while left:
            self._scope.deadline = give_up
            piece = b""  # a reader holds one block at most: not the last one while the next is read
            await trio.lowlevel.checkpoint()  # neither sending nor a piece from memory waits
            piece = await _next_piece(body, left)
            self._scope.deadline = min(trio.current_time() + self._limits.stall_s, give_up)
            await self._send_all(piece, give_up)
            left -= len(piece)

    async def _send_all(self, data: bytes | memoryview, give_up: float, flags: int = 0) -> None:
        view = memoryview(data)
        while view:
            try:
                sent = self._sock.send(view, flags)
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._sock)
                continue
            self._sent_bytes += sent
            view = view[sent:]
            if view:
                self._scope.deadline = min(trio.current_time() + self._limits.stall_s, give_up)

    def _send_at_once(self, head: bytes, body: bytes) -> memoryview:
        """What the system does not take now; most answers it takes whole."""
        try:
            sent = self._sock.sendmsg((head, body))
        except BlockingIOError:
            sent = 0
        self._sent_bytes += sent
        return memoryview(b"" if sent == len(head) + len(body) else head + body)[sent:]

    async def _linger(self) -> None:
        """Close so that the last answer arrives: closing with unread bytes would be a reset (RFC 9112, 9.6)."""
        self._enter(Phase.LINGER, self._limits.linger_s)
        self._sock.shutdown(socket.SHUT_WR)
        left = self._limits.head_max_bytes + RECEIVE_BYTES
        while left > 0 and (data := await self._receive()):
            left -= len(data)


async def _next_piece(body: Body, left: int) -> bytes | memoryview:
    piece = await body.next_piece()
    if not 0 < len(piece) <= left:
        raise BodyCut("a body of another length than was said")
    return piece


class _Clock:
    """The Date header, made once a second."""

    def __init__(self) -> None:
        self.second = 0
        self.text = ""


_clock = _Clock()


def _http_date() -> str:
    now = int(time.time())
    if now != _clock.second:
        _clock.second, _clock.text = now, formatdate(now, usegmt=True)
    return _clock.text
