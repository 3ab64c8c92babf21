"""What the daemon does for its store in the background: scrub, heal, compact (docs/spec/store.md, "Scrubbing")."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final, Protocol

import trio

from node.gateway.backend import Unavailable
from node.store.port import ScrubState, Store, Usage
from protocol.cid import Cid
from protocol.errors import OperatorError
from protocol.site_id import SiteId

# Disks of homes hold 10^10 to 10^12 bytes: that is 10 KB to 1 MB a second, and rot is found while others have a copy.
SCRUB_PERIOD_S: Final = 14 * 86400
SCRUB_RATE_BYTES_S: Final = 8 * 1024**2  # when behind, after a long stop; a fifteenth of what a slow disk gives
PIECE_BYTES: Final = 1024**2  # some milliseconds of a worker thread
TICK_S: Final = 10.0
HEAL_EVERY_S: Final = 600.0
HEAL_MAX: Final = 64
FIRST_COMPACT_S: Final = 60.0  # when the start is over; some nodes never run for an hour
COMPACT_EVERY_S: Final = 3600.0
SECTION_BYTES: Final = 40  # a pack's own bytes for each block

log = logging.getLogger(__name__)


class Healer(Protocol):
    """The part of the gateway's Backend that gets a block from other hosts into the store."""

    async def fetch_block(self, site: SiteId, cid: Cid) -> None:
        """Raises Unavailable."""


class Upkeep:
    """Create it, then `run` it in a nursery. What fails is logged and tried again: the daemon goes on."""

    def __init__(self, store: Store, healer: Healer, *, now_s: Callable[[], float] = time.time) -> None:
        self._store = store
        self._healer = healer
        self._now_s = now_s
        self._found = trio.Event()
        self._damaged = 0  # blocks when last looked at; readers and `fednode store verify` find some, too
        # One worker thread, whatever is going on: upkeep must not keep others from the disk.
        self._thread = trio.CapacityLimiter(1)

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._scrub)
            nursery.start_soon(self._heal)
            nursery.start_soon(self._compact)

    async def _scrub(self) -> None:
        while True:
            try:
                await self._scrub_what_is_due()
            except OperatorError as error:
                log.warning("reading the store through: %s", error)
            await trio.sleep(TICK_S)

    async def _scrub_what_is_due(self) -> None:
        usage = await trio.to_thread.run_sync(self._store.usage, limiter=self._thread)
        if usage.corrupt_blocks > self._damaged:
            self._found.set()
        self._damaged = usage.corrupt_blocks
        state = await trio.to_thread.run_sync(self._store.scrub_state, limiter=self._thread)
        left = min(due_bytes(state, usage, self._now_s()), int(SCRUB_RATE_BYTES_S * TICK_S))
        while left > 0:
            done = await trio.to_thread.run_sync(self._store.scrub_some, PIECE_BYTES, limiter=self._thread)
            if done.damaged:
                log.error("%d damaged blocks found while reading the store through", done.damaged)
                self._found.set()
            if done.finished:
                log.info("all blocks were read; the next round begins")
                return
            left -= done.read_bytes
            await trio.sleep(PIECE_BYTES / SCRUB_RATE_BYTES_S)

    async def _heal(self) -> None:
        while True:
            try:
                await self._heal_some()
            except OperatorError as error:
                log.warning("healing blocks: %s", error)
            with trio.move_on_after(HEAL_EVERY_S):
                await self._found.wait()
            self._found = trio.Event()

    async def _heal_some(self) -> None:
        for cid, site in await trio.to_thread.run_sync(self._store.damaged, HEAL_MAX, limiter=self._thread):
            if site is None:  # only cached: whoever reads it fetches it
                continue
            try:
                await self._healer.fetch_block(site, cid)
                log.info("block %s is healed", cid)
            except Unavailable as error:
                log.warning("damaged block %s of %s stays so for now: %s", cid, site, error)
        usage = await trio.to_thread.run_sync(self._store.usage, limiter=self._thread)
        self._damaged = usage.corrupt_blocks

    async def _compact(self) -> None:
        await trio.sleep(FIRST_COMPACT_S)
        while True:
            try:
                freed = await trio.to_thread.run_sync(self._store.compact, limiter=self._thread)
            except OperatorError as error:
                log.warning("compacting the store: %s", error)
            else:
                if freed:
                    log.info("compacting gave %d bytes back to the disk", freed)
            await trio.sleep(COMPACT_EVERY_S)


def due_bytes(state: ScrubState, usage: Usage, now_s: float) -> int:
    """How far the round is behind its time. All of it when it should be over, or the clock was set back."""
    total = total_bytes(usage)
    if not state.began_s:
        return 1
    elapsed_s = now_s - state.began_s
    if not 0 <= elapsed_s < SCRUB_PERIOD_S:
        return total + PIECE_BYTES
    return int(total * elapsed_s / SCRUB_PERIOD_S) - state.read_bytes


def total_bytes(usage: Usage) -> int:
    """What a round reads."""
    return usage.used_bytes + usage.cache_bytes + SECTION_BYTES * usage.blocks
