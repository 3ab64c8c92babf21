"""Real sites through three daemons: every file of every node equals the folder, and an update sends only what changed.

The trees are those of Debian's packages python3.11-doc, debian-handbook and rust-doc.
"""

from __future__ import annotations

import http.client
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.integration.daemons import Daemon, Site, eventually, federation

pytestmark = [pytest.mark.large, pytest.mark.timeout(1500)]

TREES = {
    "python3.11-doc": Path("/usr/share/doc/python3.11/html"),
    "debian-handbook": Path("/usr/share/doc/debian-handbook/html"),
    "rust-doc": Path("/usr/share/doc/rust-doc/html"),
}
CHANGED_FILES = 10
# Idle is about 100 MB; batches, the network's windows and SQLite's cache come on top, whatever the size of the site.
DAEMON_PEAK_MAX_MB = 260


@pytest.fixture(params=list(TREES))
def tree(request: pytest.FixtureRequest) -> Path:
    found = TREES[request.param]
    if not found.is_dir():
        pytest.skip(f"needs Debian's package: apt-get install {request.param}")
    return found


@pytest.fixture
def site(tree: Path, tmp_path: Path) -> Site:
    """A copy without links that leave the tree, which a site cannot follow either."""
    made = Site(tmp_path)
    shutil.copytree(tree, made.dir, dirs_exist_ok=True, symlinks=False, ignore_dangling_symlinks=True)
    return made


@pytest.fixture
def daemons() -> Iterator[list[Daemon]]:
    with federation(3) as found:
        yield found


def test_a_real_site_is_served_whole_by_every_node(daemons: list[Daemon], site: Site) -> None:
    first = site.publish(daemons[0])
    for daemon in daemons:
        wait_held(daemon, site, first["seq"])
        compare_every_file(daemon, site)
    before = {daemon.name: daemon.site(site.id)["held"]["block_count"] for daemon in daemons}

    changed = [path for path in sorted(site.dir.rglob("*.html")) if path.is_file()][:: max(1, 37)][:CHANGED_FILES]
    for path in changed:
        path.write_bytes(path.read_bytes() + b"<!-- changed -->\n")
    second = site.publish(daemons[0])
    new_blocks = second["nodes"][0]["new_blocks"]
    folders = {parent for path in changed for parent in path.parents if parent.is_relative_to(site.dir)}
    # Each file has at most a leaf for every MiB and a node over them, each folder its path of HAMT shards at the most.
    most = sum(path.stat().st_size // 2**20 + 2 for path in changed) + 4 * len(folders)
    assert CHANGED_FILES <= new_blocks <= most, second
    assert second["block_count"] >= min(before.values())
    for daemon in daemons:
        wait_held(daemon, site, second["seq"])
        for path in changed:
            compare_file(daemon, site, path)
    peaks = {daemon.name: peak_rss_mb(daemon.pid) for daemon in daemons}
    assert max(peaks.values()) <= DAEMON_PEAK_MAX_MB, peaks


def wait_held(daemon: Daemon, site: Site, seq: int) -> None:
    def check() -> None:
        held = daemon.site(site.id)["held"]
        assert held is not None
        assert held["seq"] == seq

    eventually(check, 300.0)


def compare_every_file(daemon: Daemon, site: Site) -> None:
    host, _, port = daemon.gateway.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    compared = 0
    for path, content in files_of(site):
        connection.request("GET", path, headers={"Host": f"{site.id}.ipns.localhost:{port}"})
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, path
        assert body == content, path
        compared += 1
    connection.close()
    assert compared > 100


def compare_file(daemon: Daemon, site: Site, path: Path) -> None:
    url = next(url for url, _ in files_of(site, only=path))
    assert daemon.get(site.id, url).body == path.read_bytes()


def files_of(site: Site, *, only: Path | None = None) -> Iterator[tuple[str, bytes]]:
    """One file in memory at a time."""

    for path in [only] if only else sorted(site.dir.rglob("*")):
        relative = path.relative_to(site.dir)
        hidden = any(part.startswith(".") and part != ".well-known" for part in relative.parts)
        if path.is_file() and not hidden:
            yield "/" + quote(relative.as_posix()), path.read_bytes()


def peak_rss_mb(pid: int) -> int:
    """The most memory that the process ever had resident."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) // 1024
    raise AssertionError("no VmHWM in /proc")
