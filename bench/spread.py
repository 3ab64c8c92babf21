"""From handing a new release of a small site to one of 20 real daemons until the last of them serves it to readers.

    ./dev bench spread [--nodes 20] [--rounds 9] [--links 3]

Each daemon knows `links` of those started before it as bootstrap nodes, so that the graph is sparse at first; what the
DHT makes of it is told. All daemons share this machine's processors, and with fewer of them than daemons that is
most of the time: so the processor time is told too, once until all have the release, and once with the announcements in
the DHT that follow it. The next release waits for their end.
"""

from __future__ import annotations

import argparse
import http.client
import os
import random
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.idle import publish
from node.core.announcing import RELEASE_SPREAD_S, RELEASE_WAIT_S
from protocol.cid import RAW, Cid
from protocol.release import Band, Release, SignedRelease, sign_release
from protocol.site_id import SiteId
from tests.integration.daemons import Daemon, daemon_folder

GOAL_S = 1.0
_DEADLINE_S = 60.0
_LOOK_S = 0.01
_PAUSE_S = RELEASE_WAIT_S + RELEASE_SPREAD_S + 1.0


class SmallSite:
    """One page; each release says its number."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        self.id = SiteId.of(self._key)
        self._last: SignedRelease | None = None

    def next(self) -> tuple[SignedRelease, bytes]:
        seq = self._last.seq + 1 if self._last else 1
        page = f"<!doctype html><title>Release {seq}</title>".encode()
        release = Release(
            site=self.id,
            seq=seq,
            prev=self._last.cid if self._last else None,
            root=Cid.of(RAW, page),
            size_bytes=len(page),
            block_count=1,
            band=Band(1, 64),
            domains=(),
            created_s=1_700_000_000 + seq,
            ended=False,
        )
        self._last = sign_release(release, self._key)
        return self._last, page


class Reader:
    """Asks one daemon for the page, over one connection."""

    def __init__(self, daemon: Daemon, site: SiteId) -> None:
        self.daemon = daemon
        host, _, port = daemon.status()["gateway"]["addresses"][0].rpartition(":")
        self._connection = http.client.HTTPConnection(host, int(port), timeout=10)
        self._headers = {"Host": f"{site}.ipns.localhost:{port}"}

    def sees(self, page: bytes) -> bool:
        self._connection.request("GET", "/", headers=self._headers)
        answer = self._connection.getresponse()
        return answer.read() == page

    def cpu_s(self) -> float:
        """Of the daemon and its workers, so far."""
        return sum(_cpu_s(pid) for pid in (self.daemon.pid, *_children(self.daemon.pid)))


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def sparse_federation(count: int, links: int) -> Iterator[list[Daemon]]:
    rng = random.Random(1)
    daemons: list[Daemon] = []
    with daemon_folder() as folder:
        try:
            for number in range(count):
                known = rng.sample(daemons, min(links, len(daemons)))
                settings = {"gateway_fetch_on_miss": "off"}
                if known:
                    settings["network_bootstrap"] = ",".join(node.address for node in known)
                daemon = Daemon(f"node{number}", folder, **settings)
                daemon.start()
                daemons.append(daemon)
            yield daemons
        finally:
            for daemon in daemons:
                daemon.stop()


@dataclass(frozen=True, slots=True)
class Spread:
    """What one release took: until the last reader saw it, and of processor time in all daemons together."""

    whole_s: float
    until_whole_cpu_s: float
    daemons_cpu_s: float


def measure(source: Daemon, readers: list[Reader], site: SmallSite) -> Spread:
    """The next release. One reader at a time looks again and again: all would keep the processors from the daemons."""
    signed, page = site.next()
    before_s = _cpu_of_all_s(readers)
    began_s = time.perf_counter()
    trio.run(publish, source, signed, page)
    for reader in readers:
        while not reader.sees(page):
            if time.perf_counter() > began_s + _DEADLINE_S:
                raise SystemExit(f"{reader.daemon.name} never got release {signed.seq}")
            time.sleep(_LOOK_S)
    whole_s = time.perf_counter() - began_s
    until_whole_s = _cpu_of_all_s(readers) - before_s
    time.sleep(_PAUSE_S)
    return Spread(whole_s, until_whole_s, _cpu_of_all_s(readers) - before_s)


def _cpu_of_all_s(readers: list[Reader]) -> float:
    return sum(reader.cpu_s() for reader in readers)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--links", type=int, default=3)
    args = parser.parse_args()
    with sparse_federation(args.nodes, args.links) as daemons:
        time.sleep(5)  # heads are compared on connecting, and the DHT gets to know its members
        peers = [daemon.status()["network"]["peers"] for daemon in daemons]
        site = SmallSite()
        readers = [Reader(daemon, site.id) for daemon in daemons]
        rng = random.Random(2)
        load = os.getloadavg()[0]
        found = [measure(rng.choice(daemons), readers, site) for _ in range(args.rounds)]
    wholes = [each.whole_s for each in found]
    each_ms = 1000 / args.nodes
    until_ms = statistics.median(spread.until_whole_cpu_s for spread in found) * each_ms
    cpu_ms = statistics.median(spread.daemons_cpu_s for spread in found) * each_ms
    print(f"{args.nodes} daemons with {min(peers)} to {max(peers)} peers, {args.rounds} releases of a small site")
    print(
        f"  all of them serve it after {statistics.median(wholes):.2f} s (median), {max(wholes):.2f} s (worst),", end=""
    )
    print(f" goal {GOAL_S:g} s")
    print(
        f"  {until_ms:.0f} ms of processor time in each daemon until then, {cpu_ms:.0f} ms with the announcements;",
        end="",
    )
    print(f" {os.cpu_count()} processors, load before it {load:.1f}")


if __name__ == "__main__":
    main()
