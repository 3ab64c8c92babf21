"""Attacks a daemon for minutes and prints how its memory grows: at most what caches and tables are allowed to.

    ./dev bench soak [--minutes 3] [--connections 20000]

Many attackers at once, each with connections of its own from its own address of 127.0.0.0/8, choose among the attacks
of bench/_soak_attacks.py. Every few seconds somebody honest is served.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import statistics
import time
from collections import Counter

import trio
from libp2p.io.exceptions import IOException

from bench._soak_attacks import ATTACKS, Target
from bench.federation import rss_mb
from node.net.libp2p_host import Keys
from node.net.opening import open_network
from node.net.port import NetSettings
from protocol.errors import PeerError
from tests.integration.daemons import Daemon, daemon_folder

ATTACKERS = 24
SAMPLE_S = 5.0
GONE = (OSError, trio.BrokenResourceError, trio.ClosedResourceError, EOFError, PeerError, IOException)


async def attack(target: Target, number: int, end_s: float, at_least: int, counts: Counter[str]) -> None:
    rng = random.Random(number)
    for round_number in itertools.count():
        if time.monotonic() > end_s and counts["connections"] >= at_least:
            return
        source = f"127.{1 + number}.{round_number // 200 % 250}.{1 + round_number % 200}"
        kind = rng.choice(ATTACKS)
        counts["connections"] += 1
        counts[kind.__name__] += 1
        with trio.move_on_after(8):
            try:
                await kind(target, source, rng)
            except GONE:
                counts["cut short by the node"] += 1
            except Exception as exc:  # noqa: BLE001 - libp2p's handshake, with errors of many kinds
                counts[f"cut short by {type(exc).__name__}"] += 1


async def honest(target: Target, counts: Counter[str]) -> None:
    """A new node each time, at the address where nobody attacks."""
    while True:
        async with open_network(NetSettings((), os.urandom(32), dht=False)) as network:
            try:
                await network.connect(target.addresses[0], deadline_s=10)
                counts["honest served"] += 1
            except PeerError:
                counts["honest refused"] += 1
        await trio.sleep(SAMPLE_S)


async def soak(daemon: Daemon, minutes: float, connections: int) -> tuple[list[tuple[float, int]], Counter[str]]:
    target, counts = Target(daemon), Counter[str]()
    began_s = time.monotonic()
    samples: list[tuple[float, int]] = []

    async def sample() -> None:
        while True:
            samples.append((time.monotonic() - began_s, rss_mb(daemon.pid, "VmRSS")))
            await trio.sleep(SAMPLE_S)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sample)
        nursery.start_soon(honest, target, counts)
        async with trio.open_nursery() as attackers:
            for number in range(ATTACKERS):
                attackers.start_soon(attack, target, number, began_s + 60 * minutes, connections, counts)
        nursery.cancel_scope.cancel()
    return samples, counts


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--connections", type=int, default=20_000)
    args = parser.parse_args()
    Keys(bytes(32))  # what libp2p loads lazily is loaded now
    with daemon_folder() as folder:
        daemon = Daemon("soak", folder, network_join="public")
        daemon.start()
        try:
            samples, counts = trio.run(soak, daemon, args.minutes, args.connections)
            time.sleep(10)
            status = daemon.status()
            calm_mb = rss_mb(daemon.pid, "VmRSS")
        finally:
            daemon.stop()
    second_half = [item for item in samples if item[0] >= samples[-1][0] / 2]
    slope, _ = statistics.linear_regression([at_s / 60 for at_s, _ in second_half], [mb for _, mb in second_half])
    print(f"{counts['connections']} connections in {samples[-1][0] / 60:.1f} minutes: {dict(counts)}")
    quarters = [samples[len(samples) * number // 4 - 1][1] for number in (1, 2, 3, 4)]
    most_mb = max(mb for _, mb in samples)
    print(f"  memory {samples[0][1]} MB before, {quarters} MB after each quarter, at most {most_mb} MB")
    print(f"  and {calm_mb} MB 10 s after")
    print(f"  slope of the second half {slope:+.2f} MB a minute")
    print(f"  network {status['network']}")
    print(f"  loop    {status['loop']}")


if __name__ == "__main__":
    main()
