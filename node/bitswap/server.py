"""Answers the wantlists of IPFS clients, each peer in its turn (docs/spec/bitswap.md, sections 2 and 3)."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import trio

from node.bitswap.blocks import Blocks
from node.bitswap.client import BitswapClient
from node.bitswap.queue import QUEUE_MAX, WantQueue
from node.bitswap.wire import message_begins, receive_rest
from node.net.port import PeerId, Stream
from node.replication.context import OPEN_DEADLINE_S, Context
from protocol import bitswap
from protocol.bitswap import BITSWAP_1_0, BITSWAP_1_2, Want
from protocol.cid import Cid
from protocol.errors import PeerError
from protocol.limits import BITSWAP_MESSAGE_MAX_BYTES, FOREIGN_BLOCK_MAX_BYTES, MIB

log = logging.getLogger(__name__)
T = TypeVar("T")

# A message that only wants: 16,384 entries with sha2-512 CIDs fit. Blocks that nobody asked for do not.
REQUEST_MAX_BYTES = 2 * MIB
IDLE_S = 3600.0  # clients keep their stream open between fetches, and lose what they write on one that has ended
# Kubo sends each message on a stream of its own, and what is reset is lost: of a peer that is asked for blocks.
ASKED_STREAMS_MAX = 64
STREAMS_MAX = 8  # of one peer: few enough that all peers together stay below NetLimits.streams
MESSAGE_S = 60.0
LINGER_S = 10.0  # an answering stream is kept for the next answer
SLOW_S = 5.0
TURNS = 16
MESSAGES_PER_TURN = 2  # while others wait for a turn
LONG_TURN = 16
# Enough to keep a stream busy while the next is read; less would wait for the disk, more for the peer.
_ENOUGH_BYTES = 512 * 1024
_BLOCKS_PER_MESSAGE = 128
_PRESENCES_PER_MESSAGE = 256
_WANTS_AT_ONCE = 256
# CIDs of all of these and their framing take the rest.
_BLOCKS_MAX_BYTES = FOREIGN_BLOCK_MAX_BYTES


class PeerGaveUp(PeerError):
    """Answers cannot be brought to the peer any more."""

    code = "peer-gave-up"


@dataclass(slots=True)
class _Peer:
    """A peer that has a stream open to us, or something to get. `lost`: its answers could not be sent."""

    id: PeerId
    protocol: str
    queue: WantQueue = field(default_factory=WantQueue)
    reading: trio.Lock = field(default_factory=trio.Lock)
    streams: dict[Stream, trio.CancelScope] = field(default_factory=dict)
    lost: bool = False
    is_slow: bool = False


@dataclass(slots=True)
class _Answer:
    """One message to be. blocks: CID, data, and whether a peer that does not get it is to be told."""

    presences: list[tuple[Cid, bool]]
    blocks: list[tuple[Cid, bytes, bool]] = field(default_factory=list, repr=False)


class BitswapServer:
    """`run` must run; `serve` is the handler of each protocol in `bitswap.PROTOCOLS`."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._blocks = Blocks(context)
        self._peers: dict[PeerId, _Peer] = {}
        self._nursery: trio.Nursery | None = None
        self._turns = trio.CapacityLimiter(TURNS)
        self._slow_turns = trio.CapacityLimiter(TURNS)
        self.client = BitswapClient(context)
        """Fetches what this node wants; its answers come on the same protocols."""
        self.refused_blocks = 0
        """Wanted, and not given: not here, or not allowed."""
        self.sent_blocks = 0
        self.sent_bytes = 0

    @property
    def peers(self) -> int:
        """Peers that have a stream open to us, or something to get."""
        return len(self._peers)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for protocol in bitswap.PROTOCOLS:
                self._context.network.serve(protocol, self.serve)
            task_status.started()
            await self.client.run()

    async def serve(self, stream: Stream) -> None:
        """Handles one inbound stream; faults of the peer are counted and end this stream."""
        if self._context.standing.shunned(trio.current_time(), stream.peer):
            stream.reset()
            return
        peer = self._enter(stream)
        if len(peer.streams) >= (ASKED_STREAMS_MAX if self.client.expects(peer.id) else STREAMS_MAX):
            stream.reset()
            return
        scope = peer.streams[stream] = trio.CancelScope()
        try:
            with scope:
                while (first := await message_begins(stream, idle_s=IDLE_S)) is not None:
                    await self._take(peer, await self._receive(peer, stream, first))
        except (trio.TooSlowError, PeerGaveUp):
            stream.reset()
        except PeerError as error:
            log.info("peer %s: bitswap: %s (%s)", peer.id, error, error.code)
            self._context.standing.count(trio.current_time(), peer.id, error.code)
            self.client.drop(peer.id)
            stream.reset()
        finally:
            del peer.streams[stream]
            peer.queue.wake()
        if scope.cancelled_caught:
            stream.reset()

    def _enter(self, stream: Stream) -> _Peer:
        peer = self._peers.get(stream.peer)
        if peer is None:
            peer = self._peers[stream.peer] = _Peer(stream.peer, stream.protocol)
            if self._nursery is not None:
                self._nursery.start_soon(self._answer, peer)
        peer.protocol = stream.protocol
        return peer

    async def _receive(self, peer: _Peer, stream: Stream, first: int) -> bitswap.Message:
        """What this node asked for is handed on. A peer has one message in memory at a time, whatever its streams."""
        async with peer.reading:
            max_bytes = BITSWAP_MESSAGE_MAX_BYTES if self.client.expects(peer.id) else REQUEST_MAX_BYTES
            message = await receive_rest(stream, first, max_bytes=max_bytes, message_s=MESSAGE_S)
            await self.client.take(peer.id, message)
        return message

    # What is wanted

    async def _take(self, peer: _Peer, message: bitswap.Message) -> None:
        if message.full:
            peer.queue.clear()
        for wants in _batches(message.wants, _WANTS_AT_ONCE):
            while len(peer.queue) + len(wants) > QUEUE_MAX and not peer.lost:
                await peer.queue.changed()
            # Blocks whose turn comes soon are looked up when they are read, not twice: a thread costs a millisecond.
            soon = len(peer.queue) < _BLOCKS_PER_MESSAGE
            asked = [want.cid for want in wants if not want.cancel and (want.have or not soon)]
            here = await self._blocks.here(asked) if asked else set()
            if peer.lost:
                raise PeerGaveUp("answers could not be sent")
            for want in wants:
                is_here = want.cid in here or (soon and not want.have)
                self.refused_blocks += not (want.cancel or want.have or is_here)
                _enqueue(peer.queue, want, is_here=is_here)

    # Answers

    async def _answer(self, peer: _Peer) -> None:
        """Root of the task that sends to one peer; ends when the peer has left and has got everything."""
        try:
            await self._send_until_gone(peer)
        except (PeerError, trio.BrokenResourceError, trio.TooSlowError) as error:
            log.debug("bitswap answers to %s: %s", peer.id, error)
        except Exception:
            log.exception("bitswap answers to %s failed", peer.id)
        finally:
            peer.lost = True
            peer.queue.clear()
            for scope in peer.streams.values():  # a client whose stream is reset asks again
                scope.cancel()
            if self._peers.get(peer.id) is peer:
                del self._peers[peer.id]

    async def _send_until_gone(self, peer: _Peer) -> None:
        while True:
            while not peer.queue:
                if not peer.streams:
                    return
                await peer.queue.changed()
            # A peer that has left is not dialled to be given blocks.
            open_stream = self._context.network.open
            stream = await open_stream(peer.id, peer.protocol, deadline_s=OPEN_DEADLINE_S, dial=False)
            async with stream:
                while peer.queue:
                    await self._take_turn(peer, stream)
                    if not peer.queue:
                        with trio.move_on_after(LINGER_S):
                            await peer.queue.changed()

    async def _take_turn(self, peer: _Peer, stream: Stream) -> None:
        """Some messages, each read from disk while the one before it is on its way."""
        turns = self._slow_turns if peer.is_slow else self._turns
        async with turns:
            answer: _Answer | None = await self._next_answer(peer)
            for count in range(1, LONG_TURN + 1):
                if answer is None:
                    return
                more = count < (MESSAGES_PER_TURN if turns.statistics().tasks_waiting else LONG_TURN)
                began_s = trio.current_time()
                answer = await self._send_and_read(peer, stream, answer, more=more)
                peer.is_slow = trio.current_time() - began_s > SLOW_S / MESSAGES_PER_TURN

    async def _send_and_read(self, peer: _Peer, stream: Stream, answer: _Answer, *, more: bool) -> _Answer | None:
        """Sends a message, and reads the next one if there is to be one."""
        policy = self._context.gate.policy
        following: _Answer | None = None
        lost: list[trio.BrokenResourceError] = []
        with trio.fail_after(MESSAGE_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send, stream, answer, lost)
                if more and peer.queue:
                    following = await self._next_answer(peer)
        if lost:
            raise lost[0]
        if following is not None and policy is not self._context.gate.policy:
            await self._ask_again(following)
        return following

    async def _next_answer(self, peer: _Peer) -> _Answer:
        """Presences that wait, then as many blocks as make a message."""
        answer = _Answer(peer.queue.take_presences(_PRESENCES_PER_MESSAGE))
        wanted = peer.queue.next_blocks(_BLOCKS_PER_MESSAGE)
        if wanted:
            for cid, data in await self._blocks.read(wanted, enough_bytes=_ENOUGH_BYTES, max_bytes=_BLOCKS_MAX_BYTES):
                send_dont_have = peer.queue.take_block(cid)
                if send_dont_have is None:
                    continue
                if data is not None:
                    answer.blocks.append((cid, data, send_dont_have))
                    continue
                self.refused_blocks += 1
                if send_dont_have:
                    answer.presences.append((cid, False))
        return answer

    async def _ask_again(self, answer: _Answer) -> None:
        """The policy is another one than when the blocks were read."""
        allowed = await self._blocks.here([cid for cid, _, _ in answer.blocks])
        answer.presences += [(cid, False) for cid, _, tell in answer.blocks if tell and cid not in allowed]
        answer.blocks = [block for block in answer.blocks if block[0] in allowed]

    async def _send(self, stream: Stream, answer: _Answer, lost: list[trio.BrokenResourceError]) -> None:
        """What breaks is put into `lost`: a nursery would wrap it."""
        body = _encode(stream.protocol, [(cid, data) for cid, data, _ in answer.blocks], answer.presences)
        try:
            if body:
                await stream.send_all(body)
        except trio.BrokenResourceError as error:
            lost.append(error)
            return
        self.sent_blocks += len(answer.blocks)
        self.sent_bytes += sum(len(data) for _, data, _ in answer.blocks)


def _enqueue(queue: WantQueue, want: Want, *, is_here: bool) -> None:
    if want.cancel:
        queue.cancel(want.cid)
    elif is_here and not want.have:
        queue.add_block(want.cid, send_dont_have=want.send_dont_have)
    elif is_here or want.send_dont_have:
        queue.add_presence(want.cid, have=is_here)


def _encode(protocol: str, blocks: list[tuple[Cid, bytes]], presences: list[tuple[Cid, bool]]) -> bytes:
    """With its length before it; nothing if there is nothing to say."""
    if protocol == BITSWAP_1_0:
        old = [data for cid, data in blocks if cid.version == 0]
        return bitswap.framed(bitswap.encode_v0(old)) if old else b""
    told = tuple(presences) if protocol == BITSWAP_1_2 else ()
    return bitswap.encode_framed(bitswap.Message(blocks=tuple(blocks), presences=told))


def _batches(items: Sequence[T], count: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), count):
        yield items[start : start + count]
