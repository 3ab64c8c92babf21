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

from node.net.channel import FrameChannel, PeerTimeout
from node.replication.assignment import Assignment, Source
from node.replication.context import Context
from node.replication.gate import Refused
from node.store.errors import BlockCorrupt, BlockMissing
from node.store.port import Hold, Store
from protocol import messages as msg
from protocol.cid import Cid
from protocol.errors import FednodeError, HashMismatch, Malformed, PeerError
from protocol.limits import WANT_MAX_CIDS
from protocol.release import SignedRelease
from protocol.walk import DagWalk

BATCH_BYTES = 8 * 1024 * 1024
BATCH_BLOCKS = 512
# What came is written after so long even if it is little: a crash costs no more than that.
BATCH_AGE_S = 2.0
# One MiB in this time is 17 KB/s; who is slower only holds up a fetch that another host could serve.
BLOCK_DEADLINE_S = 60.0
# While others send, who is silent for so long only takes up a place.
STALL_S = 20.0
# How often idle sources look whether there is something to take over from others.
LOOK_S = 0.25
PROGRESS_S = 0.25
# A host that has lost more of its release than this is none.
LACKS_MAX = 32
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


@dataclass(slots=True)
class Sent:
    """What one source sent, copies included, and how long it kept us waiting for it."""

    sent_bytes: int = 0
    waited_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Arrival:
    cid: Cid
    data: bytes
    source: Source


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
    return await run.complete(lambda: run.draw("publisher", channel, report=report))


class Pull:
    """One hold that is being completed. `complete` runs it; `draw` is the life of one source."""

    def __init__(self, context: Context, hold: Hold, signed: SignedRelease, *, local: bool = False) -> None:
        if signed.release.root is None:
            raise Malformed("an end has no blocks to pull")
        self.assignment = Assignment()
        self.came_bytes = 0
        """All that came, copies included."""
        self.sent: dict[Source, Sent] = {}
        self.on_bad: Callable[[Source, PeerError], None] | None = None
        """What to do with a source when one of its blocks turns out to be wrong; None: end the pull."""
        self._context = context
        self._hold = hold
        self._signed = signed
        self._local = local
        self._walk = DagWalk(signed.release.root, site_only=True)
        self._walking = trio.Lock()
        self._in_flight: set[Cid] = set()
        """Named, and not yet written or found to be here."""
        self._batch: list[_Arrival] = []
        self._batch_bytes = 0
        self._batch_since_s = 0.0
        self._handing_over = trio.Lock()
        self._to_writer, self._from_sources = trio.open_memory_channel[list[_Arrival]](0)
        self._waiting: dict[Source, tuple[trio.CancelScope, float]] = {}
        """For whose answers, and since when."""
        self._changed = trio.Event()
        self._scope = trio.CancelScope()
        self._failure: FednodeError | None = None
        self._complete = False
        self._reported_at_s = trio.current_time()

    async def complete(self, sources: Callable[[], Awaitable[None]]) -> PullResult:
        """Runs `sources`, which draw, beside the writer, so that neither the wire nor the disk waits for the other.

        Raises what they raise when they give up before all is here, and as `pull`.
        """
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                async with self._to_writer:
                    await self._receive_all(sources)
        if self._failure is not None and not self._complete:
            raise self._failure
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

    async def draw(self, source: Source, channel: FrameChannel, *, report: bool = False) -> None:
        """Takes from one source until all is here. Raises PeerError: the source is of no use; what came counts.

        One task only may use the channel. With `report`, Progress is sent along.
        """
        self.assignment.join(source, trio.current_time())
        self.sent[source] = Sent()
        refusal: PeerError = SourceLacks("the source has nothing of what is missing")
        try:
            while True:
                await self._name_more()
                wanted = self.assignment.ask(source, trio.current_time())
                if wanted:
                    await channel.send(msg.Want(tuple(wanted)))
                if self.assignment.expects(source) is not None:
                    refusal = await self._receive(source, channel) or refusal
                elif self.assignment.stuck:
                    raise refusal
                else:
                    await self._pause()
                if report:
                    await self._tell_progress(channel)
        finally:
            self._waiting.pop(source, None)
            self.assignment.leave(source)
            self._wake()

    async def _name_more(self) -> None:
        """Names blocks until enough are known to be missing; those that are here already are only referenced."""
        if not self.assignment.wants_more:
            return
        async with self._walking:
            while self.assignment.wants_more and (wanted := self._walk.want(WANT_MAX_CIDS)):
                named = [cid for cid in wanted if cid not in self._in_flight]
                self._in_flight.update(named)
                try:
                    missing = await self._context.in_store(_link, self._context.store, self._hold, named, self._walk)
                    self._check_policy(named)  # of those that are here already, too
                except FednodeError as error:
                    await self._fail(error)
                self._in_flight.difference_update(set(named).difference(missing))
                self.assignment.add(missing)
                self._wake()
        self._look_whether_complete()

    async def _receive(self, source: Source, channel: FrameChannel) -> PeerError | None:
        """Takes the answer for one block; returns why it was not given, if it was not."""
        cid = self.assignment.expects(source)
        asked_s = trio.current_time()
        with trio.move_on_after(BLOCK_DEADLINE_S) as scope:
            self._waiting[source] = scope, asked_s
            message = await channel.receive()
        del self._waiting[source]
        if scope.cancelled_caught:
            raise PeerTimeout(f"a block did not come within {trio.current_time() - asked_s:.0f} s")
        match message:
            case msg.Block(got, data) if got == cid:
                self.came_bytes += len(data)
                self.sent[source].sent_bytes += len(data)
                self.sent[source].waited_s += trio.current_time() - asked_s
                await self._take(_Arrival(got, data, source))
                return None
            case msg.Missing(got) if got == cid:
                refusal: PeerError = SourceLacks(f"block {cid} is not there")
            case msg.Refuse(code, reason, subject):
                refusal = SourceRefuses(f"block {cid} is refused: {code}, {reason}")
                if code == "not-found" or subject != cid:
                    raise refusal
            case None:
                raise SourceLacks(f"the source ended before block {cid}")
            case other:
                raise Malformed(f"expected block {cid}, got {type(other).__name__}")
        if self.assignment.lacks(source, trio.current_time()) > LACKS_MAX:
            raise refusal
        self._wake()
        return refusal

    async def _take(self, arrival: _Arrival) -> None:
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

    async def _look_into(self, arrival: _Arrival) -> None:
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
            if self.assignment.has_several:
                for scope, asked_s in self._waiting.values():
                    scope.deadline = min(scope.deadline, asked_s + STALL_S)
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

    async def _put(self, batch: list[_Arrival]) -> None:
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

    def _refuse(self, arrival: _Arrival) -> None:
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
        """Until there may be something to do for a source that has nothing to do."""
        if self.assignment.idle and self._walk.done:
            await self._hand_over()
        with trio.move_on_after(LOOK_S):
            await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

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

    async def _tell_progress(self, channel: FrameChannel) -> None:
        if trio.current_time() < self._reported_at_s + PROGRESS_S:
            return
        self._reported_at_s = trio.current_time()
        info = await self._context.in_store(self._context.store.hold_info, self._hold)
        total_bytes = self._signed.release.size_bytes
        await channel.send(msg.Progress(min(info.done_bytes, total_bytes), total_bytes, info.new_bytes))


def _bad_ones(batch: list[_Arrival]) -> list[_Arrival]:
    bad = []
    for arrival in batch:
        try:
            arrival.cid.verify(arrival.data)
        except HashMismatch:
            bad.append(arrival)
    return bad


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
