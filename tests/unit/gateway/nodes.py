"""A gateway in this process: the real app and server over a real store on disk."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.gateway.app import GatewayApp
from node.gateway.backend import Identity, Unavailable
from node.gateway.proxies import TrustedProxies
from node.gateway.server import HttpServer
from node.gateway.settings import WorkerSettings
from node.policy.model import CidPath, Ground, Rule, RuleVerdict, Target
from node.policy.rules import row_of
from node.store.disk import DiskStore, open_store
from node.store.errors import BlockCorrupt, BlockMissing
from node.store.reader import open_reader
from protocol.cid import Cid
from protocol.release import SignedRelease
from protocol.site_id import SiteId
from tests.unit.gateway.http_client import Answer, Client, connect, fetch
from tests.unit.gateway.sites import Built, Tree, publish

PEER = "12D3KooWDVgXx4zcLZT6vhXA8m3LVYSum33U5XKfRo65pWHgqJTN"
QUOTA_BYTES = 256 * 1024 * 1024


def new_key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


@dataclass
class Neighbour:
    """The rest of the federation, as a Backend: heads and blocks that others have, put into this node's store."""

    store: DiskStore
    heads: dict[SiteId, SignedRelease] = field(default_factory=dict)
    older: dict[SiteId, SignedRelease] = field(default_factory=dict)
    blocks: dict[Cid, bytes] = field(default_factory=dict)
    resolved: list[SiteId] = field(default_factory=list)
    fetched: list[Cid] = field(default_factory=list)
    records: dict[bytes, bytes] = field(default_factory=dict)
    names_asked: list[bytes] = field(default_factory=list)
    trees_asked: list[Cid] = field(default_factory=list)
    hang: bool = False

    async def resolve(self, site: SiteId, below: int | None = None) -> SignedRelease:
        self.resolved.append(site)
        if self.hang:
            await trio.sleep_forever()
        found = (self.heads.get(site), self.older.get(site))
        for signed in found:
            if signed is not None and (below is None or signed.seq < below):
                return signed
        raise Unavailable("not-found", "no host of this site answered")

    async def fetch_block(self, site: SiteId, cid: Cid) -> None:
        self.fetched.append(cid)
        if self.hang:
            await trio.sleep_forever()
        if cid not in self.blocks:
            raise Unavailable("not-found", "no host that answered has the block")
        try:
            self.store.get_block(cid)  # notes that it is damaged, so that it is written anew
        except (BlockCorrupt, BlockMissing):
            self.store.cache_blocks([(cid, self.blocks[cid])])

    async def fetch_tree_block(self, root: Cid, cid: Cid) -> None:
        self.trees_asked.append(root)
        await self.fetch_block(SiteId(bytes(32)), cid)

    async def identity(self) -> Identity:
        if self.hang:
            raise Unavailable("busy", "no answer")
        return Identity(PEER, (f"/ip4/127.0.0.1/tcp/4101/p2p/{PEER}",))

    async def find_name(self, name: bytes) -> None:
        self.names_asked.append(name)
        if self.hang:
            await trio.sleep_forever()
        if name not in self.records:
            raise Unavailable("not-found", "no record of this name was found")
        self.store.save_name(name, self.records[name])

    async def put_name(self, name: bytes, record: bytes) -> None:
        if self.hang:
            raise Unavailable("busy", "no answer")
        self.store.save_name(name, record)


@dataclass
class Node:
    """One running gateway."""

    store: DiskStore
    backend: Neighbour
    port: int
    app: GatewayApp
    server: HttpServer

    def origin(self, site: SiteId) -> str:
        return f"{site}.ipns.localhost:{self.port}"

    async def get(self, site: SiteId, target: str, **headers: str) -> Answer:
        """From the site's own origin."""
        return await self.ask("GET", self.origin(site), target, **headers)

    async def ask(self, method: str, host: str, target: str, **headers: str) -> Answer:
        pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
        return await fetch(self.port, target, host, method=method, headers=pairs)

    async def connect(self) -> Client:
        return await connect(self.port)

    def publish(self, key: Ed25519PrivateKey, tree: Tree, **options: Any) -> tuple[SiteId, Built]:
        return SiteId.of(key), publish(self.store, key, tree, **options)

    def block(
        self, target: Target | Cid, *, path: str = "", verdict: RuleVerdict = "refuse", ground: Ground = "policy"
    ) -> str:
        """Add a rule; returns its stored target."""
        if isinstance(target, Cid):
            target = CidPath(target.multihash, path.removesuffix("*"), path.endswith("*"))
        row = row_of(Rule(target, verdict, ground, 'spam & <b>"junk"</b>', int(time.time())))
        self.store.add_rules([row])
        return row.target


@asynccontextmanager
async def running_node(directory: Path, **settings: Any) -> AsyncIterator[Node]:
    """Settings as in WorkerSettings."""
    store = open_store(directory / "store", quota_bytes=QUOTA_BYTES, cache_bytes=QUOTA_BYTES)
    reader = open_reader(directory / "store")
    neighbour = Neighbour(store)
    worker = WorkerSettings(store_dir=directory / "store", backend_socket=directory / "none", **settings)
    app = GatewayApp(worker, reader, neighbour, names=neighbour)
    proxies = TrustedProxies(worker.trusted_proxies)
    server = HttpServer(
        app.answer,
        app.error_page,
        worker.limits,
        at_hand=app.at_hand,
        proxies=proxies,
        access_log=worker.access_log,
    )
    listener = trio.socket.socket()
    await listener.bind(("127.0.0.1", 0))
    listener.listen(100)
    try:
        with listener:
            async with trio.open_nursery() as nursery:
                await nursery.start(server.serve, [listener])
                yield Node(store, neighbour, listener.getsockname()[1], app, server)
                nursery.cancel_scope.cancel()
    finally:
        reader.close()
        store.close()
