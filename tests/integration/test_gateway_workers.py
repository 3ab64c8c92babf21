"""Gateway workers as real processes: start, restart, stop, and the end of the daemon."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from config import Config, Paths
from config.schema import GatewaySettings, LogSettings
from node.gateway.limits import Limits
from node.gateway.listening import CannotListen
from node.gateway.supervisor import GatewaySupervisor, WorkerFailed
from node.gateway.worker import RULES_EVERY_S
from node.policy.model import Rule
from node.policy.rules import row_of
from node.store.disk import DiskStore, open_store
from protocol.site_id import SiteId
from tests.unit.gateway.http_client import Answer, Client, connect, fetch
from tests.unit.gateway.nodes import Neighbour, new_key
from tests.unit.gateway.sites import Tree, build, publish, sign

pytestmark = pytest.mark.integration

MIB = 1024 * 1024
SOON_S = 9.0
"""Two seconds at most on a machine with nothing else to do, and less than any deadline of readers."""
QUOTA_BYTES = 512 * MIB


@dataclass
class Gateway:
    """A supervisor in this process with workers of its own, over a real store."""

    store: DiskStore
    neighbour: Neighbour
    supervisor: GatewaySupervisor
    stop: Callable[[], None]
    stopped: trio.Event

    @property
    def port(self) -> int:
        return int(self.supervisor.addresses()[0].rpartition(":")[2])

    @property
    def pids(self) -> list[int]:
        return [status["pid"] for status in self.supervisor.statuses() if status["pid"] is not None]

    async def get(self, site: SiteId, target: str) -> Answer:
        return await fetch(self.port, target, f"{site}.ipns.localhost:{self.port}")


@asynccontextmanager
async def running_gateway(directory: Path, *, limits: Limits | None = None, **settings: Any) -> AsyncIterator[Gateway]:
    paths = Paths(directory)
    config = Config(
        data_dir=directory,
        gateway=GatewaySettings(**{"listen": ("127.0.0.1:0",), "workers": 1, **settings}),
        log=LogSettings(level="warning"),
    )
    store = open_store(paths.store_dir, quota_bytes=QUOTA_BYTES, cache_bytes=QUOTA_BYTES)
    neighbour = Neighbour(store)
    supervisor = GatewaySupervisor(config, paths, neighbour, limits=limits)
    scope, stopped = trio.CancelScope(), trio.Event()

    async def run(*, task_status: trio.TaskStatus[None]) -> None:
        try:
            with scope:
                await supervisor.run(task_status=task_status)
        finally:
            stopped.set()

    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(run)
            yield Gateway(store, neighbour, supervisor, scope.cancel, stopped)
            scope.cancel()
    finally:
        store.close()


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    with trio.fail_after(seconds):
        while True:
            if condition():
                return
            await trio.sleep(0.02)


async def test_workers_serve_and_know_of_changes_at_once(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, workers=2) as gateway:
        assert gateway.supervisor.workers() == 2
        key = new_key()
        site = SiteId.of(key)
        assert (await gateway.get(site, "/")).status == 404
        publish(gateway.store, key, {"index.html": b"one"})
        assert (await gateway.get(site, "/")).body == b"one"
        publish(gateway.store, key, {"index.html": b"two"}, seq=2)
        assert (await gateway.get(site, "/")).body == b"two"
        row = row_of(Rule(site, "quarantine", "policy", "", int(time.time())))
        gateway.store.add_rules([row])
        for _ in range(5):
            assert (await gateway.get(site, "/")).status == 410
        gateway.store.remove_rule(row.target)
        assert (await gateway.get(site, "/")).body == b"two"


async def test_workers_reach_the_daemon_for_what_is_elsewhere(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        built = build({"index.html": b"from afar", "big.bin": bytes(3 * MIB)})
        signed = sign(new_key(), built)
        gateway.neighbour.heads[signed.site] = signed
        gateway.neighbour.blocks.update(built.blocks)
        assert (await gateway.get(signed.site, "/")).body == b"from afar"
        assert (await gateway.get(signed.site, "/big.bin")).body == bytes(3 * MIB)
        assert gateway.supervisor.urls(signed.site) == [f"http://{signed.site}.ipns.localhost:{gateway.port}/"]


async def test_a_new_rule_cuts_an_answer_within_a_second(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        key = new_key()
        publish(gateway.store, key, {"big.bin": b"".join(bytes([n]) * MIB for n in range(64))})
        site = SiteId.of(key)
        client = await connect(gateway.port)
        with client.sock:
            await client.send(f"GET /big.bin HTTP/1.1\r\nHost: {site}.ipns.localhost\r\n\r\n".encode())
            assert await client.sock.recv(100)
            gateway.store.add_rules([row_of(Rule(site, "refuse", "policy", "", int(time.time())))])
            with trio.fail_after(SOON_S), pytest.raises(ConnectionResetError):
                await client.ends()


@asynccontextmanager
async def connected_to(gateway: Gateway, pid: int) -> AsyncIterator[Client]:
    """A connection that this worker has taken, since the others were stopped meanwhile."""
    others = [other for other in gateway.pids if other != pid]
    for other in others:
        os.kill(other, signal.SIGSTOP)
    try:
        client = await connect(gateway.port)
        assert (await client.ask("/healthz", "localhost")).status == 200
    finally:
        for other in others:
            os.kill(other, signal.SIGCONT)
    with client.sock:
        yield client


@pytest.mark.parametrize("workers", [2, 4])
async def test_a_new_rule_holds_in_every_worker(tmp_path: Path, workers: int) -> None:
    assert RULES_EVERY_S < 0.5, "what is on its way is cut within a second"
    async with running_gateway(tmp_path, workers=workers) as gateway, AsyncExitStack() as stack:
        key = new_key()
        publish(gateway.store, key, {"a": b"here", "big.bin": b"".join(bytes([n]) * MIB for n in range(64))})
        host = f"{SiteId.of(key)}.ipns.localhost"
        asking = [await stack.enter_async_context(connected_to(gateway, pid)) for pid in gateway.pids]
        reading = [await stack.enter_async_context(connected_to(gateway, pid)) for pid in gateway.pids]
        for client in reading:
            await client.send(f"GET /big.bin HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert await client.sock.recv(100)
        for verdict in ("refuse", "quarantine"):
            assert [(await client.ask("/a", host)).status for client in asking] == [200] * workers
            row = row_of(Rule(SiteId.of(key), verdict, "policy", "", int(time.time())))
            gateway.store.add_rules([row])
            assert [(await client.ask("/a", host)).status for client in asking] == [410] * workers
            for client in reading:
                with trio.fail_after(20), pytest.raises(ConnectionResetError):
                    await client.ends()
            reading = []
            gateway.store.remove_rule(row.target)


async def test_a_worker_that_is_killed_is_started_again_and_no_reader_is_lost(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        key = new_key()
        publish(gateway.store, key, {"index.html": b"here"})
        (pid,) = gateway.pids
        os.kill(pid, signal.SIGKILL)
        # The daemon holds the listening socket: whoever connects now waits for the next worker.
        with trio.fail_after(20):
            assert (await gateway.get(SiteId.of(key), "/")).body == b"here"
        assert gateway.supervisor.statuses()[0]["restarts"] == 1
        assert gateway.pids != [pid]


async def test_a_dead_worker_does_not_hold_up_the_readers_of_the_others(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, workers=2) as gateway:
        key = new_key()
        publish(gateway.store, key, {"index.html": b"here"})
        os.kill(gateway.pids[0], signal.SIGSTOP)
        try:
            for _ in range(10):
                with trio.fail_after(20):
                    assert (await gateway.get(SiteId.of(key), "/")).status == 200
        finally:
            os.kill(gateway.pids[0], signal.SIGCONT)


async def test_stop_is_soon_over_whatever_readers_do(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        key = new_key()
        publish(gateway.store, key, {"big.bin": b"".join(bytes([n]) * MIB for n in range(32))})
        (pid,) = gateway.pids
        host = f"{SiteId.of(key)}.ipns.localhost"
        stalled, silent, slow = [await connect(gateway.port) for _ in range(3)]
        with stalled.sock, silent.sock, slow.sock:
            await stalled.send(f"GET /big.bin HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert await stalled.sock.recv(10)
            await slow.send(b"GET / HTTP/1.1\r\nHo")
            began = time.monotonic()
            gateway.stop()
            await gateway.stopped.wait()
            assert time.monotonic() - began < SOON_S
            assert not is_alive(pid)


async def test_a_worker_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        (pid,) = gateway.pids
        os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        gateway.stop()
        await gateway.stopped.wait()
        assert time.monotonic() - began < SOON_S
        assert not is_alive(pid)


async def test_signals_of_the_terminal_are_the_daemons_business(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        (pid,) = gateway.pids
        for number in (signal.SIGINT, signal.SIGHUP):
            os.kill(pid, number)
        assert (await fetch(gateway.port, "/healthz", "localhost")).status == 200
        assert gateway.pids == [pid]


async def test_an_address_that_is_in_use_stops_the_start(tmp_path: Path) -> None:
    async with running_gateway(tmp_path / "a") as first:
        with pytest.raises(CannotListen) as caught:
            async with running_gateway_alone(tmp_path / "b", f"127.0.0.1:{first.port}"):
                pass
        assert "in use" in str(caught.value)


@asynccontextmanager
async def running_gateway_alone(directory: Path, listen: str) -> AsyncIterator[None]:
    """Without a nursery around it, so that its error comes as it is."""
    config = Config(data_dir=directory, gateway=GatewaySettings(listen=(listen,)))
    store = open_store(directory / "store", quota_bytes=QUOTA_BYTES)
    try:
        await GatewaySupervisor(config, Paths(directory), Neighbour(store)).run()
        yield
    finally:
        store.close()


async def test_a_worker_that_cannot_start_stops_the_start(tmp_path: Path) -> None:
    config = Config(data_dir=tmp_path, gateway=GatewaySettings(listen=("127.0.0.1:0",)))
    store = open_store(tmp_path / "elsewhere", quota_bytes=QUOTA_BYTES)
    try:
        with pytest.raises(WorkerFailed):
            await GatewaySupervisor(config, Paths(tmp_path), Neighbour(store)).run()
    finally:
        store.close()


async def test_no_address_means_no_gateway(tmp_path: Path) -> None:
    config = Config(data_dir=tmp_path, gateway=GatewaySettings(listen=()))
    store = open_store(tmp_path / "store", quota_bytes=QUOTA_BYTES)
    try:
        supervisor = GatewaySupervisor(config, Paths(tmp_path), Neighbour(store))
        async with trio.open_nursery() as nursery:
            await nursery.start(supervisor.run)
        assert supervisor.addresses() == []
        assert supervisor.urls(SiteId.of(new_key())) == []
    finally:
        store.close()


DAEMON = """
import sys, trio
from pathlib import Path
from node.gateway.limits import Limits
from tests.integration.test_gateway_workers import running_gateway

