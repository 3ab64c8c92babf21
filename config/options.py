"""What one run of the daemon is asked to do besides its settings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RunOptions:
    """`on_ready` is started as a task of the daemon once its sockets answer; it reports its own errors."""

    on_ready: Callable[[], Awaitable[None]] | None = None
