"""The pull: wants what a release's tree has and the store lacks, verifies what comes, and writes it in batches.

Used towards hosts (fetching), several at once, and towards a publisher (intake), which is one source like any other.
Memory is bounded by two batches, one block for each source and the walk (protocol/dag_walk.py), whatever the site's
size.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import NoReturn

import trio

from node.net.channel import FrameChannel
from node.replication.context import Context
from node.replication.drawing import LOOK_S, Arrival, Drawing
from node.replication.gate import Refused
from node.replication.linking import link_known
from node.replication.media import MediaWalk
from node.store.port import Hold
from protocol import messages as msg
from protocol.cid import Cid
from protocol.dag_walk import DagWalk
from protocol.errors import FednodeError, HashMismatch, Malformed
from protocol.limits import WANT_MAX_CIDS
from protocol.release import SignedRelease

BATCH_BYTES = 8 * 1024 * 1024
BATCH_BLOCKS = 512
# What came is written after so long even if it is little: a crash costs no more than that.
BATCH_AGE_S = 2.0
PROGRESS_S = 0.25
# Hashing and parsing up to this much takes less than 2 ms; more is done beside the loop.
INLINE_NODE_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class PullResult:
    """What was new to this node's store."""

    new_blocks: int
    new_bytes: int


async def pull(
    context: Context,
    channel: FrameChannel,
    hold: Hold,
    signed: SignedRelease,
    *,
    local: bool = False,
    report: bool = False,
) -> PullResult:
    """Completes `hold` from one channel; the caller finishes it. With `report`, Progress is sent along.

    Raises PeerError (bad, missing or late blocks), Refused (policy changed or names a block), OperatorError (store).
    What was written before stays in the hold.
    """
    run = Pull(context, hold, signed, local=local)
    if report:
        run.tell = run.tell_progress
    return await run.complete(lambda: run.draw("publisher", channel))


