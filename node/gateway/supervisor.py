"""The daemon's side of the gateway: binds the addresses, answers the workers, starts them and starts them again."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import trio

import node
from config import Config
from config.addresses import parse_host_port
from config.paths import Paths
from node.gateway.backend import Backend, NameBackend
from node.gateway.backend_server import AskedDesk, serve_backend
from node.gateway.handover import LeftWorkers
from node.gateway.limits import Limits
from node.gateway.listening import bound_address, fit, listening_sockets
from node.gateway.server import ServerStats
from node.gateway.settings import WorkerSettings
from node.groups import first_operator_error
from protocol.errors import OperatorError
from protocol.site_id import SiteId

START_S = 30.0  # for a worker to say that it is ready; a loaded machine imports slowly
SILENT_S = 60.0  # a worker reports every few seconds; one that is silent for so long hangs
STOP_S = 1.7  # from SIGTERM to SIGKILL; workers give their readers a second
BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 10.0
BACKOFF_RESET_S = 30.0  # a worker that lived so long failed for another reason than the last time
LINE_MAX_BYTES = 64 * 1024
WORKERS_MAX = 64
SHOWN_STATS = frozenset(item.name for item in fields(ServerStats))  # the others are for metrics

log = logging.getLogger(__name__)


class WorkerFailed(OperatorError):
    """A gateway worker cannot start at all."""

    code: ClassVar[str] = "gateway-worker-failed"


@dataclass(slots=True)
class WorkerStatus:
    """What is known of one worker. state: starting, ready, waiting (to be started again) or stopped."""

    pid: int | None = None
    state: str = "starting"
    restarts: int = 0
    stats: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Handover:
    """Whether the workers are left to serve on, for another daemon to take over from them, when this one stops."""

    is_due: bool = False


class GatewaySupervisor:
    """Runs the gateway inside the daemon: `await nursery.start(gateway.run)`. With no address it does nothing."""

    def __init__(
        self,
        config: Config,
        paths: Paths,
        backend: Backend,
        *,
        limits: Limits | None = None,
        peer_id: str = "",
        addresses: Sequence[str] = (),
        desk: AskedDesk | None = None,
        names: NameBackend | None = None,
    ) -> None:
        """peer_id, addresses: what readers are told of this node among nodes. desk: where their reports go."""
        self._desk = desk
        self._names = names
        self._config = config
        settings = worker_settings(config, paths, limits or limits_of(config))
        self._worker = replace(settings, peer_id=peer_id, addresses=tuple(addresses))
        self._backend = backend
        self.handover = Handover()
        self._addresses: list[str] = []
        self._workers: list[WorkerStatus] = []

    def addresses(self) -> list[str]:
        """ "host:port" of each listening socket, with the real port."""
        return list(self._addresses)

    def workers(self) -> int:
        """How many are ready."""
        return sum(status.state == "ready" for status in self._workers)

    @property
    def workers_wanted(self) -> int:
        """How many there should be."""
        if not self._config.gateway.listen:
            return 0
        return self._config.gateway.workers or min(len(os.sched_getaffinity(0)), WORKERS_MAX)

    def statuses(self) -> list[dict[str, Any]]:
        """JSON-able: each worker, with its counts."""
        return [
            {
                "pid": status.pid,
                "state": status.state,
                "restarts": status.restarts,
                **{name: count for name, count in status.stats.items() if name in SHOWN_STATS},
            }
            for status in self._workers
        ]

    def counts(self) -> list[dict[str, int]]:
        """Each worker's last report: counts since its start."""
        return [{"restarts": status.restarts, **status.stats} for status in self._workers]

    def urls(self, site: SiteId) -> list[str]:
        """Addresses of the site at this gateway, the one to open first."""
        return site_urls(site, self._addresses, self._config.gateway.domains)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Runs until cancelled, then stops the workers within 2 s. Started once all workers are ready.

        Raises CannotListen, SocketPathError or WorkerFailed before it is started.
        """
        left = await trio.to_thread.run_sync(LeftWorkers.find, self._worker.backend_socket.parent)
        try:
            with contextlib.closing(left):
                if not fit(self._config.gateway.listen, left.listeners) or not self._config.gateway.listen:
                    await trio.to_thread.run_sync(left.retire)
                await self._run(left, task_status)
        except BaseExceptionGroup as group:
            error = first_operator_error(group)
            if error is None:
                raise
            raise error from group

    async def _run(self, left: LeftWorkers, task_status: trio.TaskStatus[None]) -> None:
        if not self._config.gateway.listen:
            task_status.started()
            return
        with listening_sockets(self._config.gateway.listen, left.listeners) as listeners:
            self._addresses = [bound_address(listener) for listener in listeners]
            self._workers = [WorkerStatus() for _ in range(self.workers_wanted)]
            async with trio.open_nursery() as nursery:
                serve = partial(serve_backend, desk=self._desk, names=self._names)
                await nursery.start(serve, self._backend, self._worker.backend_socket)
                async with trio.open_nursery() as starting:
                    for status in self._workers:
                        starting.start_soon(nursery.start, _Worker(self._worker, listeners, status, self.handover).run)
                await trio.to_thread.run_sync(left.retire)
                task_status.started()


def worker_settings(config: Config, paths: Paths, limits: Limits) -> WorkerSettings:
    """What the workers need of the node's settings."""
    human = config.log.format == "human" or (config.log.format == "auto" and sys.stderr.isatty())
    return WorkerSettings(
        store_dir=paths.store_dir,
        backend_socket=paths.gateway_socket,
        node_name=config.node.name,
        contact=config.node.contact,
        domains=config.gateway.domains,
        fetch_on_miss=config.gateway.fetch_on_miss != "off",
        fetch_trees=config.gateway.fetch_on_miss == "all",
        list_sites=config.gateway.list_sites,
        take_records=config.gateway.take_records,
        policy_url=config.node.policy_url,
        hosting_mode=config.hosting.mode,
        dns_servers=config.gateway.dns_servers,
        tree_domains=config.gateway.tree_domains,
        trusted_proxies=config.gateway.trusted_proxies,
        access_log=config.gateway.access_log,
        log_level=config.log.level,
        log_format="human" if human else "json",
        limits=limits,
    )


