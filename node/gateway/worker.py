"""A gateway worker: `python -m node.gateway.worker CONTROL_FD LISTEN_FD…`, started by the daemon, never by hand.

It reads its settings from the control socket, says when it is ready, and then reports its counts. It ends on SIGTERM.
When the daemon's end of the control socket closes, the daemon has died: the worker goes on serving what is stored,
until another daemon has taken over (handover.py), for a while at most.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict

import trio

from node.gateway.app import GatewayApp
from node.gateway.backend_client import BackendClient
from node.gateway.handover import Successor
from node.gateway.limits import Limits
from node.gateway.proxies import TrustedProxies
from node.gateway.server import HttpServer
from node.gateway.settings import WorkerSettings
from node.logs import set_up_logging
from node.store.reader import open_reader
from protocol.errors import OperatorError

REPORT_EVERY_S = 5.0
RULES_EVERY_S = 0.3  # how soon a new rule cuts an answer that is on its way; new requests see it at once
LEAVE_S = 3.0  # for a worker to end whose time without a daemon is over
SPARE_FDS = 64  # for the store, the log and the daemon, beside one for each connection

log = logging.getLogger(__name__)


def main(argv: list[str]) -> int:
    """Runs until told to stop; returns the exit status."""
    # Ctrl-C reaches the whole terminal's process group; the daemon decides when its workers stop.
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    control = socket.socket(fileno=int(argv[0]))
    control.setblocking(True)
    listeners = [socket.socket(fileno=int(fd)) for fd in argv[1:]]
    settings = WorkerSettings.from_json(_read_line(control))
    set_up_logging(settings.log_level, settings.log_format)
    check_descriptors(settings.limits)
    try:
        trio.run(run_worker, settings, control, listeners)
    except OperatorError as error:
        log.error("a gateway worker cannot run: %s", error)
        return 1
    return 0


async def run_worker(settings: WorkerSettings, control: socket.socket, listeners: list[socket.socket]) -> None:
    """Serves until SIGTERM, or for a while after the daemon's end."""
    reader = open_reader(settings.store_dir)
    try:
        backend = BackendClient(settings.backend_socket, waiting_max=settings.fetch_limits.waiting_max)
        app = GatewayApp(settings, reader, backend, backend.desk, backend, backend.grant)
        server = HttpServer(
            app.answer,
            app.error_page,
            settings.limits,
            at_hand=app.at_hand,
            proxies=TrustedProxies(settings.trusted_proxies),
            access_log=settings.access_log,
        )
        successor = Successor(settings.backend_socket.parent, listeners, server.retire)
        alone = trio.Event()
        _watch_daemon(control, alone.set, settings.limits.alone_s)
        async with trio.open_nursery() as nursery:
            await nursery.start(successor.run)
            nursery.start_soon(_outlive_daemon, alone, successor, server, settings.limits.alone_s)
            nursery.start_soon(_stop_on_signal, server)
            nursery.start_soon(_watch_rules, app)
            nursery.start_soon(_report, server, app, control)
            await server.serve([trio.socket.from_stdlib_socket(listener) for listener in listeners])
            nursery.cancel_scope.cancel()
    finally:
        reader.close()
    log.debug("worker stopped")


def check_descriptors(limits: Limits) -> None:
    """Raise the limit of open files to what the connections need; say so if that is not allowed."""
    wanted = limits.connections_max + limits.rejects_max + SPARE_FDS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        best = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (best, hard))
        if best < wanted:
            log.warning("only %d files may be open: fewer readers than %d fit", best, limits.connections_max)


async def _stop_on_signal(server: HttpServer) -> None:
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _ in signals:
            server.stop()


async def _watch_rules(app: GatewayApp) -> None:
    while True:
        try:
            await app.apply_new_rules()
        except OperatorError as error:  # requests fail by themselves until the store can be read again
            log.error("the rules cannot be read: %s", error)
        await trio.sleep(RULES_EVERY_S)


async def _report(server: HttpServer, app: GatewayApp, control: socket.socket) -> None:
    """The first report says that the worker is ready; the daemon takes silence for a hang."""
    while True:
        counts = asdict(server.stats) | server.counters.as_flat() | app.counts()
        line = json.dumps(counts).encode() + b"\n"
        with suppress(OSError):  # a daemon that does not read gets the next one, and one that is gone none
            control.send(line, socket.MSG_DONTWAIT)
        await trio.sleep(REPORT_EVERY_S)


async def _outlive_daemon(alone: trio.Event, successor: Successor, server: HttpServer, alone_s: float) -> None:
    await alone.wait()
    log.warning("the daemon died; readers are served from the store for %.0f s, unless it is started again", alone_s)
    await successor.serve_alone(alone_s)
    server.stop()


def _watch_daemon(control: socket.socket, on_death: Callable[[], object], alone_s: float) -> None:
    """A thread, because it must work when the loop hangs. Not PR_SET_PDEATHSIG: that fires when the *thread* that
    started this process ends, and the daemon starts its workers from threads that come and go."""
    token = trio.lowlevel.current_trio_token()

    def watch() -> None:
        with suppress(OSError):
            while control.recv(1):
                pass
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(on_death)
        time.sleep(alone_s + LEAVE_S)
        os._exit(1)

    threading.Thread(target=watch, name="daemon-watch", daemon=True).start()


def _read_line(control: socket.socket) -> str:
    buffer = bytearray()
    while not buffer.endswith(b"\n"):
        data = control.recv(65536)
        if not data:
            raise SystemExit("the daemon ended before it sent the settings")
        buffer += data
    return buffer.decode()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
