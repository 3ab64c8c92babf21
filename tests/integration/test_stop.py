"""Start and stop as a service manager sees them, and what may not hold the stop up."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from http.client import HTTPException
from pathlib import Path

import pytest
import trio

from cli.demo.nodes import DemoFailed
from node.net.channel import FrameChannel
from protocol import messages as msg
from protocol.messages import PUBLISH_PROTOCOL, SYNC_PROTOCOL
from protocol.site_id import SiteId
from tests.integration.daemons import Daemon, Site, daemon_folder, eventually, federation
from tests.integration.peers import DEADLINE_S, head_of, peer_of

pytestmark = [pytest.mark.integration]
STOP_S = 10.0
"""Five seconds on a machine with nothing else to do: after four the process leaves by force."""


async def test_sigterm_stops_soon_whatever_readers_and_peers_do(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.write("index.html", "stalled")
    site.write("large.bin", os.urandom(30_000_000))
    with federation(1) as (daemon,), ExitStack() as stack:
        site.publish(daemon)
        host, _, port = daemon.gateway.rpartition(":")
        for _ in range(5):
            reader = stack.enter_context(socket.create_connection((host, int(port))))
            reader.sendall(f"GET /large.bin HTTP/1.1\r\nHost: {site.id}.ipns.localhost\r\n\r\n".encode())
        admin = stack.enter_context(socket.socket(socket.AF_UNIX))
        admin.connect(str(daemon.data_dir / "run" / "admin.sock"))
        admin.sendall(b"GET /v1/status HTTP/1.1\r\n")
        async with peer_of(daemon) as (network, peer):
            head = await head_of(network, peer, site.id)
            wanting = await network.open(peer, SYNC_PROTOCOL, deadline_s=DEADLINE_S)
            channel = FrameChannel(wanting, idle_s=DEADLINE_S, write_s=DEADLINE_S)
            await channel.send(msg.Fetch(SiteId.from_text(site.id), head.cid))
            assert head.release.root is not None
            await channel.send(msg.Want((head.release.root,)))
            await network.open(peer, PUBLISH_PROTOCOL, deadline_s=DEADLINE_S)
            began_s = time.monotonic()
            os.kill(daemon.pid, 15)
            assert await trio.to_thread.run_sync(daemon.wait, 2 * STOP_S) == 0
            assert time.monotonic() - began_s < STOP_S


def test_readiness_and_stop_are_told_to_systemd() -> None:
    with daemon_folder() as folder:
        path = folder / "notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(path))
            manager.settimeout(30)
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "cli", "start", "--data-dir", str(folder / "data")),
                    *("--gateway", "127.0.0.1:0", "--listen", "/ip4/127.0.0.1/tcp/0"),
                ],
                env=os.environ | {"NOTIFY_SOCKET": str(path)},
                stderr=subprocess.DEVNULL,
            )
            try:
                assert b"READY=1" in manager.recv(1000)
                process.terminate()
                assert b"STOPPING=1" in manager.recv(1000)
                assert process.wait(STOP_S) == 0
            finally:
                process.kill()
                process.wait()


def test_keys_and_sockets_belong_to_their_owner_alone() -> None:
    with federation(1) as (daemon,):
        files = [daemon.data_dir / "node.pem", *(daemon.data_dir / "run").glob("*.sock")]
        assert len(files) == 4
        for path in files:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        assert stat.S_IMODE((daemon.data_dir / "run").stat().st_mode) == 0o700


def test_a_second_daemon_on_the_same_data_says_why_it_does_not_start() -> None:
    with federation(1) as (daemon,):
        second = subprocess.run(
            [sys.executable, "-m", "cli", "start", *daemon.at, "--gateway", "127.0.0.1:0"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert second.returncode != 0
        assert "already uses" in second.stderr
        assert "hint:" in second.stderr
        assert daemon.status()["network"]["state"] == "running"


def test_a_port_that_is_taken_is_named() -> None:
    with federation(1) as (daemon,), daemon_folder() as folder:
        for options in (["--gateway", daemon.gateway], ["--listen", daemon.p2p, "--gateway", "127.0.0.1:0"]):
            done = subprocess.run(
                [sys.executable, "-m", "cli", "start", "--data-dir", str(folder / "x"), *options],
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
                env=os.environ | {"FEDNODE_NETWORK_LISTEN": "/ip4/127.0.0.1/tcp/0"} if len(options) == 2 else None,
            )
            assert done.returncode not in (0, -9)
            assert "error:" in done.stderr
            assert "Traceback" not in done.stderr


def unit(name: str = "fednode.service") -> dict[str, str]:
    """The settings of a unit in deploy/."""
    text = (Path(__file__).parents[2] / "deploy" / name).read_text()
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))


class Reader(threading.Thread):
    """Asks for one page after the other, each on a connection of its own, and notes what is not answered.

    Reads while its context lasts.
    """

    def __init__(self, daemon: Daemon, site: Site) -> None:
        super().__init__()
        self._daemon, self._site = daemon, site
        self.good = 0
        self.bad: list[str] = []
        self.ends = threading.Event()

    def __enter__(self) -> Reader:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ends.set()
        self.join()

    def run(self) -> None:
        while not self.ends.wait(0.005):
            try:
                answer = self._daemon.get(self._site.id, "/")
            except (DemoFailed, OSError, HTTPException) as error:
                self.bad.append(repr(error))
            else:
                self.good += 1
                if answer.status != 200:
                    self.bad.append(str(answer.status))

    def reads_on(self, count: int = 20) -> None:
        """Returns when so many more pages have come."""
        wanted = self.good + count
        eventually(lambda: assert_(self.good >= wanted), 60)


def assert_(condition: bool) -> None:
    assert condition


def test_a_restart_as_systemd_does_it_refuses_no_reader(tmp_path: Path) -> None:
    assert (unit()["KillMode"], unit()["RestartKillSignal"]) == ("process", "SIGUSR2")
    beside = unit("fednode-workers.service")
    assert "fednode-workers.service" in unit()["Wants"]
    assert "fednode-workers.service" in unit()["After"]
    assert beside["PartOf"] == "fednode.service"
    assert "systemctl kill fednode.service" in beside["ExecStop"]
    site = Site(tmp_path)
    site.write("index.html", "here")
    with federation(1) as (daemon,):
        site.publish(daemon)
        with Reader(daemon, site) as reader:
            reader.reads_on()
            old = [worker["pid"] for worker in daemon.status()["gateway"]["workers"]]
            os.kill(daemon.pid, signal.Signals[unit()["RestartKillSignal"]])  # to the main process alone
            assert daemon.wait(2 * STOP_S) == 0
            reader.reads_on()
            daemon.start()
            reader.reads_on()
        assert reader.bad == []
        new = [worker["pid"] for worker in daemon.status()["gateway"]["workers"]]
        assert not set(old) & set(new)
        os.kill(daemon.pid, signal.SIGTERM)  # as for a stop
        assert daemon.wait(2 * STOP_S) == 0
        with pytest.raises(DemoFailed):
            daemon.get(site.id, "/")


def test_a_stop_before_the_start_is_over_ends_the_workers_of_an_earlier_daemon(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.write("index.html", "here")
    with federation(1) as (daemon,):
        site.publish(daemon)
        os.kill(daemon.pid, signal.SIGKILL)
        daemon.wait(STOP_S)
        site.check_on(daemon)
        command = [
            sys.executable,
            "-m",
            "cli",
            "start",
            *daemon.at,
            "--gateway",
            daemon.gateway,
            "--listen",
            daemon.p2p,
        ]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as second:
            assert second.stderr is not None
            assert any(b"outlived its daemon" in line for line in second.stderr)
            second.send_signal(signal.SIGTERM)
            second.stderr.read()
            assert second.wait(2 * STOP_S) == 0
        with pytest.raises(DemoFailed):
            daemon.get(site.id, "/")
