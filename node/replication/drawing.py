"""Drawing blocks from several sources at a time: one task for each, with what it is asked for in an Assignment."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from node.net.channel import FrameChannel, PeerTimeout
from node.replication.assignment import Assignment, Source
from protocol import messages as msg
from protocol.cid import Cid
from protocol.errors import Malformed, PeerError

# One MiB in this time is 17 KB/s; who is slower only holds up a fetch that another host could serve.
BLOCK_DEADLINE_S = 60.0
# While others send, who is silent for so long only takes up a place.
STALL_S = 20.0
# How often idle sources look whether there is something to take over from others.
LOOK_S = 0.25
# A host that has lost more of its release than this is none.
LACKS_MAX = 32


class SourceLacks(PeerError):
    """The other side does not have a block that belongs to its own release."""

    code = "missing-block"


class SourceRefuses(PeerError):
    """The other side may not or does not want to give a block, which is its right."""

    code = "source-refuses"


@dataclass(slots=True)
class Sent:
    """What one source sent, copies included, and how long it kept us waiting for it."""

    sent_bytes: int = 0
    waited_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """A block as a source sent it, not looked at yet."""

    cid: Cid
    data: bytes
    source: Source


class Drawing(ABC):
    """What a pull and the fetches for readers have in common. `draw` is the life of one source."""

    def __init__(self) -> None:
        self.assignment = Assignment()
        self.came_bytes = 0
        """All that came, copies included."""
        self.sent: dict[Source, Sent] = {}
        self.on_bad: Callable[[Source, PeerError], None] | None = None
        """What to do with a source when one of its blocks turns out to be wrong, after the fact."""
        self.tell: Callable[[FrameChannel], Awaitable[None]] | None = None
        """Called after each answer, to tell the source how far we are."""
        self._waiting: dict[Source, tuple[trio.CancelScope, float]] = {}
        """For whose answers, and since when."""
        self._changed = trio.Event()

    async def draw(self, source: Source, channel: FrameChannel) -> None:
        """Takes from one source until cancelled. Raises PeerError: the source is of no use; what came counts.

        One task only may use the channel.
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
                    await self._on_stuck(refusal)
                else:
                    await self._pause()
                if self.tell is not None:
                    await self.tell(channel)
        finally:
            self._waiting.pop(source, None)
            self.assignment.leave(source)
            self._wake()

    @abstractmethod
    async def _name_more(self) -> None:
        """Called before a source is asked: adds to the assignment what is to be had."""

    @abstractmethod
    async def _take(self, arrival: Arrival) -> None:
        """A block came; says so to the assignment. Raises PeerError when the source is to blame."""

    async def _on_stuck(self, refusal: PeerError) -> None:
        """No source that is there has what is missing."""
        raise refusal

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
                await self._take(Arrival(got, data, source))
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

    async def _pause(self) -> None:
        """Until there may be something to do for a source that has nothing to do."""
        with trio.move_on_after(LOOK_S):
            await self._changed.wait()

    def _hurry_silent_sources(self) -> None:
        """To be called now and then: beside others, a silent source has less time."""
        if self.assignment.has_several:
            for scope, asked_s in self._waiting.values():
                scope.deadline = min(scope.deadline, asked_s + STALL_S)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
