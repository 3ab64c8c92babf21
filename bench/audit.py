"""How long a host takes to prove blocks, and how long a node that has none and fetches them for each question.

    ./dev bench audit [--away 20] [--rounds 100]

A real daemon hosts a site. A node of this process asks it for proofs as audits do, two blocks at a time. A proxy, which
has nothing, is asked the same: for each question it fetches the blocks from the daemon, `--away` milliseconds farther
than loopback, and hashes them.

Then a challenge that is not in the protocol: a chain, in which each block to be hashed is drawn from the hash so far,
so that a proxy has to fetch one after the other. The host reads its own store, the proxy fetches as before.
"""

from __future__ import annotations

import argparse
import os
import random
import secrets
import statistics
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from hashlib import sha256
from pathlib import Path

import trio

from node.core.peers import key_of
from node.net.channel import FrameChannel
from node.net.opening import open_network
from node.net.port import NetSettings, Network, Stream
from node.store.disk import open_store
from node.store.port import Origin, Store
from protocol import messages as msg
from protocol.audit import NONCE_BYTES, proof_of
from protocol.cid import Cid
from protocol.member_messages import AUDIT_PROTOCOL, Challenge, Proofs
from protocol.messages import SYNC_PROTOCOL
from tests.integration.daemons import Daemon, federation
from tests.unit.replication.kit import TreeSite

IDLE_S = 30.0
KINDS = {"2 KB": (400, 2000), "1 MiB": (40, 1024 * 1024)}
STEPS = (1, 8, 32)
Get = Callable[[Cid], Awaitable[bytes]]


async def publish(daemon: Daemon, site: TreeSite) -> None:
    stream = await trio.open_unix_socket(daemon.data_dir / "run" / "publish.sock")
    async with FrameChannel(stream, idle_s=IDLE_S, write_s=IDLE_S) as channel:
        await channel.send(msg.Offer(site.signed))
        while not isinstance(answer := await channel.receive(), msg.Have):
            if isinstance(answer, msg.Want):
                for cid in answer.cids:
                    await channel.send(msg.Block(cid, site.blocks[cid]))


class Source:
    """Blocks of the daemon, farther away than loopback: one question at a time, as a chain has it."""

    def __init__(self, channel: FrameChannel, away_s: float) -> None:
        self._channel = channel
        self._away_s = away_s

    async def get(self, *cids: Cid) -> list[bytes]:
        await trio.sleep(self._away_s)
        await self._channel.send(msg.Want(cids))
        blocks = [await self._channel.receive() for _ in cids]
        return [block.data for block in blocks if isinstance(block, msg.Block)]


async def be_proxy(network: Network, daemon: str, site: TreeSite, away_s: float, stream: Stream) -> None:
    """Answers challenges with what it fetches."""
    me, verifier = key_of(network.local_peer), key_of(stream.peer)
    assert me is not None
    assert verifier is not None
    source = await network.open(daemon, SYNC_PROTOCOL, deadline_s=IDLE_S)
    async with (
        FrameChannel(source, idle_s=IDLE_S, write_s=IDLE_S) as fetching,
        FrameChannel(stream, idle_s=IDLE_S, write_s=IDLE_S) as channel,
    ):
        await fetching.send(msg.Fetch(site.signed.site, site.signed.cid))
        blocks = Source(fetching, away_s)
        while isinstance(challenge := await channel.receive(), Challenge):
            found = await blocks.get(*challenge.cids)
            pairs = zip(challenge.cids, found, strict=True)
            await channel.send(Proofs(tuple(proof_of(challenge.nonce, me, verifier, *pair) for pair in pairs)))


async def audits(network: Network, peer: str, site: TreeSite, cids: list[Cid], rounds: int) -> list[float]:
    """Seconds from each question to its answer, which is right."""
    prover, me = key_of(peer), key_of(network.local_peer)
    assert prover is not None
    assert me is not None
    took = []
    stream = await network.open(peer, AUDIT_PROTOCOL, deadline_s=IDLE_S)
    async with FrameChannel(stream, idle_s=IDLE_S, write_s=IDLE_S) as channel:
        for _ in range(rounds):
            nonce, asked = secrets.token_bytes(NONCE_BYTES), tuple(random.sample(cids, 2))
            began_s = trio.current_time()
            await channel.send(Challenge(nonce, site.signed.site, asked))
            answer = await channel.receive()
            took.append(trio.current_time() - began_s)
            assert answer == Proofs(tuple(proof_of(nonce, prover, me, cid, site.blocks[cid]) for cid in asked))
    return took


