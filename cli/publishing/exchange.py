"""One publish to one node: the publisher's side of /fednode/publish/1 (docs/spec/sync.md).

The publisher offers a release; the node answers with Have or Refuse, or wants blocks first. One task reads all the
time and another sends, so that neither side waits for the other while both send. Blocks are read from the source in
small groups in a thread; at most READ_AHEAD_BYTES and one block are in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import trio

from cli.publishing.source import BlockSource
from node.net.channel import FrameChannel
from protocol import messages as msg
from protocol.cid import Cid
from protocol.errors import Malformed, PeerError
from protocol.release import SignedRelease

# A node that syncs gigabytes to a slow disk says nothing for a while; one that is gone never comes back.
IDLE_S = 120.0
WRITE_S = 60.0
# After sending has failed, the node's reason for it may still be on its way.
LAST_WORD_S = 5.0
READ_AHEAD_BYTES = 2 * 1024 * 1024
BLOCKS_AT_ONCE = 64
WANTS_WAITING = 16

State = Literal["accepted", "already", "refused", "failed"]


@dataclass(frozen=True, slots=True)
class NodeResult:
    """How one node took a release. `code` and `reason` say why it refused or what failed; counts are what was new."""

    node: str
    state: State
    code: str = ""
    reason: str = ""
    new_blocks: int = 0
    new_bytes: int = 0

    @property
    def ok(self) -> bool:
        return self.state in ("accepted", "already")


class Watcher(Protocol):
    """Is told how a publish to one node goes."""

    def sent(self, count_bytes: int) -> None:
        """So many more bytes of blocks were sent."""

    def node_has(self, done_bytes: int, total_bytes: int) -> None:
        """The node's own word on how far it is."""


async def offer(
    stream: trio.abc.HalfCloseableStream,
    signed: SignedRelease,
    source: BlockSource | None,
    watcher: Watcher,
    secret: bytes | None = None,
) -> msg.Have | msg.Refuse:
    """Hand a release to a node; secret: of its operator's invitation.

    PeerError if that breaks off; errors of the source are raised as they are.
    """
    async with FrameChannel(stream, idle_s=IDLE_S, write_s=WRITE_S) as channel:
        if secret is not None:
            await channel.send(msg.Invited(secret))
        await channel.send(msg.Offer(signed))
        exchange = _Exchange(channel, signed, source, watcher)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(exchange.send, nursery.cancel_scope)
            nursery.start_soon(exchange.listen, nursery.cancel_scope)
        return exchange.outcome()


class _Exchange:
    """Two tasks that share an outcome; neither raises, so that no group of errors comes out of their nursery."""

    def __init__(
        self, channel: FrameChannel, signed: SignedRelease, source: BlockSource | None, watcher: Watcher
    ) -> None:
        self._channel = channel
        self._signed = signed
        self._source = source
        self._watcher = watcher
        self._wants, self._wanted = trio.open_memory_channel[tuple[Cid, ...]](WANTS_WAITING)
        self._answer: msg.Have | msg.Refuse | None = None
        self._error: Exception | None = None

    def outcome(self) -> msg.Have | msg.Refuse:
        """What the node said; its last word goes before a connection that it then closed."""
        if self._answer is not None:
            return self._answer
        if self._error is not None:
            raise self._error
        raise Malformed("the node ended the exchange without a word")

    async def listen(self, scope: trio.CancelScope) -> None:
        try:
            self._answer = await self._listen()
        except Exception as error:  # noqa: BLE001 - a task's root; outcome() raises it
            self._error = self._error or error
        scope.cancel()

    async def _listen(self) -> msg.Have | msg.Refuse:
        while True:
            match await self._channel.receive():
                case msg.Want(cids):
                    await self._wants.send(cids)
                case msg.Progress(done_bytes, total_bytes, _):
                    self._watcher.node_has(done_bytes, total_bytes)
                case msg.Have() as have:
                    if (have.site, have.seq) != (self._signed.site, self._signed.seq):
                        raise Malformed("the node confirms another release than it was offered")
                    return have
                case msg.Refuse() as refusal:
                    return refusal
                case None:
                    raise Malformed("the node ended the exchange without a word")
                case other:
                    raise Malformed(f"{type(other).__name__} has no place in a publish")

    async def send(self, scope: trio.CancelScope) -> None:
        try:
            async for cids in self._wanted:
                await self._send_blocks(list(cids))
        except PeerError as error:
            self._error = error
            scope.deadline = trio.current_time() + LAST_WORD_S
        except Exception as error:  # noqa: BLE001 - a task's root; outcome() raises it
            self._error = error
            scope.cancel()

    async def _send_blocks(self, cids: list[Cid]) -> None:
        while cids:
            answers = await trio.to_thread.run_sync(_read_some, self._source, cids)
            for answer in answers:
                await self._channel.send(answer)
                if isinstance(answer, msg.Block):
                    self._watcher.sent(len(answer.data))
            del cids[: len(answers)]


def _read_some(source: BlockSource | None, cids: list[Cid]) -> list[msg.Block | msg.Missing]:
    """Answers for the first of `cids`: at least one, and about READ_AHEAD_BYTES at most."""
    answers: list[msg.Block | msg.Missing] = []
    size_bytes = 0
    for cid in cids[:BLOCKS_AT_ONCE]:
        data = source.get(cid) if source is not None else None
        answers.append(msg.Missing(cid) if data is None else msg.Block(cid, data))
        size_bytes += len(data or b"")
        if size_bytes >= READ_AHEAD_BYTES:
            break
    return answers