def limits_of(config: Config) -> Limits:
    """What the operator sets, and the rest as it is."""
    gateway = config.gateway
    return Limits(
        connections_max=gateway.connections,
        address_connections_max=min(gateway.address_connections, gateway.connections),
        address_requests_per_s=gateway.address_requests_per_s,
    )


def site_urls(site: SiteId, addresses: Sequence[str], domains: Sequence[str]) -> list[str]:
    """Where readers find a site. A public name for a gateway on loopback means that a proxy with TLS is in front."""
    if not addresses:
        return []
    first = parse_host_port(addresses[0])
    loopback = ipaddress.ip_address(first.host).is_loopback
    urls = []
    for domain in domains:
        if loopback and domain != "localhost" and not domain.endswith(".localhost"):
            urls.append(f"https://{site}.ipns.{domain}/")
        else:
            urls.append(f"http://{site}.ipns.{domain}{'' if first.port == 80 else f':{first.port}'}/")
    return urls or [f"http://{first}/ipns/{site}/"]


class _Worker:
    """One worker process after the other."""

    def __init__(
        self,
        settings: WorkerSettings,
        listeners: Sequence[socket.socket],
        status: WorkerStatus,
        handover: Handover,
    ) -> None:
        self._settings = settings
        self._listeners = listeners
        self._status = status
        self._handover = handover
        self._was_ready = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keeps a worker running; WorkerFailed when the very first one does not come up."""
        backoff_s = BACKOFF_FIRST_S
        while True:
            began = trio.current_time()
            self._was_ready = False
            reason = await self._run_once(task_status)
            if not self._was_ready and not self._status.restarts:
                raise WorkerFailed(f"the gateway worker did not start: {reason}", hint="its log above says why")
            if trio.current_time() - began > BACKOFF_RESET_S:
                backoff_s = BACKOFF_FIRST_S
            log.error("gateway worker %s ended: %s; starting it again in %.1f s", self._status.pid, reason, backoff_s)
            self._status.state, self._status.pid = "waiting", None
            self._status.restarts += 1
            await trio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, BACKOFF_MAX_S)

    async def _run_once(self, task_status: trio.TaskStatus[None]) -> str:
        """One process from start to end; returns why it ended."""
        ours, theirs = trio.socket.socketpair()
        with ours:
            with theirs:
                process = await _spawn(theirs.fileno(), [listener.fileno() for listener in self._listeners])
            self._status.pid, self._status.state = process.pid, "starting"
            reason = "it was stopped"
            try:
                reason = await self._attend(ours, task_status)
            finally:
                code = None
                if not (self._handover.is_due and self._was_ready):
                    with trio.CancelScope(shield=True):
                        code = await _stop(process)
                self._status.state = "stopped"
        return f"{reason} (exit status {code})"

    async def _attend(self, control: trio.socket.SocketType, task_status: trio.TaskStatus[None]) -> str:
        reader = _Lines(control)
        try:
            stream = trio.SocketStream(control)
            await stream.send_all(self._settings.to_json().encode() + b"\n")
            with trio.fail_after(START_S):
                if await reader.next() is None:
                    return "it ended while it was starting"
            self._status.state = "ready"
            self._was_ready = True
            if not self._status.restarts:
                task_status.started()
            while True:
                with trio.fail_after(SILENT_S):
                    report = await reader.next()
                if report is None:
                    return "it closed its end"
                self._status.stats = report
        except trio.TooSlowError:
            return "it was silent for too long"
        except (OSError, trio.BrokenResourceError) as error:
            return f"its control socket failed: {error}"


class _Lines:
    """JSON objects of integers, one a line, from a worker."""

    def __init__(self, sock: trio.socket.SocketType) -> None:
        self._sock = sock
        self._buffer = bytearray()

    async def next(self) -> dict[str, int] | None:
        """The next object; None at the end or when it is not what a worker says."""
        while b"\n" not in self._buffer:
            data = await self._sock.recv(4096)
            if not data or len(self._buffer) > LINE_MAX_BYTES:
                return None
            self._buffer += data
        line, _, rest = bytes(self._buffer).partition(b"\n")
        self._buffer = bytearray(rest)
        found = json.loads(line)
        return {str(key): int(value) for key, value in found.items()}


async def _spawn(control_fd: int, listen_fds: list[int]) -> trio.Process:
    """A worker that inherits the control socket, the listening sockets, stderr, and nothing else."""
    command = [sys.executable, "-P", "-m", "node.gateway.worker", str(control_fd), *map(str, listen_fds)]
    root = str(Path(node.__path__[0]).parent)
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return await trio.lowlevel.open_process(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=(control_fd, *listen_fds),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))},
    )


async def _stop(process: trio.Process) -> int:
    """SIGTERM, and SIGKILL for one that does not heed it; returns the exit status."""
    if process.returncode is None:
        process.terminate()
    with trio.move_on_after(STOP_S):
        return await process.wait()
    log.warning("gateway worker %d did not stop in time and was killed", process.pid)
    process.kill()
    return await process.wait()
