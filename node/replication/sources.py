"""The hosts that a drawing draws from: who is asked next, and what becomes of those who do it badly."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

import trio

from node.core.inputs import Unreached
from node.net.channel import FrameChannel
from node.net.port import PeerId, PeerUnreachable
from node.replication.context import IDLE_S, OPEN_DEADLINE_S, Context
from node.replication.drawing import Drawing, SourceRefuses
from protocol import messages as msg
from protocol.errors import PeerError
from protocol.messages import SYNC_PROTOCOL
from protocol.release import SignedRelease

Hosts = Callable[[], Iterable[PeerId]]
"""Who may have the release, as far as is known at the moment."""

# Streams at a time; each holds one block in memory, and more of them would only share the same line.
SOURCES_MAX = 4
# A source that keeps us waiting for so long gets help from another.
PATIENCE_S = 1.0
LOOK_S = 0.25

log = logging.getLogger(__name__)


class Sources:
    """The sources of one drawing: a few streams at a time, fastest hosts first, each host tried once."""

    def __init__(
        self,
        context: Context,
        run: Drawing,
        signed: SignedRelease,
        hosts: Hosts,
        *,
        first: PeerId | None = None,
        patience_s: float = PATIENCE_S,
        look: Callable[[], None] = lambda: None,
    ) -> None:
        """first: whom to ask before all others. patience_s: how long one may keep us waiting. look: called often."""
        self.useful: list[PeerId] = []
        """Who sent something, in the order in which they ended."""
        self._context = context
        self._signed = signed
        self._run = run
        self._first = [first] if first is not None else []
        self._hosts = hosts
        self._patience_s = patience_s
        self._look = look
        self._tried: set[PeerId] = set()
        self._liars: set[PeerId] = set()
        self._drawing: dict[PeerId, trio.CancelScope] = {}
        self._ended = trio.Event()
        self._error: PeerError = SourceRefuses("no host sends this release")
        run.on_bad = self._on_bad

    async def draw(self) -> None:
        """Until no host is left (raises what the last one did wrong); cancelled when all is here."""
        async with trio.open_nursery() as nursery:
            while True:
                for peer in self._wanted():
                    self._tried.add(peer)
                    self._drawing[peer] = trio.CancelScope()
                    nursery.start_soon(self._draw_from, peer)
                if not self._drawing:
                    break
                self._ended = trio.Event()
                with trio.move_on_after(LOOK_S):
                    await self._ended.wait()
                self._look()
        raise self._error

    def _wanted(self) -> list[PeerId]:
        """Whom to open streams to now: when none is open, all that there is room for, so that one that does not answer
        holds nothing up; beside those that are open, others when there is more to do than they can."""
        now_s = trio.current_time()
        if self._drawing and not self._run.assignment.wants_help(now_s, self._patience_s):
            return []
        found = self._candidates()
        if found and len(self._drawing) == SOURCES_MAX and (slow := self._run.assignment.laggard(now_s)) is not None:
            log.debug("%s is too slow beside others", slow)
            self._drawing[slow].cancel()
        return found[: SOURCES_MAX - len(self._drawing)]

    def _candidates(self) -> list[PeerId]:
        """Those who may be asked and were not; who did not answer lately comes last."""
        now_s = trio.current_time()
        found = [*self._first, *self._context.speeds.fastest_first(self._hosts())]
        found.sort(key=self._context.core.is_silent)
        left_out = {self._context.network.local_peer, *self._tried}
        shunned = self._context.standing.shunned
        return [peer for peer in dict.fromkeys(found) if peer not in left_out and not shunned(now_s, peer)]

    @property
    def exhausted(self) -> bool:
        """All who may have something are there, as far as there is room."""
        full = len(self._drawing) == SOURCES_MAX or not self._candidates()
        return full and self._run.assignment.sources == len(self._drawing)

    async def _draw_from(self, peer: PeerId) -> None:
        context = self._context
        try:
            with self._drawing[peer]:
                stream = await context.network.open(peer, SYNC_PROTOCOL, deadline_s=OPEN_DEADLINE_S)
                async with FrameChannel(stream, idle_s=IDLE_S, write_s=IDLE_S) as channel:
                    await channel.send(msg.Fetch(self._signed.site, self._signed.cid))
                    await self._run.draw(peer, channel)
        except PeerError as error:
            log.info("fetching %s from %s: %s", self._signed.site, peer, error)
            self._error = error
            if isinstance(error, PeerUnreachable):
                context.tell(Unreached(peer))
            context.standing.count(trio.current_time(), peer, error.code)
        finally:
            del self._drawing[peer]
            self._ended.set()
            self._take_note_of(peer)

    def _on_bad(self, peer: PeerId, error: PeerError) -> None:
        if peer in self._liars:
            return
        self._liars.add(peer)
        log.info("fetching %s from %s: %s", self._signed.site, peer, error)
        self._error = error
        self._context.standing.count(trio.current_time(), peer, error.code)
        if peer in self._drawing:
            self._drawing[peer].cancel()

    def _take_note_of(self, peer: PeerId) -> None:
        sent = self._run.sent.get(peer)
        if sent is not None and sent.sent_bytes:
            self.useful.append(peer)
            self._context.network.note_useful(peer)
            self._context.speeds.note(peer, sent.sent_bytes, sent.waited_s)
