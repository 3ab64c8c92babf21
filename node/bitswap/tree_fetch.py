"""Fetches a whole tree from IPFS peers into the store: walks it, wants what is missing, verifies, writes in batches.

What arrived stays in the store's hold when a fetch ends early; the next fetch of the same root goes on from there.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import trio

from node.bitswap.client import BitswapClient, Blocks, Fetch
from node.policy.model import Act, Subject
from node.replication.context import Context
from node.replication.gate import Refused
from node.replication.linking import link_known
from node.routing.providers import find_providers
from node.routing.routers import Routers
from node.store.port import TreeHold, TreeOrigin
from protocol.cid import Cid
from protocol.dag_walk import DagWalk
from protocol.errors import FednodeError, Malformed, OperatorError

BATCH_BYTES = 8 * 1024 * 1024
BATCH_BLOCKS = 512
PLAN_BLOCKS = 256
LOOK_S = 1.0
SEARCH_AGAIN_S = 20.0
SEARCHES_MAX = 2
"""Without a block between them; then nobody has what is missing."""
INLINE_NODE_BYTES = 16 * 1024

log = logging.getLogger(__name__)


class NotProvided(OperatorError):
    """Nobody that could be found and reached has a block."""

    code = "not-provided"


@dataclass(slots=True)
class Progress:
    """What a fetch has done so far; `blocks` and `size_bytes` count what was here before, too."""

    blocks: int = 0
    size_bytes: int = 0
    received_blocks: int = 0
    received_bytes: int = 0
    peers: int = 0


async def fetch_tree(
    context: Context,
    client: BitswapClient,
    routers: Routers,
    root: Cid,
    addresses: Sequence[str],
    progress: Progress,
) -> None:
    """Keeps the tree under `root` (no identity CID) when all of it is here. Keeps `progress` up to date.

    addresses: of peers to ask; more may be added while this runs.
    Raises NotProvided, Refused, TooManyFetches, DecodeError (no UnixFS tree), and what the store raises.
    """
    check_policy(context, root, [root])
    hold = await context.in_store(context.store.begin_tree, root)
    info = await context.in_store(context.store.hold_info, hold)
    if not info.finished:
        async with client.fetch(root) as fetch:
            await _TreeFetch(context, routers, root, hold, addresses, fetch, progress).complete()
        await context.in_store(lambda: context.store.finish_tree(hold, origin=TreeOrigin.FETCHED))
        info = await context.in_store(context.store.hold_info, hold)
    progress.blocks, progress.size_bytes = info.done_blocks, info.done_bytes


class _TreeFetch:
    def __init__(
        self,
        context: Context,
        routers: Routers,
        root: Cid,
        hold: TreeHold,
        addresses: Sequence[str],
        fetch: Fetch,
        progress: Progress,
    ) -> None:
        self._context = context
        self._routers = routers
        self._root = root
        self._hold = hold
        self._addresses = addresses
        self._fetch = fetch
        self._progress = progress
        self._walk = DagWalk(root)
        self._coming: set[Cid] = set()
        self._batch: Blocks = []
        self._batch_bytes = 0
        self._to_writer, self._from_main = trio.open_memory_channel[Blocks](0)
        self._failure: FednodeError | None = None
        self._search_scope = trio.CancelScope()
        self._searching = False
        self._searches = 0
        self._asked_addresses = 0
        self._searched_s = 0.0
        self._complaints: list[str] = []

    async def complete(self) -> None:
        """Receives, writes and searches side by side."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write, nursery.cancel_scope)
            try:
                async with self._to_writer:
                    await self._receive_all(nursery)
            except FednodeError as error:
                self._failure = self._failure or error
                nursery.cancel_scope.cancel()
            finally:
                self._search_scope.cancel()
        if self._failure is not None:
            raise self._failure

    async def _receive_all(self, nursery: trio.Nursery) -> None:
        while True:
            await self._plan()
            if not self._coming:
                if self._walk.done:
                    break
                raise Malformed("the walk of the tree does not go on")
            self._look_for_peers(nursery)
            blocks: Blocks = []
            with trio.move_on_after(LOOK_S):
                blocks = await self._fetch.receive()
            await self._take(blocks)
        await self._hand_over()

    async def _plan(self) -> None:
        while self._fetch.room >= PLAN_BLOCKS:
            wanted = [cid for cid in self._walk.want(PLAN_BLOCKS) if cid not in self._coming]
            if not wanted:
                return
            missing = await self._context.in_store(link_known, self._context.store, self._hold, wanted, self._walk)
            check_policy(self._context, self._root, wanted)
            self._coming.update(missing)
            self._fetch.want(missing)

    async def _take(self, blocks: Blocks) -> None:
        if blocks:
            self._searches = 0
        for cid, data in blocks:
            self._coming.discard(cid)
            if not DagWalk.is_leaf(cid):
                if len(data) <= INLINE_NODE_BYTES:
                    self._walk.feed(cid, data)
                else:
                    await trio.to_thread.run_sync(self._walk.feed, cid, data)
            self._batch.append((cid, data))
            self._batch_bytes += len(data)
            if self._batch_bytes >= BATCH_BYTES or len(self._batch) >= BATCH_BLOCKS:
                await self._hand_over()
        self._progress.received_blocks = self._fetch.received_blocks
        self._progress.received_bytes = self._fetch.received_bytes
        self._progress.peers = self._fetch.useful_peers

    async def _hand_over(self) -> None:
        if self._batch:
            batch, self._batch, self._batch_bytes = self._batch, [], 0
            await self._to_writer.send(batch)

    async def _write(self, scope: trio.CancelScope) -> None:
        try:
            async for batch in self._from_main:
                check_policy(self._context, self._root, [cid for cid, _ in batch])
                await self._context.in_store(self._context.store.put_blocks, self._hold, batch)
                info = await self._context.in_store(self._context.store.hold_info, self._hold)
                self._progress.blocks, self._progress.size_bytes = info.done_blocks, info.done_bytes
        except FednodeError as error:
            self._failure = error
            scope.cancel()

    # Who has it

    def _look_for_peers(self, nursery: trio.Nursery) -> None:
        """Searches at the start, and again while something is wanted that nobody has. Raises NotProvided."""
        if self._searching or self._fetch.waits_for_probes:
            return
        if len(self._addresses) > self._asked_addresses:
            self._searches = 0
        stuck = self._fetch.stuck(1)
        if not stuck or (self._searches and trio.current_time() < self._searched_s + SEARCH_AGAIN_S):
            return
        if self._searches >= SEARCHES_MAX:
            raise self._not_provided(stuck[0])
        self._searching = True
        self._searches += 1
        self._asked_addresses = len(self._addresses)
        self._search_scope = trio.CancelScope()
        nursery.start_soon(self._search, stuck[0])

    async def _search(self, cid: Cid) -> None:
        with self._search_scope:
            self._complaints = await find_providers(
                self._context.network, self._routers, cid, self._addresses, self._fetch.add_peer
            )
        self._searching = False
        self._searched_s = trio.current_time()

    def _not_provided(self, cid: Cid) -> NotProvided:
        what = "the tree" if cid == self._root else f"block {cid} of it"
        return NotProvided(
            "; ".join((f"nobody that was found has {what}", *self._complaints)),
            hint="name a peer that has it: --from MULTIADDR",
        )


def check_policy(context: Context, root: Cid, cids: Sequence[Cid]) -> None:
    """Raises Refused when policy does not allow to fetch and keep the tree or one of the blocks.

    A quarantined block in a tree that is allowed is kept.
    """
    policy = context.gate.policy
    for act in (Act.FETCH, Act.STORE):
        verdict = policy.decide(act, Subject(root=root, trail=(root,), local=True))
        if not verdict.allowed:
            raise Refused(verdict)
        for cid in cids:
            verdict = policy.decide(act, Subject(root=root, trail=(root, cid), local=True))
            if verdict.kind == "refuse":
                raise Refused(verdict)
