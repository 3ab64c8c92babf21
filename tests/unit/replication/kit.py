"""Ring B: real replication over the in-memory network and store, several nodes in one trio run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.core.inputs import Stored
from node.net.memory import Air, MemoryNetwork, open_memory_network
from node.net.port import NetSettings
from node.policy.decide import Policy
from node.policy.model import Hosting, Rule
from node.replication.driver import Replicator
from node.replication.gate import Gate
from node.replication.intake import Intake
from node.replication.serving import serve_sync
from node.store.memory import MemoryStore
from node.store.port import Origin
from protocol.builder import CHUNK_BYTES, FileBuilder, Link, build_directory, leaf
from protocol.cid import Cid
from protocol.messages import PUBLISH_PROTOCOL, SYNC_PROTOCOL
from protocol.release import Band, Release, SignedRelease, sign_release
from protocol.site_id import SiteId
from protocol.unixfs import DirEntry

DEADLINE_S = 15.0
"""Less than what a host that stalls is given (`drawing.STALL_S`): nobody waits for it unnoticed."""


@dataclass
class MemoryNode:
    """One node of the ring."""

    network: MemoryNetwork
    store: MemoryStore
    gate: Gate
    replicator: Replicator

    def host(self, site: TreeSite) -> None:
        """Puts the site's release into the store as if it had been published here, and tells the core."""
        put(self.store, site)
        self.replicator.tell(Stored(site.signed))

    def holds(self, site: TreeSite) -> bool:
        record = self.store.site(site.signed.site)
        return record is not None and record.held == site.signed

    def set_rules(self, *rules: Rule) -> None:
        self.gate.policy = Policy(rules, self.gate.policy.hosting)
        self.replicator.policy_changed()


class TreeSite:
    """A site of `files` in one folder."""

    def __init__(self, files: dict[str, bytes], *, seq: int = 1, key: Ed25519PrivateKey | None = None) -> None:
        self.key = key or Ed25519PrivateKey.generate()
        self.blocks: dict[Cid, bytes] = {}
        entries = []
        for name, content in files.items():
            link = self._file(content)
            entries.append(DirEntry(name, link.cid, link.tsize))
        root = build_directory(entries, self.blocks.__setitem__)
        self.signed = self._sign(root.cid, seq)

    def _file(self, content: bytes) -> Link:
        builder = FileBuilder(self.blocks.__setitem__)
        for at in range(0, len(content), CHUNK_BYTES):
            link = leaf(content[at : at + CHUNK_BYTES])
            self.blocks[link.cid] = content[at : at + CHUNK_BYTES]
            builder.add(link)
        return builder.finish()

    def _sign(self, root: Cid, seq: int) -> SignedRelease:
        size_bytes = sum(map(len, self.blocks.values()))
        site = SiteId.of(self.key)
        release = Release(site, seq, None, root, size_bytes, len(self.blocks), Band(1, 9), (), 1_700_000_000, False)
        return sign_release(release, self.key)


def put(store: MemoryStore, site: TreeSite) -> None:
    """Makes the site's release the held one."""
    hold = store.begin_hold(site.signed)
    store.put_blocks(hold, list(site.blocks.items()))
    store.finish_hold(hold, origin=Origin.PUBLISHED)


@asynccontextmanager
async def ring(
    count: int, *, quota_bytes: int = 10**9, hosting: Hosting | None = None, store: MemoryStore | None = None
) -> AsyncIterator[tuple[Air, list[MemoryNode]]]:
    """`count` nodes, not connected yet; the first one with `store`, if that is given."""
    air = Air()
    async with trio.open_nursery() as nursery:
        nodes = []
        for number in range(count):
            mine = (
                store if store is not None and number == 0 else MemoryStore(quota_bytes=quota_bytes, cache_bytes=10**8)
            )
            nodes.append(await nursery.start(_run_node, air, number, mine, hosting))
        yield air, nodes
        nursery.cancel_scope.cancel()


async def _run_node(
    air: Air,
    number: int,
    store: MemoryStore,
    hosting: Hosting | None,
    *,
    task_status: trio.TaskStatus[MemoryNode],
) -> None:
    settings = NetSettings(listen=("/ip4/127.0.0.1/tcp/0",), private_key=bytes([number + 1]) * 32)
    async with open_memory_network(air, settings) as network, trio.open_nursery() as nursery:
        gate = Gate(Policy((), hosting))
        replicator = Replicator(store, network, gate)
        await nursery.start(replicator.run)
        intake = Intake(replicator.context, replicator)
        network.serve(SYNC_PROTOCOL, partial(serve_sync, replicator.context))
        network.serve(PUBLISH_PROTOCOL, lambda stream: intake.serve(stream, stream.peer))
        task_status.started(MemoryNode(network, store, gate, replicator))
        await trio.sleep_forever()


async def connect(one: MemoryNode, other: MemoryNode) -> None:
    await one.network.connect(other.network.addresses()[0], deadline_s=DEADLINE_S)


async def until(condition: Callable[[], bool]) -> None:
    """Work in threads announces itself to nobody, so this looks again and again."""
    with trio.fail_after(DEADLINE_S):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.005)