class Pull(Drawing):
    """One hold that is being completed. `complete` runs it; `draw` is the life of one source."""

    def __init__(self, context: Context, hold: Hold, signed: SignedRelease, *, local: bool = False) -> None:
        if signed.release.root is None:
            raise Malformed("an end has no blocks to pull")
        super().__init__()
        self._context = context
        self._hold = hold
        self._signed = signed
        self._local = local
        self._media = _media_walk(context, signed) if not local else None
        self._walk = self._media or DagWalk(signed.release.root, site_only=True)
        self._walking = trio.Lock()
        self._in_flight: set[Cid] = set()
        """Named, and not yet written or found to be here."""
        self._batch: list[Arrival] = []
        self._batch_bytes = 0
        self._batch_since_s = 0.0
        self._handing_over = trio.Lock()
        self._to_writer, self._from_sources = trio.open_memory_channel[list[Arrival]](0)
        self._scope = trio.CancelScope()
        self._failure: FednodeError | None = None
        self._complete = False
        self._reported_at_s = trio.current_time()

    async def complete(self, sources: Callable[[], Awaitable[None]]) -> PullResult:
        """Runs `sources`, which draw, beside the writer, so that neither the wire nor the disk waits for the other.

        Raises what they raise when they give up before all is here, and as `pull`.
        """
        with self._context.taking(self._signed), self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                async with self._to_writer:
                    await self._receive_all(sources)
        if self._failure is not None and not self._complete:
            raise self._failure
        if self._media is not None:
            await self._context.in_store(self._media.look_at_unnamed, self._context.store.get_block)
        info = await self._context.in_store(self._context.store.hold_info, self._hold)
        return PullResult(info.new_blocks, info.new_bytes)

    async def _receive_all(self, sources: Callable[[], Awaitable[None]]) -> None:
        """Whatever ends it, what came is written."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_time)
            try:
                await sources()
            except FednodeError as error:
                self._failure = self._failure or error
            nursery.cancel_scope.cancel()
        await self._hand_over()

    async def _name_more(self) -> None:
        """Names blocks until enough are known to be missing; those that are here already are only referenced."""
        if not self.assignment.wants_more:
            return
        async with self._walking:
            while self.assignment.wants_more and (wanted := self._walk.want(WANT_MAX_CIDS)):
                named = [cid for cid in wanted if cid not in self._in_flight]
                self._in_flight.update(named)
                try:
                    missing = await self._context.in_store(
                        link_known, self._context.store, self._hold, named, self._walk
                    )
                    self._check_policy(named)  # of those that are here already, too
                except FednodeError as error:
                    await self._fail(error)
                self._in_flight.difference_update(set(named).difference(missing))
                self.assignment.add(missing)
                self._wake()
        self._look_whether_complete()

    async def _take(self, arrival: Arrival) -> None:
        if not DagWalk.is_leaf(arrival.cid):
            await self._look_into(arrival)
        if not self.assignment.came(arrival.source, trio.current_time()):
            return
        if not self._batch:
            self._batch_since_s = trio.current_time()
        self._batch.append(arrival)
        self._batch_bytes += len(arrival.data)
        if self._batch_is_full():
            await self._hand_over(if_full=True)

    async def _look_into(self, arrival: Arrival) -> None:
        """Goes on with the walk below an inner node, unless another copy of it has come."""
        cid, data = arrival.cid, arrival.data
        async with self._walking:
            if not self.assignment.needs(cid):
                return
            if len(data) <= INLINE_NODE_BYTES:
                cid.verify(data)
            else:
                await trio.to_thread.run_sync(cid.verify, data)
            try:
                if len(data) <= INLINE_NODE_BYTES:
                    self._walk.feed(cid, data)
                else:
                    await trio.to_thread.run_sync(self._walk.feed, cid, data)
            except FednodeError as error:  # so the publisher made it: no other source has a better one
                await self._fail(error)

    def _batch_is_full(self) -> bool:
        return self._batch_bytes >= BATCH_BYTES or len(self._batch) >= BATCH_BLOCKS

    async def _hand_over(self, *, if_full: bool = False) -> None:
        """Gives the batch to the writer, waiting while it still writes the one before."""
        async with self._handing_over:
            if self._batch and (not if_full or self._batch_is_full()):
                batch, self._batch, self._batch_bytes = self._batch, [], 0
                await self._to_writer.send(batch)

    async def _keep_time(self) -> None:
        """Nothing that came stays unwritten for long, and no silent source keeps its place beside others."""
        while True:
            await trio.sleep(LOOK_S)
            self._hurry_silent_sources()
            if self._batch and trio.current_time() > self._batch_since_s + BATCH_AGE_S:
                await self._hand_over()

    async def _write(self) -> None:
        async for batch in self._from_sources:
            try:
                self._check_policy(arrival.cid for arrival in batch)
                await self._put(batch)
            except FednodeError as error:
                await self._fail(error)
            self._wake()
            self._look_whether_complete()

    async def _put(self, batch: list[Arrival]) -> None:
        blocks = [(arrival.cid, arrival.data) for arrival in batch]
        try:
            await self._context.in_store(self._context.store.put_blocks, self._hold, blocks)
        except HashMismatch:
            bad = await trio.to_thread.run_sync(_bad_ones, batch)
            if not bad:
                raise
            for arrival in bad:
                self._refuse(arrival)
            await self._put([arrival for arrival in batch if arrival not in bad])
            return
        self._in_flight.difference_update(arrival.cid for arrival in batch)

    def _refuse(self, arrival: Arrival) -> None:
        """Each block is checked by itself: what else the source sent is kept."""
        error = HashMismatch(f"block {arrival.cid} is another one")
        if self.on_bad is None:
            raise error
        self.assignment.was_bad(arrival.source, arrival.cid)
        self.on_bad(arrival.source, error)

    def _look_whether_complete(self) -> None:
        if self._walk.done and not self._in_flight:
            self._complete = True
            self._scope.cancel()

    async def _pause(self) -> None:
        if self.assignment.idle and self._walk.done:
            await self._hand_over()
        await super()._pause()

    async def _fail(self, error: FednodeError) -> NoReturn:
        """Ends the whole pull: no other source can help."""
        self._failure = self._failure or error
        self._scope.cancel()
        await trio.sleep_forever()

    def _check_policy(self, cids: Iterable[Cid]) -> None:
        gate = self._context.gate
        verdict = gate.may_host(self._signed, local=self._local)
        if not verdict.allowed:
            raise Refused(verdict)
        for cid in cids:
            verdict = gate.may_store_block(self._signed, cid, local=self._local)
            if verdict.kind == "refuse":
                raise Refused(verdict)

    async def tell_progress(self, channel: FrameChannel) -> None:
        """Sends Progress, unless it was sent a moment ago."""
        if trio.current_time() < self._reported_at_s + PROGRESS_S:
            return
        self._reported_at_s = trio.current_time()
        info = await self._context.in_store(self._context.store.hold_info, self._hold)
        total_bytes = self._signed.release.size_bytes
        await channel.send(msg.Progress(min(info.done_bytes, total_bytes), total_bytes, info.new_bytes))


def _media_walk(context: Context, signed: SignedRelease) -> MediaWalk | None:
    """None: the settings take every type of file."""
    root = signed.release.root
    if root is None or not context.gate.policy.hosting.media_types:
        return None
    return MediaWalk(root, context.gate, signed)


def _bad_ones(batch: list[Arrival]) -> list[Arrival]:
    bad = []
    for arrival in batch:
        try:
            arrival.cid.verify(arrival.data)
        except HashMismatch:
            bad.append(arrival)
    return bad
