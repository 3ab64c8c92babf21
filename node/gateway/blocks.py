"""Verified blocks for readers: from memory, from the store, or through the daemon from other nodes."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

import trio

from node.gateway.backend import Backend, NameBackend, NoNames, Unavailable
from node.gateway.limits import BLOCK_CACHE_BYTES, BLOCK_CACHED_MAX_BYTES
from node.gateway.routing import Owner
from node.store.errors import BlockCorrupt, BlockMissing
from node.store.port import StoreReader
from protocol.cid import Cid
from protocol.site_id import SiteId
from protocol.walk import inline_block


class PartMissing(Unavailable):
    """A block of a site that is there cannot be had; another try may have more luck."""


class Blocks:
    """Every byte that comes out of here was checked against its CID by this process."""

    def __init__(
        self,
        reader: StoreReader,
        backend: Backend,
        names: NameBackend | None = None,
        *,
        cache_bytes: int = BLOCK_CACHE_BYTES,
    ) -> None:
        """names: whom to ask for blocks of trees that are no site's."""
        self._reader = reader
        self._backend = backend
        self._names = names or NoNames()
        self._cache = BlockCache(cache_bytes)
        self._flights: dict[Cid, _Flight] = {}
        self.cache_hits = 0
        self.cache_misses = 0
        self.fetches = 0

    async def get(self, site: Owner, cid: Cid, *, may_fetch: bool, in_thread: bool = False) -> bytes:
        """The block. may_fetch: ask other nodes on behalf of `site` for what is missing or damaged here.

        in_thread: read off the loop, for blocks that are likely to be large. Raises Unavailable, OperatorError;
        deadlines are the caller's.
        """
        data = self._cache.get(cid)
        if data is not None:
            self.cache_hits += 1
        else:
            self.cache_misses += 1
            data = await self._load(site, cid, may_fetch=may_fetch, in_thread=in_thread)
            self._cache.put(cid, data)
        return data

    async def _load(self, site: Owner, cid: Cid, *, may_fetch: bool, in_thread: bool) -> bytes:
        inline = inline_block(cid)
        if inline is not None:
            return inline
        try:
            return await self._read(cid, in_thread)
        except (BlockMissing, BlockCorrupt) as error:
            if not may_fetch:
                raise Unavailable("busy", "a part of this site is missing on this node") from error
        await self._fetch(site, cid)
        try:
            return await self._read(cid, in_thread)
        except (BlockMissing, BlockCorrupt) as error:
            raise Unavailable("timeout", "a part of this site could not be fetched") from error

    async def _read(self, cid: Cid, in_thread: bool) -> bytes:
        if in_thread:
            return await trio.to_thread.run_sync(self._reader.get_block, cid)
        return self._reader.get_block(cid)

    async def _fetch(self, site: Owner, cid: Cid) -> None:
        """One request to the daemon for all readers that wait for the same block; if its reader leaves, another."""
        while (running := self._flights.get(cid)) is not None:
            await running.landed.wait()
            if running.error is not None:
                raise PartMissing(running.error.kind, running.error.reason)
            if running.done:
                return
        flight = self._flights[cid] = _Flight()
        self.fetches += 1
        try:
            if isinstance(site, SiteId):
                await self._backend.fetch_block(site, cid)
            else:
                await self._names.fetch_tree_block(site, cid)
            flight.done = True
        except Unavailable as error:
            flight.error = error
            raise PartMissing(error.kind, error.reason) from error
        finally:
            del self._flights[cid]
            flight.landed.set()


@dataclass(slots=True)
class _Flight:
    landed: trio.Event = field(default_factory=trio.Event)
    done: bool = False
    error: Unavailable | None = None


class BlockCache:
    """Blocks by CID, least recently used first out, bounded by the sum of their bytes."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._blocks: OrderedDict[Cid, bytes] = OrderedDict()
        self._bytes = 0

    def get(self, cid: Cid) -> bytes | None:
        """The block, which then counts as used."""
        data = self._blocks.get(cid)
        if data is not None:
            self._blocks.move_to_end(cid)
        return data

    def put(self, cid: Cid, data: bytes) -> None:
        """Keep a verified block, unless it is so large that it would wash out many."""
        if len(data) > BLOCK_CACHED_MAX_BYTES or cid in self._blocks:
            return
        self._blocks[cid] = data
        self._bytes += len(data)
        while self._bytes > self._max_bytes:
            _, old = self._blocks.popitem(last=False)
            self._bytes -= len(old)