async def main():
    # A busy machine takes many seconds to start a daemon.
    limits = Limits(alone_s=float(sys.argv[2]), retire_answers_s=120.0)
    async with running_gateway(Path(sys.argv[1]), limits=limits, listen=(sys.argv[3],)) as gateway:
        print(gateway.pids[0], gateway.port, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


@asynccontextmanager
async def daemon(
    directory: Path, *, alone_s: float = 60.0, listen: str = "127.0.0.1:0"
) -> AsyncIterator[DaemonProcess]:
    """A process with a gateway; killed at the end."""
    command = [sys.executable, "-c", DAEMON, str(directory), str(alone_s), listen]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)  # noqa: ASYNC220
    assert process.stdout is not None
    try:
        pid, port = map(int, (await trio.to_thread.run_sync(process.stdout.readline)).split())
        yield DaemonProcess(process, pid, port)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@dataclass
class DaemonProcess:
    process: subprocess.Popen[bytes]
    worker: int
    port: int

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.mark.parametrize("hangs", [False, True])
async def test_workers_end_some_time_after_the_daemon_however_it_ends(tmp_path: Path, hangs: bool) -> None:
    async with daemon(tmp_path, alone_s=0.5) as first:
        client = await connect(first.port)
        with client.sock:
            if hangs:
                await client.send(b"GET / HTTP/1.1\r\nHo")
            first.kill()
            await until(lambda: not is_alive(first.worker))


