"""Readers' times while nothing else goes on, and while the node takes publishes and gives them to a second node.

    ./dev bench readers_under_load [--seconds 20] [--workers 2]

A daemon with its workers, real requests at a steady pace, each timed from its first byte to the last one of its answer:
a page of 4 KB that is read again and again, and 2000 others in turn. The load: a command publishes one release of 64 MB
of new random bytes after the other, and a second daemon fetches each. Both stand for other machines: they run
when nothing of the node wants to (SCHED_IDLE). That alone costs readers some time, since the kernel does not give up a
core at once; so there is a third kind: two programs of that priority that only count. Quiet, counting and load take
turns.
"""

from __future__ import annotations

import argparse
import http.client
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.idle import cpu_s
from tests.integration.daemons import Daemon, Site, daemon_folder, eventually

PAGES = 2000
PAGE_BYTES = 4000
READERS = 4
PAUSE_S = 0.02  # of one reader between two requests
FOLDER_BYTES = 64 * 1024 * 1024
FILE_BYTES = 4 * 1024 * 1024
TURNS = 4
QUOTA = "1 GiB"


@dataclass
class Times:
    """Of requests, in ms."""

    hot: list[float] = field(default_factory=list)
    cold: list[float] = field(default_factory=list)


class Reader(threading.Thread):
    """Asks for one hot and one cold page after the other, until told to stop."""

    def __init__(self, gateway: str, site: str, number: int) -> None:
        super().__init__(daemon=True)
        host, _, port = gateway.rpartition(":")
        self._connection = http.client.HTTPConnection(host, int(port), timeout=60)
        self._host = f"{site}.ipns.localhost:{port}"
        self._next = number
        self.times = Times()
        self.ends = threading.Event()

    def run(self) -> None:
        while not self.ends.wait(PAUSE_S):
            self._next = (self._next + READERS) % PAGES
            self.times.cold.append(self._ask(path_of(self._next)))
            self.times.hot.append(self._ask("/index.html"))

    def _ask(self, path: str) -> float:
        began_s = time.perf_counter()
        self._connection.request("GET", path, headers={"Host": self._host})
        answer = self._connection.getresponse()
        body = answer.read()
        took_ms = (time.perf_counter() - began_s) * 1000
        if answer.status != 200 or len(body) != PAGE_BYTES:
            raise AssertionError(f"{answer.status} for {path}")
        return took_ms


def read_for(seconds: float, daemon: Daemon, site: str, times: Times) -> None:
    """In a process of its own, so that the load of this one is not in the times."""
    command = [sys.executable, "-m", "bench.readers_under_load", "--read", daemon.gateway, site, str(seconds)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    hot, cold = done.stdout.splitlines()
    times.hot += map(float, hot.split())
    times.cold += map(float, cold.split())


def read(gateway: str, site: str, seconds: float) -> None:
    """Prints the times of hot pages in one line, of cold ones in another."""
    readers = [Reader(gateway, site, random.randrange(PAGES)) for _ in range(READERS)]
    for reader in readers:
        reader.start()
    time.sleep(seconds)
    for reader in readers:
        reader.ends.set()
        reader.join()
    for kind in ("hot", "cold"):
        print(*(f"{took:.3f}" for reader in readers for took in getattr(reader.times, kind)))


class Load(threading.Thread):
    """Publishes one release of a site after the other, all of new bytes, each to be fetched by the second node."""

    def __init__(self, daemon: Daemon, site: Site) -> None:
        super().__init__(daemon=True)
        self._daemon, self._site = daemon, site
        self.ends = threading.Event()
        self.published = 0

    def run(self) -> None:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))  # of this thread and what it starts
        publish = ["publish", str(self._site.dir), "--key", str(self._site.key), *self._daemon.at]
        while not self.ends.is_set():
            for number in range(FOLDER_BYTES // FILE_BYTES):
                self._site.write(f"{number}.bin", os.urandom(FILE_BYTES))
            subprocess.run([sys.executable, "-m", "cli", *publish], check=True, capture_output=True)
            self.published += 1


@contextmanager
def counting() -> Iterator[None]:
    """As many programs as the load has, which want nothing of the node."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    programs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


@contextmanager
def nodes(workers: int) -> Iterator[tuple[Daemon, Daemon]]:
    """The one that is measured, and one that fetches from it."""
    with daemon_folder() as folder:
        one = Daemon("one", folder, gateway_workers=str(workers), hosting_quota_bytes=QUOTA)
        one.start()
        try:
            other = Daemon("other", folder, bootstrap=one.address, hosting_quota_bytes=QUOTA)
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
            other.start()
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
            try:
                yield one, other
            finally:
                other.stop()
        finally:
            one.stop()


def pages(folder: Path) -> Site:
    site, rng = Site(folder / "pages"), random.Random(1)
    for path in ("/index.html", *map(path_of, range(PAGES))):
        site.write(path[1:], rng.randbytes(PAGE_BYTES))
    return site


def path_of(page: int) -> str:
    """A hundred in a folder."""
    return f"/{page // 100}/{page}.html"


def main() -> None:
    parser = argparse.ArgumentParser(prog="./dev bench readers_under_load", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each kind")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    quiet, counted, loaded, moved, daemon_cpu_s, load_s = Times(), Times(), Times(), 0, 0.0, 0.0
    with nodes(options.workers) as (one, other), tempfile.TemporaryDirectory() as name:
        site, site_of_load = pages(Path(name)), Site(Path(name) / "load")
        site.publish(one)
        eventually(lambda: site.check_on(one))
        for _ in range(TURNS):
            read_for(options.seconds / TURNS, one, site.id, quiet)
            with counting():
                read_for(options.seconds / TURNS, one, site.id, counted)
            load, before_s, began_s = Load(one, site_of_load), cpu_s(one.pid), time.monotonic()
            load.start()
            time.sleep(2)  # for the first blocks
            read_for(options.seconds / TURNS, one, site.id, loaded)
            load.ends.set()
            load.join()
            moved += load.published * FOLDER_BYTES
            daemon_cpu_s, load_s = daemon_cpu_s + cpu_s(one.pid) - before_s, load_s + time.monotonic() - began_s
            eventually(lambda: site_of_load.check_on(other), 120)
    cpu_percent = 100 * daemon_cpu_s / load_s
    print(f"load: {moved / load_s / 1e6:.0f} MB/s published and fetched, daemon at {cpu_percent:.0f} % of a core")
    print(f"{'':6}{'requests':>15}{'p50 ms':>24}{'p99 ms':>24}{'p99 ratios':>14}")
    for kind in ("hot", "cold"):
        times = [getattr(one_of, kind) for one_of in (quiet, counted, loaded)]
        p50, p99 = zip(*map(shares, times), strict=True)
        requests = "".join(f"{len(one_of):>5}" for one_of in times)
        print(f"{kind:6}{requests}{arrows(p50)}{arrows(p99)}{p99[2] / p99[0]:>7.2f}{p99[2] / p99[1]:>7.2f}")


def arrows(figures: tuple[float, ...]) -> str:
    """Quiet → counting → load."""
    return " →".join(f"{figure:>6.2f}" for figure in figures).rjust(24)


def shares(times: list[float]) -> tuple[float, float]:
    """p50 and p99."""
    cuts = statistics.quantiles(times, n=100)
    return cuts[49], cuts[98]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--read"]:
        read(sys.argv[2], sys.argv[3], float(sys.argv[4]))
    else:
        main()
