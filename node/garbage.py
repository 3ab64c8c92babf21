"""Keeps full garbage collections short: they stop the loop.

A full collection walks all objects that may form circles. Hardly anything that lives long here ever becomes part of
one, so what a full collection has left is set aside, and the next one walks only what came since. Once an hour all is
walked, for the circles that were set aside while they were still in use.
"""

from __future__ import annotations

import gc
import time
from typing import Final

ALL_EVERY_S: Final = 3600.0
# As Python's own, but for the last: a full collection for every 20,000 new objects or so, which takes some 10 ms.
THRESHOLDS: Final = (700, 10, 2)
_FULL: Final = 2  # the oldest generation


class SetAside:
    """A callback of `gc`."""

    def __init__(self, now_s: float) -> None:
        self._walked_all_s = now_s

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        if info["generation"] != _FULL:
            return
        if phase == "stop":
            gc.freeze()
        elif time.monotonic() - self._walked_all_s > ALL_EVERY_S:
            self._walked_all_s = time.monotonic()
            gc.unfreeze()


def shorten_collections() -> None:
    """From now on; to be called once all is loaded."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    gc.callbacks.append(SetAside(time.monotonic()))
