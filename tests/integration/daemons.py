"""Real daemons as processes on loopback, and publishers as commands, for integration tests."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from cli.demo.nodes import DemoFailed, DemoNode, fednode
from config.keyfile import create_key
from node.admin.client import AdminClient
from protocol.errors import FednodeError
from protocol.site_id import SiteId

T = TypeVar("T")
DEADLINE_S = 30.0


class Daemon(DemoNode):
    """A daemon with its admin client at hand."""

    def __init__(self, name: str, folder: Path, *, bootstrap: str | None = None, **settings: str) -> None:
        # Most tests are about what a refusal does, and not about the time before it.
        environment = {"FEDNODE_POLICY_NOTICE_S": "0", "FEDNODE_POLICY_EXPORT_S": "0"}
        environment |= {f"FEDNODE_{key.upper()}": value for key, value in settings.items()}
        super().__init__(name, folder, bootstrap=bootstrap, logs=True, settings=environment)

    @property
    def at(self) -> list[str]:
        """Options that point a command to this daemon."""
        return ["--data-dir", str(self.data_dir)]

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def wait(self, timeout_s: float) -> int:
        """The exit status of the process once it has ended."""
        assert self._process is not None
        return self._process.wait(timeout_s)

    def admin(self) -> AdminClient:
        return AdminClient(self.data_dir / "run" / "admin.sock")

    def status(self) -> dict[str, Any]:
        with self.admin() as client:
            return client.status()

    def site(self, site: str) -> dict[str, Any]:
        with self.admin() as client:
            return client.site(site)

    def faults(self) -> dict[str, int]:
        """Fault counts of all peers together."""
        with self.admin() as client:
            total: dict[str, int] = {}
            for row in client.peers():
                for code, count in row["faults"].items():
                    total[code] = total.get(code, 0) + count
        return total


class Site:
    """A publisher: a folder and a key."""

    def __init__(self, folder: Path) -> None:
        self.dir = folder / "site"
        self.dir.mkdir(parents=True)
        self.key = folder / "site.pem"
        self.id = str(SiteId.of(create_key(self.key)))

    def write(self, path: str, content: str | bytes) -> None:
        target = self.dir / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)

    def publish(self, daemon: Daemon, *options: str) -> dict[str, Any]:
        return fednode("publish", str(self.dir), "--key", str(self.key), *daemon.at, *options)

    def publish_to(self, *addresses: str) -> dict[str, Any]:
        to = [part for address in addresses for part in ("--to", address)]
        return fednode("publish", str(self.dir), "--key", str(self.key), *to)

    def files(self) -> dict[str, bytes]:
        """URL path → content."""
        return {
            "/" + quote(path.relative_to(self.dir).as_posix()): path.read_bytes()
            for path in sorted(self.dir.rglob("*"))
            if path.is_file()
        }

    def check_on(self, daemon: Daemon) -> None:
        """Raises DemoFailed unless the daemon serves exactly the folder's files."""
        for path, content in self.files().items():
            answer = daemon.get(self.id, path)
            if (answer.status, answer.body) != (200, content):
                raise DemoFailed(f"{daemon.name} answers {answer.status} for {path}")

    def wait_on(self, daemon: Daemon, deadline_s: float = DEADLINE_S) -> None:
        eventually(lambda: self.check_on(daemon), deadline_s)


def sample_site(folder: Path, *, pages: int = 5) -> Site:
    """A small site with a folder, an odd name and a file of several blocks."""
    site = Site(folder)
    site.write("index.html", "<!doctype html><title>Sample</title><h1>Sample</h1>")
    for number in range(pages):
        site.write(f"pages/{number}.html", f"<p>Page {number}</p>")
    site.write("äöü/naïve file.txt", "non-ASCII and a space")
    site.write("large.bin", bytes(range(256)) * 10_000)
    return site


@contextmanager
def daemon_folder() -> Iterator[Path]:
    """A short path: the sockets below it have to fit into 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="fedtest-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def federation(count: int, **settings: str) -> Iterator[list[Daemon]]:
    """`count` daemons, the first of which is the bootstrap node of the others. All are stopped at the end."""
    with daemon_folder() as folder:
        daemons: list[Daemon] = []
        try:
            for number in range(count):
                bootstrap = daemons[0].address if daemons else None
                daemons.append(Daemon(f"node{number}", folder, bootstrap=bootstrap, **settings))
                daemons[-1].start()
            yield daemons
        finally:
            for daemon in daemons:
                daemon.stop()


def eventually(check: Callable[[], T], deadline_s: float = DEADLINE_S) -> T:
    """Repeats a check until it raises nothing; for what happens in another process, which no event here announces."""
    end_s = time.monotonic() + deadline_s
    while True:
        try:
            return check()
        except (FednodeError, AssertionError):
            if time.monotonic() >= end_s:
                raise
            time.sleep(0.05)
