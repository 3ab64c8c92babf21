"""Publish and replication of a real site, against `cp -r` and `sha256sum` of the same tree in the same run.

    ./dev bench federation [FOLDER]        FOLDER: default the HTML of Debian's python3.11-doc

Prints ratios; the seconds beside them mean nothing on another machine or day.
"""

from __future__ import annotations

import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from cli.demo.nodes import fednode
from tests.integration.daemons import Daemon, Site, eventually, federation

DEFAULT = Path("/usr/share/doc/python3.11/html")
ROUNDS = 3


def timed(action: Callable[[], object]) -> tuple[float, float]:
    """Seconds of wall and of CPU of this process's children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began_s = time.perf_counter()
    action()
    wall_s = time.perf_counter() - began_s
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def copy_and_hash(tree: Path) -> None:
    """The physical limit to compare with: every byte read, written and hashed once."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        subprocess.run(["cp", "-r", str(tree), str(copy)], check=True)
        command = "find . -type f -print0 | xargs -0 sha256sum > /dev/null"
        subprocess.run(command, shell=True, cwd=copy, check=True)  # noqa: S602 - a constant


def wait_held(daemon: Daemon, site: Site, seq: int) -> None:
    def check() -> None:
        held = daemon.site(site.id)["held"]
        assert held is not None
        assert held["seq"] == seq

    eventually(check, 600.0)


def rss_mb(pid: int, field: str) -> int:
    """VmRSS (now) or VmHWM (peak) of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith(field + ":"))


def main() -> None:
    tree = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT
    ratios: dict[str, list[float]] = {"publish": [], "replicate": [], "publish again, unchanged": []}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "site"
        shutil.copytree(tree, source, ignore_dangling_symlinks=True)
        for number in range(ROUNDS):
            measure(source, Path(folder) / str(number), ratios)
    size_mb = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file()) / 1e6
    print(f"{tree}: {size_mb:.0f} MB; median of {ROUNDS} rounds, as multiples of cp -r + sha256sum")
    for name, values in ratios.items():
        print(f"  {name:28} {statistics.median(values):6.2f}   ({', '.join(f'{value:.2f}' for value in values)})")


def measure(source: Path, folder: Path, ratios: dict[str, list[float]]) -> None:
    site = Site(folder)
    shutil.rmtree(site.dir)
    site.dir = source
    with federation(2) as (first, second):
        second.stop()
        limit_s, _ = timed(lambda: copy_and_hash(source))
        publish_s, cpu_s = timed(lambda: site.publish(first))
        again_s, _ = timed(lambda: fednode("publish", str(source), "--key", str(site.key), *first.at))
        peak_mb = rss_mb(first.pid, "VmHWM")
        replicate_s = time_replication(second, site)
    print(
        f"limit {limit_s:.2f} s, publish {publish_s:.2f} s (client CPU {cpu_s:.2f} s), "
        f"replicate {replicate_s:.2f} s, daemon peak {peak_mb} MB",
        file=sys.stderr,
    )
    ratios["publish"].append(publish_s / limit_s)
    ratios["publish again, unchanged"].append(again_s / limit_s)
    ratios["replicate"].append(replicate_s / limit_s)


def time_replication(daemon: Daemon, site: Site) -> float:
    """From the moment the second node is up, which is when it learns of the site, until it holds it."""
    daemon.start()
    began_s = time.perf_counter()
    wait_held(daemon, site, 1)
    return time.perf_counter() - began_s


if __name__ == "__main__":
    main()
