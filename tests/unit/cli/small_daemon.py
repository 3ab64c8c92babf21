"""A daemon in a thread: all real but libp2p, the gateway and mostly the disk, which are their in-memory twins."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from config import Config, Paths
from config.schema import GatewaySettings, HostingSettings
from node.admin.server import serve_admin
from node.admin.unix import listening_unix_socket
from node.casework.book import ReportBook
from node.casework.desk import Desk
from node.control import Control
from node.decisions.log import DecisionLog
from node.gateway.supervisor import GatewaySupervisor
from node.ipfs import Ipfs
from node.membership.resilience import MembersView
from node.monitor import LoopMonitor
from node.net.memory import Air, open_memory_network
from node.net.port import NetSettings
from node.notices.book import NoticeBook
from node.notices.office import NoticeOffice, Terms
from node.policy.subscriptions import Subscriptions
from node.policy_loader import PolicyLoader
from node.replication.driver import Replicator
from node.replication.intake import Intake
from node.replication.ondemand import OnDemand
from node.store.disk import open_store
from node.store.memory import MemoryStore
from node.store.port import Store
from protocol.site_id import SiteId

START_S = 60.0


class SmallDaemon:
    """Serves admin.sock and publish.sock of one data_dir."""

    def __init__(self, data_dir: Path, hosting: HostingSettings, *, on_disk: bool) -> None:
        self.config = Config(data_dir=data_dir, hosting=hosting, gateway=GatewaySettings(listen=()))
        self.paths = Paths(data_dir)
        self.store: Store
        if on_disk:
            self.store = open_store(self.paths.store_dir, quota_bytes=hosting.quota_bytes)
        else:
            self.store = MemoryStore(quota_bytes=hosting.quota_bytes)
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._scope = trio.CancelScope()
        self._thread = threading.Thread(target=self._run, name="small-daemon")

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(START_S)
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        if self._token is not None:
            self._token.run_sync_soon(self._scope.cancel)
        self._thread.join(START_S)
        assert not self._thread.is_alive()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            trio.run(self._main)
        except BaseException as error:  # noqa: BLE001 - a thread's root; start or stop raises it
            self._error = error
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        settings = NetSettings(listen=("/ip4/127.0.0.1/tcp/0",), private_key=bytes(range(32)))
        key = Ed25519PrivateKey.from_private_bytes(settings.private_key)
        self.paths.data_dir.mkdir(parents=True, exist_ok=True)
        decisions = DecisionLog(self.paths.decisions, key, now_s=lambda: int(time.time()))
        policies = PolicyLoader(self.config, self.store, decisions)
        blocklists = Subscriptions(self.store, self.paths.lists_dir, now_s=lambda: int(time.time()))
        with self._scope:
            async with open_memory_network(Air(), settings) as network, trio.open_nursery() as nursery:
                replicator = self.replicator = Replicator(self.store, network, policies.gate)
                gateway = GatewaySupervisor(self.config, self.paths, OnDemand(replicator.context, any_site=False))
                book = ReportBook(self.paths.reports, now_s=lambda: int(time.time()))
                notices = NoticeBook(self.paths.notices)
                office = NoticeOffice(notices, self.store, policies, decisions, replicator, key, Terms())
                desk = Desk(book, office, decisions)
                ipfs = Ipfs(replicator.context, ())
                control = Control(
                    self.config,
                    self.store,
                    network,
                    replicator,
                    policies,
                    blocklists,
                    gateway,
                    LoopMonitor(),
                    office,
                    desk,
                    ipfs,
                )
                await nursery.start(replicator.run)
                await nursery.start(ipfs.run)
                await nursery.start(self._serve_publish, Intake(replicator.context, replicator))
                await nursery.start(
                    partial(
                        serve_admin,
                        cases=desk,
                        imports=ipfs.imports,
                        members=MembersView(replicator.context, SiteId.of(key)),
                    ),
                    control,
                    self.paths.admin_socket,
                )
                self._ready.set()
                await trio.sleep_forever()

    async def _serve_publish(
        self,
        intake: Intake,
        *,
        task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        with listening_unix_socket(self.paths.publish_socket) as listener:
            listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(listener))]
            await trio.serve_listeners(partial(intake.serve, peer=None), listeners, task_status=task_status)


@contextmanager
def small_daemon(
    data_dir: Path, hosting: HostingSettings | None = None, *, on_disk: bool = False
) -> Iterator[SmallDaemon]:
    """Up while the context lasts."""
    daemon = SmallDaemon(data_dir, hosting or HostingSettings(), on_disk=on_disk)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.stop()
        daemon.store.close()
