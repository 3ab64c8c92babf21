"""One daemon of the demo: a real process with its own folder, steered by the same commands that an operator types."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from node.admin.client import AdminClient
from protocol.errors import FednodeError, OperatorError

START_DEADLINE_S = 60.0
STOP_DEADLINE_S = 6.0
REQUEST_DEADLINE_S = 20.0


class DemoFailed(OperatorError):
    """A step did not end as it should."""

    code = "demo-failed"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a reader got."""

    status: int
    body: bytes


class DemoNode:
    """Started on ports that the system chooses; a later start uses the same ones again."""

    def __init__(
        self, name: str, folder: Path, *, bootstrap: str | None, logs: bool, settings: dict[str, str] | None = None
    ) -> None:
        self.name = name
        self.data_dir = folder / name
        self.gateway = "127.0.0.1:0"
        self.p2p = "/ip4/127.0.0.1/tcp/0"
        self.address = ""
        self._bootstrap = bootstrap
        self._logs = logs
        # FEDNODE_… variables: the daemon's settings must not depend on those of whoever runs the demo.
        self._environment = {k: v for k, v in os.environ.items() if not k.startswith("FEDNODE_")}
        self._environment |= {"FEDNODE_NODE_NAME": name, "FEDNODE_GATEWAY_WORKERS": "1"} | (settings or {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Returns when the node answers its operator."""
        options = ["--data-dir", str(self.data_dir), "--gateway", self.gateway, "--listen", self.p2p]
        options += ["--log-level", "info" if self._logs else "error"]
        if self._bootstrap:
            options += ["--bootstrap", self._bootstrap]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cli", "start", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=self._environment,
            # Ctrl-C is for the demo, which then ends its nodes in order.
            start_new_session=True,
        )
        status = self._wait_ready()
        self.gateway = status["gateway"]["addresses"][0]
        self.address = status["addresses"][0]
        self.p2p = self.address.rpartition("/p2p/")[0]

    def _wait_ready(self) -> dict[str, Any]:
        deadline_s = time.monotonic() + START_DEADLINE_S
        while time.monotonic() < deadline_s:
            if not self.running:
                raise DemoFailed(f"node {self.name} did not start", hint="try again with --logs")
            try:
                with AdminClient(self.data_dir / "run" / "admin.sock") as client:
                    return client.status()
            except FednodeError:
                time.sleep(0.1)
        raise DemoFailed(f"node {self.name} did not start in {START_DEADLINE_S:.0f} s", hint="try again with --logs")

    def kill(self) -> None:
        """The machine is gone: kill -9 for the daemon and its gateway workers, no goodbye to anybody."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for a node that does not heed it."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def get(self, site: str, path: str) -> Answer:
        """What a reader of the site gets from this node."""
        host, _, port = self.gateway.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=REQUEST_DEADLINE_S)
        try:
            connection.request("GET", path, headers={"Host": f"{site}.ipns.localhost:{port}"})
            response = connection.getresponse()
            return Answer(response.status, response.read())
        except OSError as error:
            raise DemoFailed(f"node {self.name} does not answer readers: {error}") from error
        finally:
            connection.close()

    def url(self, site: str) -> str:
        """For a browser on this machine."""
        return f"http://{site}.ipns.localhost:{self.gateway.rpartition(':')[2]}/"


def fednode(*arguments: str) -> dict[str, Any]:
    """Runs one command as its user would, with --json, and gives what it printed; DemoFailed when it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "cli", *arguments, "--json"], capture_output=True, text=True, timeout=120, check=False
    )
    try:
        printed = json.loads(done.stdout or "{}")
    except ValueError:
        raise DemoFailed(f"fednode {arguments[0]} printed no JSON: {done.stdout[:200]}") from None
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()[-1:] or [json.dumps(printed)[:300]]
        raise DemoFailed(f"fednode {arguments[0]} failed: {said[0]}")
    return dict(printed)
