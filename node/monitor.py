"""Measures how long the daemon's event loop keeps others waiting: the loop monitor that every daemon runs.

One *pass* is what the loop does between two looks at the operating system: all tasks that could run have run once.
Whatever became ready meanwhile has waited for the rest of the pass, so a pass of 50 ms is a stall of up to 50 ms for
everybody. Costs two clock readings a pass.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import trio

STALL_S = 0.020
RECENT_MINUTES = 5


@dataclass(slots=True)
class _Minute:
    number: int
    stalls: int = 0
    worst_s: float = 0.0


@dataclass(frozen=True, slots=True)
class LoopReport:
    """Passes longer than `STALL_S`, since the start and within the last RECENT_MINUTES; seconds.

    `worst_cpu_s` leaves out what the loop's thread spent waiting for a processor or for other threads: on a busy
    machine it is what fednode itself is to blame for.
    """

    passes: int
    stalls: int
    worst_s: float
    worst_cpu_s: float
    recent_stalls: int
    recent_worst_s: float

    def as_json(self) -> dict[str, Any]:
        return {
            "bound_ms": int(STALL_S * 1000),
            "passes": self.passes,
            "stalls": self.stalls,
            "worst_ms": round(self.worst_s * 1000, 1),
            "worst_cpu_ms": round(self.worst_cpu_s * 1000, 1),
            "recent_minutes": RECENT_MINUTES,
            "recent_stalls": self.recent_stalls,
            "recent_worst_ms": round(self.recent_worst_s * 1000, 1),
        }


class LoopMonitor(trio.abc.Instrument):
    """Counts from `start` to the end of the run; belongs to the trio thread."""

    def __init__(self) -> None:
        self._passes = 0
        self._stalls = 0
        self._worst_s = 0.0
        self._worst_cpu_s = 0.0
        self._minutes: deque[_Minute] = deque(maxlen=RECENT_MINUTES)
        self._began_s = time.perf_counter()
        self._began_cpu_s = time.thread_time()

    def start(self) -> None:
        """From now on, in the trio run that this is called from."""
        trio.lowlevel.add_instrument(self)

    def after_io_wait(self, timeout: float) -> None:
        self._began_cpu_s = time.thread_time()
        self._began_s = time.perf_counter()

    def before_io_wait(self, timeout: float) -> None:
        now_s = time.perf_counter()
        lasted_s = now_s - self._began_s
        self._passes += 1
        self._worst_s = max(self._worst_s, lasted_s)
        if lasted_s > STALL_S / 4:
            self._worst_cpu_s = max(self._worst_cpu_s, time.thread_time() - self._began_cpu_s)
            minute = self._minute(now_s)
            minute.worst_s = max(minute.worst_s, lasted_s)
            if lasted_s > STALL_S:
                self._stalls += 1
                minute.stalls += 1

    def _minute(self, now_s: float) -> _Minute:
        number = int(now_s // 60)
        if not self._minutes or self._minutes[-1].number != number:
            self._minutes.append(_Minute(number))
        return self._minutes[-1]

    def report(self) -> LoopReport:
        since = int(time.perf_counter() // 60) - RECENT_MINUTES
        recent = [minute for minute in self._minutes if minute.number > since]
        return LoopReport(
            passes=self._passes,
            stalls=self._stalls,
            worst_s=self._worst_s,
            worst_cpu_s=self._worst_cpu_s,
            recent_stalls=sum(minute.stalls for minute in recent),
            recent_worst_s=max((minute.worst_s for minute in recent), default=0.0),
        )
