"""The daemon's end of `gateway.sock`: hands workers' requests to the Backend."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import trio

from node.admin.unix import listening_unix_socket
from node.gateway.backend import (
    AskDesk,
    AskIdentity,
    Backend,
    BackendRequest,
    Certify,
    FetchTreeBlock,
    FindName,
    NameBackend,
    NoNames,
    PutName,
    Resolve,
    Unavailable,
    decode_request,
    encode_failure,
    encode_success,
    frame,
)
from node.gateway.backend_client import receive_message
from node.gateway.certificate_budget import Budget
from protocol.errors import DecodeError

CONNECTIONS_MAX = 256  # of all workers; each worker has its own, lower limit
MESSAGE_S = 5.0  # for a request to arrive, and for its answer to be taken
REQUEST_S = 60.0  # after this nobody waits any more

AskedDesk = Callable[[bytes], Awaitable[bytes]]

log = logging.getLogger(__name__)


async def serve_backend(
    backend: Backend,
    socket_path: Path,
    *,
    desk: AskedDesk | None = None,
    names: NameBackend | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Listens (then task_status is started) and serves until cancelled. SocketPathError if it cannot listen."""
    slots = trio.CapacityLimiter(CONNECTIONS_MAX)
    answer = partial(_answer, backend, desk or _no_desk, names or NoNames(), Budget())
    with listening_unix_socket(socket_path) as listener:
        task_status.started()

        async def serve(stream: trio.SocketStream) -> None:
            async with stream:
                try:
                    slots.acquire_on_behalf_of_nowait(stream)
                except trio.WouldBlock:
                    return
                try:
                    await _serve_one(answer, stream)
                finally:
                    slots.release_on_behalf_of(stream)

        await trio.serve_listeners(serve, [trio.SocketListener(trio.socket.from_stdlib_socket(listener))])


async def _serve_one(answer: Callable[[BackendRequest], Awaitable[bytes]], stream: trio.SocketStream) -> None:
    try:
        with trio.fail_after(MESSAGE_S):
            request = decode_request(await receive_message(stream))
        found = await _unless_gone(stream, lambda: answer(request))
        if found is not None:
            with trio.fail_after(MESSAGE_S):
                await stream.send_all(frame(found))
    except (DecodeError, trio.TooSlowError) as error:
        log.warning("a gateway worker's request was dropped: %r", error)
    except trio.BrokenResourceError:
        pass  # the worker went away


async def _no_desk(_body: bytes) -> bytes:
    raise Unavailable("not-found", "this node takes no reports")


async def _certify(budget: Budget, request: Certify) -> None:
    if not await budget.grant(request.domain):
        raise Unavailable("refused", "too many new names in this hour")


async def _answer(
    backend: Backend, desk: AskedDesk, names: NameBackend, budget: Budget, request: BackendRequest
) -> bytes:
    try:
        with trio.fail_after(REQUEST_S):
            if isinstance(request, Resolve):
                return encode_success(await backend.resolve(request.site, request.below))
            if isinstance(request, AskIdentity):
                return encode_success(await backend.identity())
            if isinstance(request, AskDesk):
                return encode_success(await desk(request.body))
            if isinstance(request, Certify):
                await _certify(budget, request)
            elif isinstance(request, FindName):
                await names.find_name(request.name)
            elif isinstance(request, PutName):
                await names.put_name(request.name, request.record)
            elif isinstance(request, FetchTreeBlock):
                await names.fetch_tree_block(request.root, request.cid)
            else:
                await backend.fetch_block(request.site, request.cid)
            return encode_success(None)
    except Unavailable as error:
        return encode_failure(error)
    except trio.TooSlowError:
        return encode_failure(Unavailable("timeout", "no other node answered in time"))
    except Exception:  # a request's task root: whatever the backend does ends this request alone
        log.exception("a gateway worker's request failed")
        return encode_failure(Unavailable("busy", "this node failed to ask other nodes"))


async def _unless_gone(stream: trio.SocketStream, work: Callable[[], Awaitable[bytes]]) -> bytes | None:
    """The work's result; None as soon as the other side closes, and then the work is cancelled."""
    result: bytes | None = None
    async with trio.open_nursery() as nursery:

        async def watch() -> None:
            with contextlib.suppress(trio.BrokenResourceError):
                await stream.receive_some(1)
            nursery.cancel_scope.cancel()

        async def run() -> None:
            nonlocal result
            result = await work()
            nursery.cancel_scope.cancel()

        nursery.start_soon(watch)
        nursery.start_soon(run)
    return result
