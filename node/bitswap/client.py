"""Fetches blocks from IPFS peers by bitswap 1.2 (docs/spec/bitswap.md, section 4).

A fetch holds no more than what its reader has not taken yet: while it is slow, no more is read from peers.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import trio

from node.bitswap.wants import MISSES_MAX, WANTED_MAX, Wants, batches_of
from node.net.port import PeerDisconnected, PeerId, Stream
from node.replication.context import OPEN_DEADLINE_S, Context
from protocol import bitswap
from protocol.bitswap import BITSWAP_1_2, Message, Want
from protocol.cid import Cid
from protocol.errors import FednodeError, OperatorError, OverLimit, PeerError

FETCHES_MAX = 4
TICK_S = 1.0
LATE_S = 60.0
"""So long after a fetch has ended, blocks may come that were asked for by it."""
_SEND_S = 30.0
_WANTS_PER_MESSAGE = 512

Blocks = list[tuple[Cid, bytes]]

log = logging.getLogger(__name__)


class TooManyFetches(OperatorError):
    """As many imports as this node makes at a time are under way."""

    code = "busy"


class UnwantedBlock(PeerError):
    """A peer sent a block that nobody asked it for."""

    code = "unwanted-block"


class Fetch:
    """One tree being fetched. `want` blocks, `add_peer` whoever may have them, and `receive` what comes."""

    def __init__(self, context: Context, root: Cid, nursery: trio.Nursery, *, for_readers: bool) -> None:
        self.for_readers = for_readers
        self._context = context
        self._wants = Wants(root)
        self._nursery = nursery
        self._changed = trio.Event()
        self._sender, self._receiver = trio.open_memory_channel[Blocks](0)
        self._delivering = trio.Lock()
        self._lost: dict[PeerId, int] = {}
        self.received_blocks = 0
        self.received_bytes = 0

    @property
    def room(self) -> int:
        """How many more blocks may be wanted now."""
        return max(0, WANTED_MAX - len(self._wants))

    @property
    def useful_peers(self) -> int:
        return self._wants.useful_peers

    @property
    def waits_for_probes(self) -> bool:
        return self._wants.waits_for_probes

    def knows(self, peer: PeerId) -> bool:
        return peer in self._wants.peers

    def want(self, cids: Iterable[Cid]) -> None:
        """Raises OverLimit beyond `room`."""
        self._wants.add(cids)
        if len(self._wants) > WANTED_MAX:
            raise OverLimit(f"more than {WANTED_MAX} blocks are wanted at a time")
        self._wake()

    def forget(self, cids: Iterable[Cid]) -> None:
        """Blocks that nobody waits for any more."""
        self._wants.forget(cids)
        self._wake()

    def add_peer(self, peer: PeerId) -> None:
        """Asks the peer whether it has the root, and for blocks if it has; one that was lost too often is left out."""
        if self._lost.get(peer, 0) < MISSES_MAX and self._wants.add_peer(trio.current_time(), peer):
            self._nursery.start_soon(self._talk, peer)

    def stuck(self, limit: int) -> list[Cid]:
        """Wanted blocks that no peer of this fetch has."""
        return self._wants.stuck(limit)

    async def receive(self) -> Blocks:
        """The next blocks that came, each verified against its CID."""
        return await self._receiver.receive()

    async def take(self, peer: PeerId, message: Message) -> set[Cid]:
        """What a peer sent; waits until the reader took it. Returns the blocks that were not asked for."""
        now_s = trio.current_time()
        came: Blocks = []
        strange: set[Cid] = set()
        for cid, data in message.blocks:
            try:
                wanted = self._wants.take_block(now_s, peer, cid)
            except LookupError:
                strange.add(cid)
            else:
                if wanted is not None:
                    came.append((wanted, data))
        for cid, have in message.presences:
            self._wants.take_presence(peer, cid, have=have)
        self._wake()
        if came:
            self.received_blocks += len(came)
            self.received_bytes += sum(len(data) for _, data in came)
            self._context.network.note_useful(peer)
            await self._deliver(came)
            self._wants.delay(trio.current_time() - now_s)
        return strange

    async def _deliver(self, came: Blocks) -> None:
        try:
            async with self._delivering:
                await self._sender.send(came)
        except trio.BrokenResourceError:
            return  # the fetch has ended
        except trio.Cancelled:  # only the stream on which they came has
            self._wants.add(cid for cid, _ in came)
            self._wake()
            raise

    def close(self) -> None:
        """Nobody waits for blocks any more."""
        self._receiver.close()

    def drop_peer(self, peer: PeerId) -> None:
        """The peer is asked for nothing any more."""
        self._wants.drop_peer(peer)
        self._wake()

    def reconnect(self, peer: PeerId) -> None:
        """The connection was lost: it is made anew, a few times."""
        if self.knows(peer):
            self._lost[peer] = self._lost.get(peer, 0) + 1
            self._wants.drop_peer(peer)
            self._nursery.start_soon(self._come_back, peer)
            self._wake()

    async def _come_back(self, peer: PeerId) -> None:
        await trio.sleep(TICK_S)
        self.add_peer(peer)

    async def watch(self) -> None:
        """Gives up on what is late, until cancelled."""
        while True:
            await trio.sleep(TICK_S)
            if not self._delivering.locked():
                for peer in self._wants.expire(trio.current_time()):
                    log.info("bitswap: %s is too slow, it is asked for nothing any more", peer)
                    self._lost[peer] = MISSES_MAX
                    self._wants.drop_peer(peer)
            self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def _talk(self, peer: PeerId) -> None:
        """Root of the task that tells one peer what is wanted, until it is dropped."""
        stream: Stream | None = None
        try:
            while self.knows(peer):
                changed = self._changed
                wants = self._wants.next_wants(trio.current_time(), peer)
                if not wants:
                    await changed.wait()
                    continue
                try:
                    stream = await self._say(peer, stream, wants)
                except trio.BrokenResourceError:  # it closed a stream that was idle
                    stream = await self._say(peer, None, self._wants.outstanding(peer))
        except (PeerError, trio.BrokenResourceError, trio.TooSlowError) as error:
            log.info("bitswap: %s cannot be asked: %s", peer, error)
            self._context.standing.count(trio.current_time(), peer, getattr(error, "code", "peer-gone"))
            self.drop_peer(peer)
        except Exception:
            log.exception("bitswap: asking %s failed", peer)
            self.drop_peer(peer)
        finally:
            if stream is not None:
                with trio.move_on_after(_SEND_S / 10, shield=True):
                    await self._end(peer, stream)

    async def _say(self, peer: PeerId, stream: Stream | None, wants: list[Want]) -> Stream:
        if stream is None:
            stream = await self._context.network.open(peer, BITSWAP_1_2, deadline_s=OPEN_DEADLINE_S)
        try:
            with trio.fail_after(_SEND_S):
                for batch in batches_of(wants, _WANTS_PER_MESSAGE):
                    await stream.send_all(bitswap.framed(bitswap.encode(Message(batch))))
        except BaseException:
            stream.reset()
            raise
        return stream

    async def _end(self, peer: PeerId, stream: Stream) -> None:
        """Takes back what the peer would still send."""
        open_wants = self._wants.outstanding(peer) if self.knows(peer) else []
        cancels = tuple(Want(want.cid, cancel=True) for want in open_wants)
        try:
            if cancels:
                await stream.send_all(bitswap.framed(bitswap.encode(Message(cancels))))
        except trio.BrokenResourceError:
            return
        finally:
            await stream.aclose()


class BitswapClient:
    """The fetches that are under way. `run` must run."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._fetches: list[Fetch] = []
        self._ended_s = -LATE_S
        self.received_blocks = 0
        self.received_bytes = 0

    @property
    def fetches(self) -> int:
        return len(self._fetches)

    def expects(self, peer: PeerId) -> bool:
        """Whether blocks may come from this peer."""
        return any(fetch.knows(peer) for fetch in self._fetches)

    async def run(self) -> None:
        """Until cancelled."""
        async with self._context.network.events() as events:
            async for event in events:
                if isinstance(event, PeerDisconnected):
                    for fetch in self._fetches:
                        fetch.reconnect(event.peer)

    @asynccontextmanager
    async def fetch(self, root: Cid, *, for_readers: bool = False) -> AsyncIterator[Fetch]:
        """A fetch of the tree under `root`; it ends with the block. Raises TooManyFetches, but not for readers."""
        if not for_readers and sum(not each.for_readers for each in self._fetches) >= FETCHES_MAX:
            raise TooManyFetches(
                f"{FETCHES_MAX} imports from the network are under way", hint="wait until one has ended"
            )
        failure: FednodeError | None = None
        async with trio.open_nursery() as nursery:
            found = Fetch(self._context, root, nursery, for_readers=for_readers)
            self._fetches.append(found)
            nursery.start_soon(found.watch)
            try:
                yield found
            except FednodeError as error:  # a nursery would wrap it
                failure = error
            finally:
                self._fetches.remove(found)
                self._ended_s = trio.current_time()
                found.close()
                nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def take(self, peer: PeerId, message: Message) -> None:
        """Blocks and presences from a peer. Raises UnwantedBlock; the peer is then asked for nothing any more."""
        if not (message.blocks or message.presences):
            return
        asking = [fetch for fetch in self._fetches if fetch.knows(peer)]
        strange = {cid for cid, _ in message.blocks}
        for fetch in asking:
            strange &= await fetch.take(peer, message) if fetch.knows(peer) else strange
        if asking:
            self.received_blocks += len(message.blocks) - len(strange)
            self.received_bytes += sum(len(data) for cid, data in message.blocks if cid not in strange)
            if strange and trio.current_time() - self._ended_s > LATE_S:
                raise UnwantedBlock(f"{len(strange)} blocks that it was not asked for")

    def drop(self, peer: PeerId) -> None:
        """The peer broke the rules: no fetch asks it for anything any more."""
        for fetch in self._fetches:
            fetch.drop_peer(peer)
