"""`/metrics` over HTTP for Prometheus, where `metrics.listen` says so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import trio

from node.gateway.failures import bad_request
from node.gateway.http1 import BadRequest, Request
from node.gateway.limits import Limits
from node.gateway.listening import listening_sockets
from node.gateway.pages import Self
from node.gateway.response import Response
from node.gateway.server import HttpServer
from node.metrics import CONTENT_TYPE

CONNECTIONS_MAX = 32


async def serve_metrics(
    collect: Callable[[], Awaitable[str]],
    addresses: Sequence[str],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Listens (then task_status is started) and serves until cancelled; nothing to do without addresses.

    Raises CannotListen.
    """

    async def answer(request: Request) -> Response:
        if request.target.partition("?")[0] != "/metrics":
            raise BadRequest(404, "metrics are at /metrics")
        headers = [("Content-Type", CONTENT_TYPE), ("Cache-Control", "no-store")]
        return Response(200, headers, (await collect()).encode())

    if not addresses:
        task_status.started()
        return
    limits = Limits(connections_max=CONNECTIONS_MAX, address_connections_max=CONNECTIONS_MAX)
    server = HttpServer(answer, lambda error: bad_request(error, Self("", "")), limits)
    with listening_sockets(addresses) as listeners:
        await server.serve(
            [trio.socket.from_stdlib_socket(listener) for listener in listeners], task_status=task_status
        )
