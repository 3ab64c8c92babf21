"""A bound on what all peers together may leave unread in our memory."""

from __future__ import annotations

from typing import Protocol


class Holder(Protocol):
    def abort(self) -> None: ...


class ReceiveBudget:
    """When the sum of all buffers exceeds `max_bytes`, the connection that holds most is ended."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held: dict[Holder, int] = {}
        self.total_bytes = 0
        self.aborted = 0

    def update(self, holder: Holder, held_bytes: int) -> None:
        self.total_bytes += held_bytes - self._held.get(holder, 0)
        self._held[holder] = held_bytes
        if self.total_bytes > self._max_bytes:
            largest = max(self._held, key=self._held.__getitem__)
            self.leave(largest)
            self.aborted += 1
            largest.abort()

    def leave(self, holder: Holder) -> None:
        self.total_bytes -= self._held.pop(holder, 0)
