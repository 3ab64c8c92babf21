"""From handing a new release of a small site to one of 20 real daemons until the last of them serves it to readers.

    ./dev bench spread [--nodes 20] [--rounds 7] [--links 3]

Each daemon knows `links` of those started before it as bootstrap nodes, so that the graph is sparse at first; what the
DHT makes of it is told. All daemons share this machine's processors: with fewer of them than daemons that is most of
the time.
"""

from __future__ import annotations

import argparse
import http.client
import random
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.idle import publish
from protocol.cid import RAW, Cid
from protocol.release import Band, Release, SignedRelease, sign_release
from protocol.site_id import SiteId
from tests.integration.daemons import Daemon, daemon_folder

GOAL_S = 1.0
_DEADLINE_S = 60.0


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


def spread_s(source: Daemon, readers: list[Reader], site: SmallSite) -> tuple[float, float]:
    """Seconds until half of the readers, and all of them, see the next release."""
    signed, page = site.next()
    began_s = time.perf_counter()
    trio.run(publish, source, signed, page)
    waiting, half_s = list(readers), 0.0
    while waiting and time.perf_counter() < began_s + _DEADLINE_S:
        waiting = [reader for reader in waiting if not reader.sees(page)]
        if not half_s and len(waiting) <= len(readers) / 2:
            half_s = time.perf_counter() - began_s
        time.sleep(0.005)
    if waiting:
        raise SystemExit(f"{len(waiting)} daemons never got release {signed.seq}")
    return half_s, time.perf_counter() - began_s


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--links", type=int, default=3)
    args = parser.parse_args()
    with sparse_federation(args.nodes, args.links) as daemons:
        time.sleep(5)  # heads are compared on connecting, and the DHT gets to know its members
        peers = [daemon.status()["network"]["peers"] for daemon in daemons]
        site = SmallSite()
        readers = [Reader(daemon, site.id) for daemon in daemons]
        rng = random.Random(2)
        found = [spread_s(rng.choice(daemons), readers, site) for _ in range(args.rounds)]
    halves, wholes = zip(*found, strict=True)
    print(f"{args.nodes} daemons with {min(peers)} to {max(peers)} peers, {args.rounds} releases of a small site")
    print(f"  half of them serve it after {statistics.median(halves):.2f} s (median)")
    print(f"  all of them  {statistics.median(wholes):.2f} s (median), {max(wholes):.2f} s (worst), goal {GOAL_S:g} s")


if __name__ == "__main__":
    main()
