"""A guard against two tasks using one direction of a stream at once."""

from __future__ import annotations

import trio


class Turn:
    """`with turn:` raises trio.BusyResourceError when another task is within."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._taken = False

    def __enter__(self) -> None:
        if self._taken:
            raise trio.BusyResourceError(f"another task is {self._what} this stream")
        self._taken = True

    def __exit__(self, *_: object) -> None:
        self._taken = False
