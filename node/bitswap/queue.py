"""What one peer is still to be sent. Bounded by who adds: it waits for room first."""

from __future__ import annotations

from itertools import islice

import trio

from protocol.cid import Cid

QUEUE_MAX = 4096


class WantQueue:
    """Blocks and presences, each in the order in which they were asked for."""

    def __init__(self) -> None:
        self._blocks: dict[Cid, bool] = {}
        self._presences: dict[Cid, bool] = {}
        self._changed = trio.Event()

    def __len__(self) -> int:
        return len(self._blocks) + len(self._presences)

    def add_block(self, cid: Cid, *, send_dont_have: bool) -> None:
        """send_dont_have: say so if it is not there any more when its turn comes."""
        self._presences.pop(cid, None)
        self._blocks[cid] = send_dont_have
        self.wake()

    def add_presence(self, cid: Cid, *, have: bool) -> None:
        self._presences[cid] = have
        self.wake()

    def cancel(self, cid: Cid) -> None:
        self._blocks.pop(cid, None)
        self._presences.pop(cid, None)
        self.wake()

    def clear(self) -> None:
        self._blocks.clear()
        self._presences.clear()
        self.wake()

    def next_blocks(self, count: int) -> list[Cid]:
        """Whose turn it is; they stay until `take_block`."""
        return list(islice(self._blocks, count))

    def take_block(self, cid: Cid) -> bool | None:
        """Its send_dont_have; None when it was taken back meanwhile."""
        found = self._blocks.pop(cid, None)
        self.wake()
        return found

    def take_presences(self, count: int) -> list[tuple[Cid, bool]]:
        taken = list(islice(self._presences.items(), count))
        for cid, _ in taken:
            del self._presences[cid]
        self.wake()
        return taken

    def wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def changed(self) -> None:
        """Until anything is added, taken or given up."""
        await self._changed.wait()
