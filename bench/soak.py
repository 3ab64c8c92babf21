"""Attacks a daemon for minutes and prints how its memory grows: at most what caches and tables are allowed to.

    ./dev bench soak [--minutes 3] [--connections 20000]

Many attackers at once, each with connections of its own from its own address of 127.0.0.0/8: garbage before and in the
handshake, resets at any moment, junk on every protocol, frames that break Yamux, streams without end, windows that are
ignored, DHT records and questions, releases that nobody signed. Every few seconds somebody honest is served.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress

import trio
from libp2p.io.exceptions import IOException
from libp2p.kad_dht.pb.kademlia_pb2 import Message

from bench.federation import rss_mb
from node.net import Address, NetSettings, multistream, open_network
from node.net.libp2p_host import Keys
from node.net.yamux_frames import Flag, FrameType
from protocol.errors import PeerError
from protocol.messages import PUBLISH_PROTOCOL, SYNC_PROTOCOL
from tests.integration.daemons import Daemon, daemon_folder
from tests.integration.hostile_kit import INVALID_UTF8, kad
from tests.integration.net_kit import RawYamux, proved, reset_hard, tcp

ATTACKERS = 12
SAMPLE_S = 5.0
PROTOCOLS = (SYNC_PROTOCOL, PUBLISH_PROTOCOL, "/ipfs/kad/1.0.0", "/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0",
             "/ipfs/ping/1.0.0", "/ipfs/bitswap/1.2.0", "/meshsub/1.1.0", "/nonsense/1")  # fmt: skip
GONE = (OSError, trio.BrokenResourceError, trio.ClosedResourceError, EOFError, PeerError, IOException)


class Target:
    """What the tests' kit for hostile peers needs to know of a node."""

    def __init__(self, daemon: Daemon) -> None:
        address = Address.parse(daemon.address)
        self.peer = str(address.peer)
        self.addresses = [daemon.address]
        self.endpoint = (address.host, address.port)


Attack = Callable[[Target, str, random.Random], Awaitable[None]]


async def garbage_first(target: Target, source: str, rng: random.Random) -> None:
    async with await tcp(target, source) as stream:  # type: ignore[arg-type]
        hello = multistream.encode(multistream.HEADER)
        noise = hello + multistream.encode("/noise")
        first = [
            b"GET / HTTP/1.1\r\n\r\n",
            bytes([len(INVALID_UTF8)]) + INVALID_UTF8,
            hello + b"\x05\xff\xfe\xfd\xfc\n",
        ]
        first += [noise + b"\x00\x20" + rng.randbytes(32), noise + b"\xff\xff" + rng.randbytes(9000), b""]
        await stream.send_all(rng.choice(first))
        if rng.random() < 0.5:
            reset_hard(stream)


async def junk_inside(target: Target, source: str, rng: random.Random) -> None:
    async with proved(target, source=source) as peer:  # type: ignore[arg-type]
        for number in range(rng.choice([1, 5, 60])):
            stream_id = 2 * number + 1
            await peer.open(stream_id, rng.choice(PROTOCOLS))
            junk = rng.randbytes(rng.choice([1, 10, 1000, 30_000]))
            await peer.send_data(stream_id, bytes([len(junk) & 0x7F]) + junk, rng.choice([0, Flag.FIN, Flag.RST]))
        await _listen(peer, rng.uniform(0, 0.1))


async def broken_frames(target: Target, source: str, rng: random.Random) -> None:
    async with proved(target, source=source) as peer:  # type: ignore[arg-type]
        kind = rng.choice(list(FrameType))
        await peer.send(kind, rng.randrange(16), rng.randrange(8), rng.choice([0, 1, 2**31, 2**32 - 1]))
        await peer.session.write(rng.randbytes(5000))
        await _listen(peer, 0.1)


async def ignored_window(target: Target, source: str, rng: random.Random) -> None:
    async with proved(target, source=source) as peer:  # type: ignore[arg-type]
        await peer.open(1, rng.choice(PROTOCOLS))
        for _ in range(20):
            await peer.send_data(1, bytes(60_000))


async def dht_records(target: Target, source: str, rng: random.Random) -> None:
    async with proved(target, source=source) as peer:  # type: ignore[arg-type]
        own = peer.session.get_local_peer().to_bytes()
        entry = Message.Peer(id=own, addrs=[b"\x04\x7f\x00\x00\x01\x06\x10\x05"])
        await peer.open(1, "/ipfs/kad/1.0.0")
        for _ in range(50):
            await peer.send_data(1, kad(Message.ADD_PROVIDER, rng.randbytes(34), providerPeers=[entry]))
            await peer.send_data(1, kad(Message.GET_PROVIDERS, rng.randbytes(34)))
        await _listen(peer, 0.1)


async def _listen(peer: RawYamux, seconds: float) -> None:
    with trio.move_on_after(seconds):
        await peer.until_closed()


ATTACKS: tuple[Attack, ...] = (garbage_first, garbage_first, junk_inside, broken_frames, ignored_window, dht_records)


async def attack(target: Target, number: int, end_s: float, at_least: int, counts: Counter[str]) -> None:
    rng = random.Random(number)
    for round_number in itertools.count():
        if time.monotonic() > end_s and counts["connections"] >= at_least:
            return
        source = f"127.{1 + number}.{round_number // 200 % 250}.{1 + round_number % 200}"
        kind = rng.choice(ATTACKS)
        counts["connections"] += 1
        counts[kind.__name__] += 1
        with trio.move_on_after(5), suppress(*GONE):
            await kind(target, source, rng)


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
        daemon = Daemon("soak", folder)
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
    print(f"  memory {samples[0][1]} MB before, at most {max(mb for _, mb in samples)} MB, {calm_mb} MB 10 s after")
    print(f"  slope of the second half {slope:+.2f} MB a minute")
    print(f"  network {status['network']}")
    print(f"  loop    {status['loop']}")


if __name__ == "__main__":
    main()
