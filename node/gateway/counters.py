"""What a worker counts about its answers: plain numbers, which the daemon collects. Nothing about who asked."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

LATENCY_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the histogram of times from a request's head to the head of its answer."""


class AnswerCounters:
    """Since the start of the worker."""

    def __init__(self) -> None:
        self._statuses: Counter[int] = Counter()
        self._latencies = [0] * (len(LATENCY_BOUNDS_S) + 1)
        self._latency_us = 0
        self._sent_bytes = 0

    def add(self, status: int, sent_bytes: int, latency_s: float) -> None:
        """An answer that was sent, as far as it was."""
        self._statuses[status // 100] += 1
        self._sent_bytes += sent_bytes
        self._latencies[bisect_left(LATENCY_BOUNDS_S, latency_s)] += 1
        self._latency_us += int(latency_s * 1_000_000)

    def as_flat(self) -> dict[str, int]:
        """For the report to the daemon: answers_2xx…, latency_0…, latency_us, sent_bytes."""
        flat = {f"answers_{group}xx": self._statuses[group] for group in range(2, 6)}
        flat |= {f"latency_{index}": count for index, count in enumerate(self._latencies)}
        return flat | {"latency_us": self._latency_us, "sent_bytes": self._sent_bytes}
