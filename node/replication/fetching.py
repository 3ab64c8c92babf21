"""Fetching a release from its hosts: a hold in the store, streams to the fastest of them, and the pull between."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Literal

import trio

from node.net.channel import FrameChannel
from node.net.port import PeerId
from node.replication.context import IDLE_S, OPEN_DEADLINE_S, Context
from node.replication.gate import Refused
from node.replication.pull import Pull, SourceRefuses
from node.replication.slots import Slot
from node.store.errors import HoldGone
from node.store.port import Origin
from protocol import messages as msg
from protocol.errors import OperatorError, PeerError
from protocol.messages import SYNC_PROTOCOL
from protocol.release import SignedRelease

Fetched = Literal["stored", "source", "local", "refused"]
Hosts = Callable[[], Iterable[PeerId]]
"""Who may have the release, as far as is known at the moment."""

# Streams at a time; each holds one block in memory, and more of them would only share the same line.
SOURCES_MAX = 4
# A source that keeps us waiting for so long gets help from another.
PATIENCE_S = 1.0
LOOK_S = 0.25

log = logging.getLogger(__name__)


async def fetch_release(context: Context, signed: SignedRelease, first: PeerId, others: Hosts, slot: Slot) -> Fetched:
    """Fetches all that is missing of `signed` from `first` and whoever else has it, and makes it the held release.

    What arrived stays in the hold, so that the next attempt goes on from there.
    """
    try:
        hold = await context.in_store(context.store.begin_hold, signed)
        fetch = _Fetch(context, Pull(context, hold, signed), signed, first, others, slot)
        result = await fetch.run.complete(fetch.draw)
        await context.in_store(lambda: context.store.finish_hold(hold, origin=Origin.REPLICATED))
    except Refused as error:
        log.info("stopped fetching %s: %s", signed.site, error)
        await context.in_store(context.store.abort_hold, hold)
        return "refused"
    except HoldGone:
        return "refused"
    except OperatorError as error:
        log.warning("cannot take release %d of %s: %s", signed.seq, signed.site, error)
        return "local"
    except PeerError as error:
        log.info("fetching %s: %s", signed.site, error)
        return "source"
    log.info(
        "stored release %d of %s from %s: %d new blocks, %d bytes",
        signed.seq, signed.site, ", ".join(fetch.useful) or "this node", result.new_blocks, result.new_bytes,
    )  # fmt: skip
    return "stored"


class _Fetch:
    """The sources of one pull: a few streams at a time, fastest hosts first, each host tried once."""

    def __init__(
        self, context: Context, run: Pull, signed: SignedRelease, first: PeerId, others: Hosts, slot: Slot
    ) -> None:
        self.run = run
        self.useful: list[PeerId] = []
        """Who sent something, in the order in which they ended."""
        self._context = context
        self._signed = signed
        self._next = [first]
        self._others = others
        self._slot = slot
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
                self._slot.look(self.run.came_bytes)
        raise self._error

    def _wanted(self) -> list[PeerId]:
        """Whom to open streams to now: one host is enough, until there is more to do than it can."""
        now_s = trio.current_time()
        if self._drawing and not self.run.assignment.wants_help(now_s, PATIENCE_S):
            return []
        found = self._next or self._context.speeds.fastest_first(self._others())
        self._next = []
        found = [peer for peer in found if peer not in self._tried and peer != self._context.network.local_peer]
        found = [peer for peer in found if not self._context.standing.shunned(now_s, peer)]
        if found and len(self._drawing) == SOURCES_MAX and (slow := self.run.assignment.laggard(now_s)) is not None:
            log.debug("%s is too slow beside others", slow)
            self._drawing[slow].cancel()
        return found[: SOURCES_MAX - len(self._drawing)]

    async def _draw_from(self, peer: PeerId) -> None:
        context = self._context
        try:
            with self._drawing[peer]:
                stream = await context.network.open(peer, SYNC_PROTOCOL, deadline_s=OPEN_DEADLINE_S)
                async with FrameChannel(stream, idle_s=IDLE_S, write_s=IDLE_S) as channel:
                    await channel.send(msg.Fetch(self._signed.site, self._signed.cid))
                    await self.run.draw(peer, channel)
        except PeerError as error:
            log.info("fetching %s from %s: %s", self._signed.site, peer, error)
            self._error = error
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
        sent = self.run.sent.get(peer)
        if sent is not None and sent.sent_bytes:
            self.useful.append(peer)
            self._context.network.note_useful(peer)
            self._context.speeds.note(peer, sent.sent_bytes, sent.waited_s)
