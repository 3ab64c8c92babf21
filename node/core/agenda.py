"""When what is due: one heap for many timers, so that a tick costs nothing while nothing is due."""

import heapq
import itertools
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

_SLACK = 64


class Agenda(Generic[K]):
    """At most one time for each key. Setting again replaces; overtaken heap entries are skipped and swept."""

    def __init__(self) -> None:
        self._at_s: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._numbers = itertools.count()

    def set(self, key: K, at_s: float) -> None:
        self._at_s[key] = at_s
        heapq.heappush(self._heap, (at_s, next(self._numbers), key))
        if len(self._heap) > 2 * len(self._at_s) + _SLACK:
            self._heap = [(time_s, next(self._numbers), item) for item, time_s in self._at_s.items()]
            heapq.heapify(self._heap)

    def drop(self, key: K) -> None:
        """Nothing is due for this key any more; unknown keys are fine."""
        self._at_s.pop(key, None)

    def due(self, now_s: float, limit: int | None = None) -> list[K]:
        """Takes out what is due, earliest first, at most `limit`."""
        found: list[K] = []
        while self._heap and self._heap[0][0] <= now_s and (limit is None or len(found) < limit):
            at_s, _, key = heapq.heappop(self._heap)
            if self._at_s.get(key) == at_s:
                del self._at_s[key]
                found.append(key)
        return found

    def __contains__(self, key: K) -> bool:
        return key in self._at_s

    def __len__(self) -> int:
        return len(self._at_s)