async def chains(get: Get, cids: list[Cid], steps: int, rounds: int) -> list[float]:
    """Seconds for each chain of so many blocks."""
    took = []
    for _ in range(rounds):
        began_s, digest = trio.current_time(), secrets.token_bytes(32)
        for _ in range(steps):
            block = await get(cids[int.from_bytes(digest[:8], "big") % len(cids)])
            digest = sha256(digest + block).digest()
        took.append(trio.current_time() - began_s)
    return took


def put(store: Store, site: TreeSite) -> None:
    hold = store.begin_hold(site.signed)
    store.put_blocks(hold, list(site.blocks.items()))
    store.finish_hold(hold, origin=Origin.PUBLISHED)


def tell(what: str, took: list[float]) -> None:
    some = sorted(1000 * one_s for one_s in took)
    print(f"  {what:42} {statistics.median(some):9.1f} {some[int(0.99 * (len(some) - 1))]:9.1f} ms", flush=True)


async def measure(daemon: Daemon, name: str, site: TreeSite, args: argparse.Namespace) -> None:
    await publish(daemon, site)
    leaves = [cid for cid, block in site.blocks.items() if len(block) == KINDS[name][1]]
    away_s, peer = args.away / 1000, daemon.address.rpartition("/")[2]
    settings = [NetSettings(("/ip4/127.0.0.1/tcp/0",), os.urandom(32), dht=False) for _ in range(2)]
    async with open_network(settings[0]) as asking, open_network(settings[1]) as proxy:
        proxy.serve(AUDIT_PROTOCOL, partial(be_proxy, proxy, peer, site, away_s))
        for network in (asking, proxy):
            await network.connect(daemon.address, deadline_s=IDLE_S)
        await asking.connect(proxy.addresses()[0], deadline_s=IDLE_S)
        tell(f"{name}: two blocks, a host", await audits(asking, peer, site, leaves, args.rounds))
        tell(f"{name}: two blocks, a proxy", await audits(asking, proxy.local_peer, site, leaves, args.rounds))
        source = await proxy.open(peer, SYNC_PROTOCOL, deadline_s=IDLE_S)
        async with FrameChannel(source, idle_s=IDLE_S, write_s=IDLE_S) as fetching:
            await fetching.send(msg.Fetch(site.signed.site, site.signed.cid))
            far = Source(fetching, away_s)
            await compare_chains(name, site, leaves, far, args.rounds // 5)


async def compare_chains(name: str, site: TreeSite, leaves: list[Cid], far: Source, rounds: int) -> None:
    async def fetch(cid: Cid) -> bytes:
        (block,) = await far.get(cid)
        return block

    with tempfile.TemporaryDirectory() as folder:
        store = open_store(Path(folder), quota_bytes=10**10)
        put(store, site)

        async def read(cid: Cid) -> bytes:
            return store.get_block(cid)

        for steps in STEPS:
            tell(f"{name}: a chain of {steps}, a host", await chains(read, leaves, steps, rounds))
            tell(f"{name}: a chain of {steps}, a proxy", await chains(fetch, leaves, steps, rounds))
        store.close()


def site_of(files: int, size: int) -> TreeSite:
    return TreeSite({f"{number}.bin": os.urandom(size) for number in range(files)})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--away", type=float, default=20.0, help="ms that the proxy's source is away")
    parser.add_argument("--rounds", type=int, default=100)
    args = parser.parse_args()
    print(f"  the proxy's source is {args.away:g} ms away{'':18} median       p99")
    for name, (files, size) in KINDS.items():
        with federation(1, log_level="error") as (daemon,):
            trio.run(measure, daemon, name, site_of(files, size), args)


if __name__ == "__main__":
    main()