async def test_workers_end_when_the_node_they_belong_to_is_deleted(tmp_path: Path) -> None:
    async with daemon(tmp_path / "node") as first:
        first.kill()
        assert (await fetch(first.port, "/healthz", "localhost")).status == 200
        shutil.rmtree(tmp_path / "node")
        await until(lambda: not is_alive(first.worker))


async def test_readers_notice_nothing_when_the_daemon_is_killed_and_started_again(tmp_path: Path) -> None:
    key = new_key()
    publish_into(tmp_path, key, {"index.html": b"here", "big.bin": b"".join(bytes([n]) * MIB for n in range(8))})
    host = f"{SiteId.of(key)}.ipns.localhost"
    seen = Seen()
    async with daemon(tmp_path) as first, trio.open_nursery() as nursery:
        nursery.start_soon(read_alone, first.port, host, seen)
        nursery.start_soon(read_on_one_connection, first.port, host, seen)
        await until(lambda: seen.good > 50)
        first.kill()
        at_kill = seen.good
        await until(lambda: seen.good > at_kill + 50)
        assert is_alive(first.worker)
        async with daemon(tmp_path, listen=f"127.0.0.1:{first.port}") as second:
            assert second.port == first.port
            await until(lambda: not is_alive(first.worker))
            at_end = seen.good
            await until(lambda: seen.good > at_end + 50)
            nursery.cancel_scope.cancel()
    assert seen.bad == []


