"""The pull: wants what a release's tree has and the store lacks, verifies what comes, and writes it in batches.

Used towards hosts (fetching) and towards publishers (intake): whoever is at the other end of the channel answers
each `Want` in order. Memory is bounded by two batches and the walk (protocol/dag_walk.py), whatever the site's size.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import trio

from node.net.channel import FrameChannel, PeerTimeout
from node.replication.context import Context
from node.replication.gate import Refused
from node.store.errors import BlockCorrupt, BlockMissing
from node.store.port import Hold, Store
from protocol import messages as msg
from protocol.cid import Cid
from protocol.errors import FednodeError, Malformed, PeerError
from protocol.limits import WANT_MAX_CIDS
from protocol.release import SignedRelease
from protocol.walk import DagWalk

BATCH_BYTES = 8 * 1024 * 1024
BATCH_BLOCKS = 512
# Wants under way: enough that a far host never waits for us; blocks come one by one, so this bounds no memory.
AHEAD_BLOCKS = 512
# One MiB in this time is 17 KB/s; who is slower only holds up a fetch that another host could serve.
BLOCK_DEADLINE_S = 60.0
PROGRESS_S = 0.25
# Hashing and parsing up to this much takes less than 2 ms; more is done beside the loop.
INLINE_NODE_BYTES = 16 * 1024


class SourceLacks(PeerError):
    """The other side does not have a block that belongs to its own release."""

    code = "missing-block"


class SourceRefuses(PeerError):
    """The other side may not or does not want to give a block, which is its right."""

    code = "source-refuses"


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
    """Completes `hold` from the channel; the caller finishes it. With `report`, Progress is sent along.

    Raises PeerError (bad, missing or late blocks), Refused (policy changed or names a block), OperatorError (store).
    What was written before stays in the hold.
    """
    run = _Pull(context, channel, hold, signed, local, report)
    await run.complete()
    info = await context.in_store(context.store.hold_info, hold)
    return PullResult(info.new_blocks, info.new_bytes)


class _Pull:
    def __init__(
        self,
        context: Context,
        channel: FrameChannel,
        hold: Hold,
        signed: SignedRelease,
        local: bool,
        report: bool,
    ) -> None:
        if signed.release.root is None:
            raise Malformed("an end has no blocks to pull")
        self._context = context
        self._channel = channel
        self._hold = hold
        self._signed = signed
        self._local = local
        self._report = report
        self._walk = DagWalk(signed.release.root, site_only=True)
        self._outstanding: deque[Cid] = deque()
        self._in_flight: set[Cid] = set()
        self._batch: list[tuple[Cid, bytes]] = []
        self._batch_bytes = 0
        self._to_writer, self._from_main = trio.open_memory_channel[list[tuple[Cid, bytes]]](0)
        self._failure: FednodeError | None = None
        self._reported_at_s = trio.current_time()

    async def complete(self) -> None:
        """Receives and writes side by side, so that neither the wire nor the disk waits for the other."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write, nursery.cancel_scope)
            try:
                async with self._to_writer:
                    await self._receive_all()
            except FednodeError as error:
                self._failure = self._failure or error
                nursery.cancel_scope.cancel()
        if self._failure is not None:
            raise self._failure

    async def _receive_all(self) -> None:
        while True:
            await self._plan()
            if self._outstanding:
                await self._receive_block()
            elif self._walk.done:
                break
            else:
                raise Malformed("the walk of the release does not go on")
        await self._hand_over()

    async def _plan(self) -> None:
        """Names blocks until enough are under way; those that are here already are only referenced."""
        while len(self._outstanding) < AHEAD_BLOCKS:
            wanted = self._walk.want(WANT_MAX_CIDS)
            if not wanted:
                return
            named = [cid for cid in wanted if cid not in self._in_flight]
            missing = await self._context.in_store(_link, self._context.store, self._hold, named, self._walk)
            if missing:
                self._check_policy(missing)
                self._outstanding.extend(missing)
                self._in_flight.update(missing)
                await self._channel.send(msg.Want(tuple(missing)))
            await self._tell_progress()

    async def _receive_block(self) -> None:
        cid = self._outstanding[0]
        with trio.move_on_after(BLOCK_DEADLINE_S) as scope:
            message = await self._channel.receive()
        if scope.cancelled_caught:
            raise PeerTimeout(f"a block did not come within {BLOCK_DEADLINE_S:g} s")
        match message:
            case msg.Block(got, data) if got == cid:
                pass
            case msg.Refuse(code, reason):
                raise SourceRefuses(f"block {cid} is refused: {code}, {reason}")
            case msg.Missing() | None:
                raise SourceLacks(f"block {cid} is not there")
            case other:
                raise Malformed(f"expected block {cid}, got {type(other).__name__}")
        self._outstanding.popleft()
        if not DagWalk.is_leaf(cid):
            await self._look_into(cid, data)
        self._batch.append((cid, data))
        self._batch_bytes += len(data)
        if self._batch_bytes >= BATCH_BYTES or len(self._batch) >= BATCH_BLOCKS:
            await self._hand_over()

    async def _look_into(self, cid: Cid, data: bytes) -> None:
        if len(data) <= INLINE_NODE_BYTES:
            _feed(self._walk, cid, data)
        else:
            await trio.to_thread.run_sync(_feed, self._walk, cid, data)

    async def _hand_over(self) -> None:
        """Gives the batch to the writer, waiting while it still writes the one before."""
        if self._batch:
            batch, self._batch, self._batch_bytes = self._batch, [], 0
            await self._to_writer.send(batch)
            await self._tell_progress()

    async def _write(self, scope: trio.CancelScope) -> None:
        try:
            async for batch in self._from_main:
                self._check_policy([cid for cid, _ in batch])
                await self._context.in_store(self._context.store.put_blocks, self._hold, batch)
                self._in_flight.difference_update(cid for cid, _ in batch)
        except FednodeError as error:
            self._failure = error
            scope.cancel()

    def _check_policy(self, cids: list[Cid]) -> None:
        gate = self._context.gate
        verdict = gate.may_host(self._signed, local=self._local)
        if not verdict.allowed:
            raise Refused(verdict)
        for cid in cids:
            verdict = gate.may_store_block(self._signed, cid, local=self._local)
            if verdict.kind == "refuse":
                raise Refused(verdict)

    async def _tell_progress(self) -> None:
        if not self._report or trio.current_time() < self._reported_at_s + PROGRESS_S:
            return
        self._reported_at_s = trio.current_time()
        info = await self._context.in_store(self._context.store.hold_info, self._hold)
        total_bytes = self._signed.release.size_bytes
        await self._channel.send(msg.Progress(min(info.done_bytes, total_bytes), total_bytes, info.new_bytes))


def _feed(walk: DagWalk, cid: Cid, data: bytes) -> None:
    cid.verify(data)
    walk.feed(cid, data)


def _link(store: Store, hold: Hold, cids: list[Cid], walk: DagWalk) -> list[Cid]:
    """References what is here, and goes on with the walk where inner nodes are; returns what is missing."""
    missing = store.link_blocks(hold, cids)
    lacking = set(missing)
    for cid in cids:
        if cid in lacking or DagWalk.is_leaf(cid):
            continue
        try:
            block = store.get_block(cid)
        except (BlockMissing, BlockCorrupt):
            missing.append(cid)
        else:
            walk.feed(cid, block)
    return missing
