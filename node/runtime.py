"""The composition root: starts every part of the daemon in one nursery tree, and stops it in bounded time."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import ClassVar

import trio

from config import Config, RunOptions
from config.keyfile import load_or_create_key
from config.paths import Paths
from node.admin.server import serve_admin
from node.admin.unix import listening_unix_socket
from node.casework.book import ReportBook
from node.casework.desk import Desk
from node.control import Control
from node.decisions.files import LogFailed
from node.decisions.log import DecisionLog
from node.garbage import shorten_collections
from node.gateway.handover import LeftWorkers
from node.gateway.supervisor import GatewaySupervisor, Handover
from node.groups import first_operator_error
from node.invitation_control import InvitationDesk
from node.ipfs import Ipfs
from node.logs import set_up_logging
from node.membership.joining import join
from node.metrics_server import serve_metrics
from node.monitor import LoopMonitor
from node.net.opening import open_network
from node.net.port import NetSettings, Network, PeerId
from node.notices.book import NoticeBook
from node.notices.exchange import NoticeExchange
from node.notices.office import NoticeOffice, Terms
from node.policy.invitations import Invitations
from node.policy.subscriptions import Subscriptions
from node.policy_loader import PolicyLoader, named_peers
from node.replication.driver import Replicator
from node.replication.forks import Forks
from node.replication.intake import Intake
from node.replication.neighbours import Neighbours
from node.replication.ondemand import OnDemand
from node.replication.serving import serve_sync
from node.store.disk import DiskStore, open_store
from node.systemd import notify
from node.upkeep import Upkeep
from protocol.errors import OperatorError
from protocol.messages import NOTICES_PROTOCOL, PUBLISH_PROTOCOL, SYNC_PROTOCOL
from protocol.site_id import SiteId

# systemd's default is 90 s; operators and tests expect a daemon to be gone within five.
STOP_DEADLINE_S = 4.0
# Stop, but leave the workers to the daemon that is started next (deploy/fednode.service).
HANDOVER_SIGNAL = signal.SIGUSR2

log = logging.getLogger(__name__)


class AlreadyRunning(OperatorError):
    """Another daemon uses the data_dir."""

    code: ClassVar[str] = "already-running"


def run(config: Config, options: RunOptions) -> int:
    """Runs the daemon until SIGTERM or SIGINT; returns the exit status. OperatorError when it cannot start."""
    set_up_logging(config.log.level, config.log.format)
    paths = Paths(config.data_dir)
    paths.check()
    for folder in (paths.data_dir, paths.run_dir):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(paths):
        try:
            trio.run(_main, config, paths, options)
        except BaseExceptionGroup as group:
            error = first_operator_error(group)
            if error is None:
                raise
            raise error from group
    return 0


@contextmanager
def _locked(paths: Paths) -> Iterator[None]:
    with open(paths.lock, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(
                f"a fednode daemon already uses {paths.data_dir}",
                hint="`fednode status` shows it; use another --data-dir for a second node",
            ) from None
        yield


async def _main(config: Config, paths: Paths, options: RunOptions) -> None:
    handover = Handover()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_on_signal, nursery.cancel_scope, handover)
        store = await trio.to_thread.run_sync(
            partial(
                open_store,
                paths.store_dir,
                quota_bytes=config.hosting.quota_bytes,
                cache_bytes=config.gateway.cache_bytes,
            )
        )
        try:
            await _serve(config, paths, store, options, handover)
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(store.close)
    if not handover.is_due:  # ours have ended; but the start may not have come to those of an earlier daemon
        await trio.to_thread.run_sync(_end_left_workers, paths)
    log.info("stopped")


def _end_left_workers(paths: Paths) -> None:
    with closing(LeftWorkers.find(paths.run_dir)) as left:
        left.retire()


async def _stop_on_signal(scope: trio.CancelScope, handover: Handover) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, HANDOVER_SIGNAL) as signals:
        async for number in signals:
            handover.is_due = number == HANDOVER_SIGNAL
            log.info("stopping on %s", signal.Signals(number).name)
            notify("STOPPING=1")
            _leave_by_force_later()
            scope.cancel()
            return


def _leave_by_force_later() -> None:
    """Whatever still hangs then may be lost: what was acknowledged is on disk."""

    def leave() -> None:
        sys.stderr.write("fednode: stop took too long, leaving now\n")
        os._exit(0)

    timer = threading.Timer(STOP_DEADLINE_S, leave)
    timer.daemon = True
    timer.start()


async def _serve(config: Config, paths: Paths, store: DiskStore, options: RunOptions, handover: Handover) -> None:
    key = await trio.to_thread.run_sync(load_or_create_key, paths.node_key)
    settings = NetSettings(
        listen=config.network.listen,
        private_key=key.private_bytes_raw(),
        dht=config.network.dht,
        join=config.network.join,
    )
    decisions = await trio.to_thread.run_sync(
        partial(DecisionLog, paths.decisions, key, now_s=lambda: int(time.time()))
    )
    lists = await trio.to_thread.run_sync(_lists, config, paths, store)
    invitations = await trio.to_thread.run_sync(partial(Invitations, paths.invitations, now_s=lambda: int(time.time())))
    policies = await trio.to_thread.run_sync(PolicyLoader, config, store, decisions, invitations)
    async with open_network(settings) as network, trio.open_nursery() as nursery:
        forks = Forks(paths.forks)
        replicator = Replicator(
            store, network, policies.gate, announced=paths.announced, forks=forks, grace_s=config.hosting.grace_s
        )
        ipfs = Ipfs(replicator.context, config.network.routers, paths.imports)
        on_demand = _on_demand(config, replicator)
        book = await trio.to_thread.run_sync(partial(ReportBook, paths.reports, now_s=lambda: int(time.time())))
        notices = await trio.to_thread.run_sync(NoticeBook, paths.notices)
        terms = Terms(config.policy.notice_s, config.policy.export_s, config.node.contact)
        office = NoticeOffice(notices, store, policies, decisions, replicator, key, terms, overrule=lists.overrule)
        desk = Desk(book, office, decisions, proof_bits=config.reports.proof_of_work_bits)
        gateway = _gateway(config, paths, on_demand, network, desk, ipfs)
        gateway.handover = handover
        shorten_collections()
        monitor = LoopMonitor()
        monitor.start()
        control = Control(config, store, network, replicator, policies, lists, gateway, monitor, office, desk, ipfs)
        policies.on_change = partial(_policy_changed, replicator, office)
        members = await join(nursery, config, paths, replicator, store, key)
        await nursery.start(replicator.run)
        await _catch_up(policies, office, nursery)
        guests = InvitationDesk(invitations, policies, replicator.context, SiteId.of(key))
        await _open_protocols(network, replicator, guests, paths, nursery)
        network.serve(NOTICES_PROTOCOL, NoticeExchange(replicator.context, office, desk.appeal).serve)
        await nursery.start(ipfs.run)
        await nursery.start(gateway.run)
        await nursery.start(serve_metrics, control.metrics, config.metrics.listen)
        admin = partial(
            serve_admin, cases=desk, imports=ipfs.imports, trees=ipfs.trees, members=members, invitations=guests
        )
        await nursery.start(admin, control, paths.admin_socket)
        nursery.start_soon(desk.run)
        nursery.start_soon(office.run)
        nursery.start_soon(lists.watch, lambda: nursery.start_soon(policies.reload_alone))
        nursery.start_soon(Upkeep(store, on_demand).run)
        _stay_connected(nursery, config, network, replicator)
        for site in policies.hosting.follow:
            replicator.follow(site)
        _say_ready(network, gateway)
        if options.on_ready is not None:
            nursery.start_soon(_run_on_ready, options.on_ready)


def _lists(config: Config, paths: Paths, store: DiskStore) -> Subscriptions:
    return Subscriptions(
        store,
        paths.lists_dir,
        now_s=lambda: int(time.time()),
        notice_s=config.policy.list_notice_s,
        named_peers=named_peers(config),
    )


def _policy_changed(replicator: Replicator, office: NoticeOffice) -> None:
    replicator.policy_changed()
    office.policy_changed()


async def _catch_up(policies: PolicyLoader, office: NoticeOffice, nursery: trio.Nursery) -> None:
    """What changed or came due when nobody was there; before anybody is answered, unless the disk does not allow it."""
    try:
        await policies.reload()
        await office.settle()
    except LogFailed as error:
        log.error("%s; it is tried again", error)
        nursery.start_soon(policies.reload_alone)


async def _run_on_ready(on_ready: Callable[[], Awaitable[None]]) -> None:
    try:
        await on_ready()
    except Exception:  # task root: what was asked for after the start must not end the daemon
        log.exception("the task after the start failed")


async def _open_protocols(
    network: Network, replicator: Replicator, guests: InvitationDesk, paths: Paths, nursery: trio.Nursery
) -> None:
    context = replicator.context
    intake = Intake(context, replicator, guests)
    network.serve(SYNC_PROTOCOL, partial(serve_sync, context))
    network.serve(PUBLISH_PROTOCOL, lambda stream: intake.serve(stream, stream.peer))

    async def take(stream: trio.SocketStream) -> None:
        await intake.serve(stream, None)

    async def listen_locally(*, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with listening_unix_socket(paths.publish_socket) as listener:
            task_status.started()
            async with trio.open_nursery() as publishes:
                await trio.serve_listeners(
                    take,
                    [trio.SocketListener(trio.socket.from_stdlib_socket(listener))],
                    handler_nursery=publishes,
                )

    await nursery.start(listen_locally)


def _stay_connected(nursery: trio.Nursery, config: Config, network: Network, replicator: Replicator) -> None:
    found: Callable[[], Iterable[PeerId]] = tuple
    if config.network.dns_seeds:
        from node.gateway.dns import DnsClient  # loads dnspython: 0.1 s, and 6 MiB for nodes that ask no seeds
        from node.membership.seeds import Seeds

        seeds = Seeds(network, DnsClient(config.gateway.dns_servers), config.network.dns_seeds)
        found = seeds.found
        nursery.start_soon(seeds.run)
    nursery.start_soon(Neighbours(replicator.context, config.network.bootstrap, found).run)


def _on_demand(config: Config, replicator: Replicator) -> OnDemand:
    return OnDemand(replicator.context, any_site=config.gateway.fetch_on_miss == "all")


def _gateway(
    config: Config, paths: Paths, on_demand: OnDemand, network: Network, desk: Desk, ipfs: Ipfs
) -> GatewaySupervisor:
    peer_id, addresses = network.local_peer, network.addresses()
    names = ipfs.name_desk(config.gateway)
    return GatewaySupervisor(
        config, paths, on_demand, peer_id=peer_id, addresses=addresses, desk=desk.answer, names=names
    )


def _say_ready(network: Network, gateway: GatewaySupervisor) -> None:
    for address in gateway.addresses():
        log.info("readers: http://%s/", address)
    for address in network.addresses():
        log.info("nodes: %s", address)
    log.info("ready")
    notify("READY=1")
