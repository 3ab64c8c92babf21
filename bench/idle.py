"""CPU of an idle node with many small sites and many connected peers.

    ./dev bench idle [--sites 1000] [--peers 50] [--settle 30] [--seconds 120]

The peers are real connections from another process. They speak /fednode/sync/1 as nodes with the same sites do: each
compares heads once in two minutes, and so does the daemon with each. With --mute they speak nothing.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.core.machine import RESYNC_S
from node.net.channel import FrameChannel
from node.net.opening import open_network
from node.net.port import NetSettings, Network, Stream
from node.replication.comparing import Buckets, receive_listing, receive_summary, send_listing
from protocol import messages as msg
from protocol.cid import RAW, Cid
from protocol.errors import PeerError
from protocol.member_messages import Of, Summary
from protocol.messages import SYNC_PROTOCOL
from protocol.release import Band, Release, SignedRelease, sign_release
from protocol.site_id import SiteId
from protocol.summary import TAG_BYTES, Entry, buckets_for, dealt
from tests.integration.daemons import Daemon, daemon_folder

CPU_MAX_PERCENT = 2.0
_IDLE_S = 30.0


def releases(count: int) -> list[tuple[SignedRelease, bytes]]:
    found = []
    for number in range(count):
        key = Ed25519PrivateKey.from_private_bytes((number + 1).to_bytes(32, "big"))
        page = f"<!doctype html><title>Site {number}</title>".encode()
        release = Release(
            site=SiteId.of(key),
            seq=1,
            prev=None,
            root=Cid.of(RAW, page),
            size_bytes=len(page),
            block_count=1,
            band=Band(1, 8),
            domains=(),
            created_s=1_700_000_000,
            ended=False,
        )
        found.append((sign_release(release, key), page))
    return found


async def publish(daemon: Daemon, signed: SignedRelease, page: bytes, *, idle_s: float = _IDLE_S) -> None:
    stream = await trio.open_unix_socket(daemon.data_dir / "run" / "publish.sock")
    async with FrameChannel(stream, idle_s=idle_s, write_s=idle_s) as channel:
        await channel.send(msg.Offer(signed))
        while not isinstance(answer := await channel.receive(), msg.Have):
            if isinstance(answer, msg.Want):
                await channel.send(msg.Block(answer.cids[0], page))
            elif not isinstance(answer, msg.Progress):
                raise TypeError(f"the daemon answers {answer}")


async def publish_all(daemon: Daemon, count: int) -> None:
    for signed, page in releases(count):
        await publish(daemon, signed, page)


# The peers, in a process of their own


async def answer(known: list[Entry], stream: Stream) -> None:
    """As a node that holds the same: it has no more to say than sums."""
    async with FrameChannel(stream, idle_s=_IDLE_S, write_s=_IDLE_S) as channel:
        summary = await channel.receive()
        if isinstance(summary, Summary):
            ours = Buckets(Of.SITES, dealt(known, summary.buckets))
            await channel.send(ours.summary(int(time.time())))
            await send_listing(channel, Of.SITES, ours.unequal(summary))
            await receive_listing(channel, Of.SITES)
            while isinstance(await channel.receive(), msg.Offer):
                pass
        await channel.send(msg.End())


async def compare_heads(network: Network, peer: str, known: list[Entry]) -> None:
    ours = Buckets(Of.SITES, dealt(known, buckets_for(len(known))))
    while True:
        await trio.sleep(random.uniform(0.5, 1.5) * RESYNC_S)
        with suppress(PeerError):
            stream = await network.open(peer, SYNC_PROTOCOL, deadline_s=_IDLE_S)
            async with FrameChannel(stream, idle_s=_IDLE_S, write_s=_IDLE_S) as channel:
                await channel.send(ours.summary(int(time.time())))
                mine = ours.unequal(await receive_summary(channel))
                await receive_listing(channel, Of.SITES)
                await send_listing(channel, Of.SITES, mine)
                await channel.send(msg.End())
                while isinstance(await channel.receive(), msg.Offer):
                    pass


async def run_peer(
    daemon: str, known: list[Entry], *, mute: bool, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED
) -> None:
    settings = NetSettings(("/ip4/127.0.0.1/tcp/0",), os.urandom(32), dht=not mute)
    async with open_network(settings) as network:
        if not mute:
            network.serve(SYNC_PROTOCOL, partial(answer, known))
        task_status.started(network.addresses()[0])
        if mute:
            await trio.sleep_forever()
        await compare_heads(network, daemon, known)


async def run_peers(daemon: str, count: int, sites: int, *, mute: bool) -> None:
    """Prints the addresses of the peers, which the daemon is to dial: it lets in only so many from one address."""
    known = [Entry(signed.site, signed.seq, signed.signature[:TAG_BYTES]) for signed, _ in releases(sites)]
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            print(await nursery.start(partial(run_peer, daemon, known, mute=mute)), flush=True)
        await trio.to_thread.run_sync(sys.stdin.readline)
        nursery.cancel_scope.cancel()


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sites", type=int, default=1000)
    parser.add_argument("--peers", type=int, default=50)
    parser.add_argument("--settle", type=float, default=30.0)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--mute", action="store_true")
    parser.add_argument("--act-as-peers-of")
    args = parser.parse_args()
    if args.act_as_peers_of:
        trio.run(partial(run_peers, args.act_as_peers_of, args.peers, args.sites, mute=args.mute))
        return
    with daemon_folder() as folder:
        daemon = Daemon("idle", folder, log_level="error")
        daemon.start()
        try:
            trio.run(publish_all, daemon, args.sites)
            daemon.stop()  # announcing so many new sites takes a while: begin as a node that has done so
            (daemon.data_dir / "announced").write_text(f"{time.time():.0f}")
            daemon.start()
            measure(daemon, args)
        finally:
            daemon.stop()


def measure(daemon: Daemon, args: argparse.Namespace) -> None:
    options = [
        "--act-as-peers-of",
        daemon.address.rpartition("/")[2],
        "--peers",
        str(args.peers),
        "--sites",
        str(args.sites),
    ]
    options += ["--mute"] * args.mute
    peers = subprocess.Popen(
        [sys.executable, "-m", "bench.idle", *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert peers.stdin is not None
    assert peers.stdout is not None
    try:
        with daemon.admin() as client:
            for _ in range(args.peers):
                client.connect(peers.stdout.readline().strip())
        time.sleep(args.settle)
        workers = [worker["pid"] for worker in daemon.status()["gateway"]["workers"]]
        before_s, began_s = cpu_s(daemon.pid), time.perf_counter()
        workers_before_s = sum(map(cpu_s, workers))
        time.sleep(args.seconds)
        lasted_s = time.perf_counter() - began_s
        percent = 100 * (cpu_s(daemon.pid) - before_s) / lasted_s
        workers_percent = 100 * (sum(map(cpu_s, workers)) - workers_before_s) / lasted_s
        status = daemon.status()
        print(f"{status['sites']['hosted']} sites, {status['network']['peers']} peers, {lasted_s:.0f} s idle")
        print(f"  daemon  {percent:5.2f} % of a core (at most {CPU_MAX_PERCENT:g})")
        print(f"  workers {workers_percent:5.2f} %")
        print(f"  loop    {status['loop']}")
        print(f"  DHT     {status['announcing']}")
    finally:
        peers.stdin.close()
        peers.wait(20)


if __name__ == "__main__":
    main()
