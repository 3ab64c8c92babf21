"""One run of the console: a listener on loopback, for as long as somebody uses it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import trio

from cli.console.app import create_app
from cli.console.guard import Keys
from cli.errors import CommandError
from node.admin.server import AdminLimits, serve_app

ADDRESS = "127.0.0.1"
LIMITS = AdminLimits(connections_max=32)


async def serve_console(
    admin_socket: Path, decision_log: Path, *, port: int, idle_s: float, opened: Callable[[int, str], None]
) -> None:
    """Serves until nobody asked for anything for idle_s seconds, or until cancelled. opened: called with the port and
    the one-time address. port 0: the system chooses. CommandError when the port cannot be had."""
    keys = Keys()
    try:
        listener = socket.create_server((ADDRESS, port), backlog=16)
    except OSError as error:
        raise CommandError(
            f"cannot listen at {ADDRESS}:{port}: {error.strerror}", hint="choose another --port"
        ) from error
    with listener:
        listener.setblocking(False)
        port = listener.getsockname()[1]
        async with trio.open_nursery() as nursery:
            idle = trio.CancelScope(deadline=trio.current_time() + idle_s)

            def used() -> None:
                idle.deadline = trio.current_time() + idle_s

            app = create_app(admin_socket, decision_log, keys, port, used)
            nursery.start_soon(serve_app, app, trio.SocketListener(trio.socket.from_stdlib_socket(listener)), LIMITS)
            opened(port, f"http://{ADDRESS}:{port}/open?token={keys.once}")
            with idle:
                await trio.sleep_forever()
            nursery.cancel_scope.cancel()
