"""Blocks of trees that readers wait for, and those that come next in a file (docs/spec/bitswap.md, section 5).

Each goes into the store's cache, past the gate. A reading ends when nobody has asked for a while.
"""

from __future__ import annotations

import logging

import trio

from node.bitswap.client import BitswapClient, Blocks, Fetch
from node.bitswap.tree_fetch import check_policy
from node.gateway.backend import Unavailable
from node.replication.context import Context
from node.replication.gate import Refused
from node.replication.waits import Waits
from node.routing.providers import find_providers
from node.routing.routers import Routers
from protocol.cid import IDENTITY, Cid
from protocol.dag_links import LEAF_CODECS, NODE_CODECS
from protocol.errors import DecodeError, OperatorError

READINGS_MAX = 16
IDLE_S = 10.0
BLOCK_S = 20.0
"""A reader waits for one block at most so long."""
LOOK_S = 0.5
STUCK_S = 8.0
"""Nobody has a block when nobody had it for so long: a connection that is lost comes back within seconds."""
SEARCH_AGAIN_S = 3.0

NOBODY_HAS_IT = Unavailable("timeout", "nobody that was found has this part of the tree")

log = logging.getLogger(__name__)


class TreeReadings:
    """The trees that are read at the moment, by root."""

    def __init__(self, context: Context, client: BitswapClient, routers: Routers) -> None:
        self._context = context
        self._client = client
        self._routers = routers
        self._readings: dict[Cid, TreeReading] = {}

    async def fetch_block(self, root: Cid, cid: Cid) -> None:
        """Makes one block of the tree readable in the store, and fetches ahead; equal requests cost one fetch.

        Raises Unavailable.
        """
        if root.hash_code == IDENTITY:  # nobody is asked for it
            root = cid
        if cid.codec not in LEAF_CODECS | NODE_CODECS:
            raise Unavailable("not-found", "only trees of dag-pb, dag-cbor and dag-json and single blocks are fetched")
        try:
            check_policy(self._context, root, [cid])
            with trio.fail_after(BLOCK_S):
                await self._reading(root).get(cid)
        except Refused as error:
            raise Unavailable("refused", error.verdict.reason) from None
        except trio.TooSlowError:
            raise Unavailable("timeout", "nobody sent this part of the tree in time") from None

    def _reading(self, root: Cid) -> TreeReading:
        reading = self._readings.get(root)
        if reading is None or reading.ended:
            if len(self._readings) >= READINGS_MAX:
                raise Unavailable("busy", "this node fetches too many trees for readers at the moment")
            reading = self._readings[root] = TreeReading(self._context, self._routers, root)
            self._context.start(self._read, root, reading)
        return reading

    async def _read(self, root: Cid, reading: TreeReading) -> None:
        """Root of the task of one reading."""
        try:
            async with self._client.fetch(root, for_readers=True) as fetch:
                await reading.run(fetch)
        finally:
            if self._readings.get(root) is reading:
                del self._readings[root]
            reading.give_up()


class TreeReading:
    """One tree. `run` must run; `get` makes a block readable."""

    def __init__(self, context: Context, routers: Routers, root: Cid) -> None:
        self._context = context
        self._routers = routers
        self._root = root
        self._waits = Waits(context, may_have=self._may_have, want=self._want)
        self._stuck_since_s: dict[Cid, float] = {}
        self._waiting: list[Cid] = []  # to be wanted
        self._changed = trio.Event()
        self.ended = False

    async def get(self, cid: Cid) -> None:
        """Returns when the store has the block. Raises Unavailable; deadlines are the caller's."""
        await self._waits.get(cid)

    async def run(self, fetch: Fetch) -> None:
        """Until nobody has asked for a while."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._pass_on_wants, fetch)
            nursery.start_soon(self._look_for_peers, fetch)
            while trio.current_time() < self._waits.asked_s + (BLOCK_S if self._waits else 0) + IDLE_S:
                blocks: Blocks = []
                with trio.move_on_after(LOOK_S):
                    blocks = await fetch.receive()
                if blocks:
                    await self._take(blocks)
            self.ended = True
            nursery.cancel_scope.cancel()

    def give_up(self) -> None:
        """Nobody is there to bring what is on its way."""
        self.ended = True
        self._waits.give_up(NOBODY_HAS_IT)

    def _want(self, cids: list[Cid], first: bool) -> None:
        """In the order in which they were asked for: bitswap brings what it can."""
        self._waiting += cids
        self._changed.set()
        self._changed = trio.Event()

    async def _pass_on_wants(self, fetch: Fetch) -> None:
        while True:
            changed = self._changed
            wanted, self._waiting = self._waiting[: fetch.room], self._waiting[fetch.room :]
            fetch.want(wanted)
            with trio.move_on_after(LOOK_S) if self._waiting else trio.CancelScope():
                await changed.wait()

    def _may_have(self, cid: Cid) -> bool:
        try:
            check_policy(self._context, self._root, [cid])
        except Refused:
            return False
        return True

    async def _take(self, blocks: Blocks) -> None:
        """Each is verified by the store once more, and the gate is asked once more: fetching took its time."""
        allowed = [(cid, data) for cid, data in blocks if self._may_have(cid)]
        error: Unavailable | None = None
        try:
            await self._context.in_store(self._context.store.cache_blocks, allowed)
        except (OperatorError, DecodeError) as failure:
            log.warning("cannot keep blocks of %s: %s", self._root, failure)
            error = Unavailable("busy", "the node cannot store the block at the moment")
        for cid, data in allowed:
            self._waits.note(cid, data)
            self._waits.land(cid, error)
        for cid, _ in blocks:  # the rest
            self._waits.land(cid, Unavailable("refused", "refused by this node's policy"))

    async def _look_for_peers(self, fetch: Fetch) -> None:
        """At the start, and again while something is wanted that nobody has."""
        while True:
            stuck = fetch.stuck(len(self._waits))
            if stuck:
                await find_providers(self._context.network, self._routers, stuck[0], (), fetch.add_peer)
            self._give_up_stuck(fetch)
            await trio.sleep(SEARCH_AGAIN_S if stuck else LOOK_S)

    def _give_up_stuck(self, fetch: Fetch) -> None:
        now_s = trio.current_time()
        stuck = set(fetch.stuck(len(self._waits)))
        self._stuck_since_s = {cid: self._stuck_since_s.get(cid, now_s) for cid in self._waits.cids() if cid in stuck}
        for cid, since_s in self._stuck_since_s.items():
            if now_s > since_s + STUCK_S:
                fetch.forget([cid])
                self._waits.land(cid, NOBODY_HAS_IT)
