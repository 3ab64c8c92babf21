"""Nodes that are members of each other, over the in-memory network and store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from config import Config
from config.paths import Paths
from node.membership.joining import join
from node.net.memory import Air, open_memory_network
from node.net.port import NetSettings
from node.policy.decide import Policy
from node.replication.driver import Replicator
from node.replication.gate import Gate
from node.replication.neighbours import Neighbours
from node.replication.serving import serve_sync
from node.store.memory import MemoryStore
from protocol.messages import SYNC_PROTOCOL
from protocol.site_id import SiteId
from tests.unit.replication.kit import MemoryNode


def key_of(number: int) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes([number + 1]) * 32)


def node_id(number: int) -> SiteId:
    return SiteId.of(key_of(number))


@asynccontextmanager
async def members(count: int, folder: Path) -> AsyncIterator[list[MemoryNode]]:
    """Members that are not connected yet."""
    air = Air()
    async with trio.open_nursery() as nursery:
        yield [await nursery.start(_run, air, number, folder / str(number)) for number in range(count)]
        nursery.cancel_scope.cancel()


async def _run(air: Air, number: int, folder: Path, *, task_status: trio.TaskStatus[MemoryNode]) -> None:
    folder.mkdir()
    key = key_of(number)
    settings = NetSettings(listen=("/ip4/127.0.0.1/tcp/0",), private_key=key.private_bytes_raw())
    async with open_memory_network(air, settings) as network, trio.open_nursery() as nursery:
        store, gate = MemoryStore(quota_bytes=10**9, cache_bytes=10**8), Gate(Policy(()))
        replicator = Replicator(store, network, gate)
        config = Config(data_dir=folder)
        await join(nursery, config, Paths(folder), replicator, store, key)
        await nursery.start(replicator.run)
        network.serve(SYNC_PROTOCOL, partial(serve_sync, replicator.context))
        nursery.start_soon(Neighbours(replicator.context, ()).run)
        task_status.started(MemoryNode(network, store, gate, replicator))
        await trio.sleep_forever()