async def test_an_answer_on_its_way_outlasts_two_restarts_in_a_row(tmp_path: Path) -> None:
    key = new_key()
    publish_into(tmp_path, key, {"big.bin": b"".join(bytes([n]) * MIB for n in range(64))})
    got = 0

    async def read_slowly(port: int, haste: trio.Event) -> None:
        nonlocal got
        client = await connect(port)
        with client.sock:
            await client.send(f"GET /big.bin HTTP/1.1\r\nHost: {SiteId.of(key)}.ipns.localhost\r\n\r\n".encode())
            while got < 64 * MIB and (data := await client.sock.recv(64 * 1024)):
                got += len(data)
                if not haste.is_set():
                    await trio.sleep(0.1)

    async with daemon(tmp_path) as first, trio.open_nursery() as nursery:
        third_is_up = trio.Event()
        nursery.start_soon(read_slowly, first.port, third_is_up)
        await until(lambda: got > 0)
        first.kill()
        listen = f"127.0.0.1:{first.port}"
        async with daemon(tmp_path, listen=listen) as second:
            second.kill()
            async with daemon(tmp_path, listen=listen):
                third_is_up.set()
                await until(lambda: not is_alive(first.worker))
    assert got >= 64 * MIB


async def test_a_new_daemon_at_another_address_ends_the_old_workers_first(tmp_path: Path) -> None:
    async with daemon(tmp_path) as first:
        first.kill()
        async with daemon(tmp_path, listen=f"127.0.0.2:{first.port}") as second:
            assert not is_alive(first.worker)
            with pytest.raises(ConnectionRefusedError):
                await connect(first.port)
            client = await connect(second.port, "127.0.0.2")
            with client.sock:
                assert (await client.ask("/healthz", "localhost")).status == 200


async def test_a_worker_that_hangs_is_not_waited_for_by_the_next_daemon(tmp_path: Path) -> None:
    async with daemon(tmp_path) as first:
        os.kill(first.worker, signal.SIGSTOP)
        first.kill()
        async with daemon(tmp_path, listen=f"127.0.0.1:{first.port}") as second:
            await until(lambda: not is_alive(first.worker))
            assert (await fetch(second.port, "/healthz", "localhost")).status == 200


@dataclass
class Seen:
    good: int = 0
    bad: list[str] = field(default_factory=list)


async def read_alone(port: int, host: str, seen: Seen) -> None:
    """A connection for each request."""
    while True:
        try:
            answer = await fetch(port, "/", host)
            note(answer.body == b"here", f"{answer.status}", seen)
        except (OSError, EOFError) as error:
            seen.bad.append(repr(error))
        await trio.sleep(0.001)


async def read_on_one_connection(port: int, host: str, seen: Seen) -> None:
    """Kept alive for as long as the server says."""
    while True:
        client = await connect(port)
        with client.sock:
            kept = True
            while kept:
                try:
                    answer = await client.ask("/big.bin", host)
                    note(len(answer.body) == 8 * MIB, f"{answer.status}", seen)
                    kept = answer.headers.get("connection") != "close"
                except (OSError, EOFError) as error:
                    seen.bad.append(repr(error))
                    kept = False
                await trio.sleep(0.001)


def note(is_good: bool, what: str, seen: Seen) -> None:
    if is_good:
        seen.good += 1
    else:
        seen.bad.append(what)


def publish_into(directory: Path, key: Ed25519PrivateKey, tree: Tree) -> None:
    store = open_store(Paths(directory).store_dir, quota_bytes=QUOTA_BYTES, cache_bytes=QUOTA_BYTES)
    try:
        publish(store, key, tree)
    finally:
        store.close()
