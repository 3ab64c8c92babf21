"""How many fetches run at a time, so that memory is bounded and no slow host keeps other sites waiting."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

# Less than this over LOOK_S is slow: such a fetch lets others start.
SLOW_BYTES_PER_S = 128 * 1024
LOOK_S = 5.0


class Slot:
    """One fetch's right to run. `scope` is cancelled when it has to end because too many are slow."""

    def __init__(self, slots: FetchSlots) -> None:
        self.scope = trio.CancelScope()
        self.aside = False
        self.looked_s = 0.0
        self.came_bytes = 0
        self._slots = slots

    def look(self, came_bytes: int) -> None:
        """To be called every second or so with all that came so far."""
        now_s = trio.current_time()
        if now_s >= self.looked_s + LOOK_S:
            is_slow = came_bytes - self.came_bytes < SLOW_BYTES_PER_S * (now_s - self.looked_s)
            self.looked_s, self.came_bytes = now_s, came_bytes
            self._slots.arrange(self, is_slow=is_slow)


class FetchSlots:
    """`full` fetches at a time. One that is slow while others wait steps aside: it goes on, and another begins.

    At most `aside` do; of one more, the one that has been aside for longest ends. It begins again later.
    """

    def __init__(self, full: int, aside: int) -> None:
        self._limit = trio.CapacityLimiter(full)
        self._aside_max = aside
        self._aside: dict[Slot, None] = {}

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[Slot]:
        """Waits for a place."""
        slot = Slot(self)
        await self._limit.acquire_on_behalf_of(slot)
        slot.looked_s = trio.current_time()
        try:
            yield slot
        finally:
            if slot.aside:
                self._aside.pop(slot, None)
            else:
                self._limit.release_on_behalf_of(slot)

    def arrange(self, slot: Slot, *, is_slow: bool) -> None:
        """Whether the fetch goes on in its place or beside the others."""
        waiting = self._limit.statistics().tasks_waiting
        if slot.aside and not is_slow and not waiting and self._limit.available_tokens >= 1:
            self._limit.acquire_on_behalf_of_nowait(slot)
            self._aside.pop(slot)
            slot.aside = False
        elif not slot.aside and is_slow and waiting:
            self._step_aside(slot)

    def _step_aside(self, slot: Slot) -> None:
        if len(self._aside) >= self._aside_max:
            longest = next(iter(self._aside))
            del self._aside[longest]
            longest.scope.cancel()
        slot.aside = True
        self._aside[slot] = None
        self._limit.release_on_behalf_of(slot)
