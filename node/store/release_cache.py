"""Releases of the index, decoded, up to a bound."""

from __future__ import annotations

import random
import threading

from protocol.release import SignedRelease


class ReleaseCache:
    """For any thread. All sites are read in turn, over and over: if they do not fit, the least recently used one is the
    one that is wanted next, so chance says which gives way."""

    def __init__(self, max_bytes: int) -> None:
        """max_bytes: of releases as they are encoded; decoded, they take three times as much beside."""
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._decoded: dict[bytes, SignedRelease] = {}
        self._raw: list[bytes] = []
        self.size_bytes = 0

    def get(self, raw: bytes) -> SignedRelease | None:
        """What `raw` was decoded to, if that is still known."""
        return self._decoded.get(raw)

    def put(self, raw: bytes, signed: SignedRelease) -> None:
        """Keep it for a while."""
        with self._lock:
            if raw in self._decoded:
                return
            self._decoded[raw] = signed
            self._raw.append(raw)
            self.size_bytes += len(raw)
            while self.size_bytes > self._max_bytes:
                self._forget(random.randrange(len(self._raw)))  # noqa: S311 - no secret

    def _forget(self, at: int) -> None:
        self._raw[at], self._raw[-1] = self._raw[-1], self._raw[at]
        raw = self._raw.pop()
        del self._decoded[raw]
        self.size_bytes -= len(raw)
