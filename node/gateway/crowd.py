"""Who is connected: finds room for a newcomer, so that no address, and no idle reader, locks others out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from node.gateway.connection import Connection, Phase


@dataclass(slots=True)
class Reader:
    """Who is at the other end of a connection.

    key: what is counted, None for an address that many readers share. busy_key: behind a proxy, whose answer is on its
    way.
    """

    host: str
    key: str | None
    is_proxy: bool
    busy_key: str | None = None


class Crowd:
    """The open connections of a worker."""

    def __init__(self, connections_max: int, address_max: int) -> None:
        self._connections_max = connections_max
        self._address_max = address_max
        self._open: dict[Connection, Reader] = {}
        self._by_key: dict[str, dict[Connection, None]] = {}
        self._busy: Counter[str] = Counter()
        self._idle: dict[Connection, None] = {}  # longest first, as in the next one
        self._asking: dict[Connection, None] = {}

    def __len__(self) -> int:
        return len(self._open)

    def connections(self) -> list[Connection]:
        return list(self._open)

    def is_crowding(self, reader: Reader) -> bool:
        """The address has as many connections as one may have."""
        return reader.key is not None and len(self._by_key.get(reader.key, ())) >= self._address_max

    def make_room(self, reader: Reader) -> bool:
        """True if one more connection fits; somebody else's may be closed for it."""
        if len(self._open) < self._connections_max:
            return True
        for waiting in (self._idle, self._asking):
            if waiting:
                longest = next(iter(waiting))
                self.remove(longest)
                longest.close_if_waiting()
                return True
        return self._cut_the_greediest(reader)

    def _cut_the_greediest(self, reader: Reader) -> bool:
        """All are being answered: whoever has most loses one, unless the newcomer would then have as many."""
        if not self._by_key:
            return False
        most = max(self._by_key.values(), key=len)
        own = len(self._by_key.get(reader.key, ())) if reader.key is not None else 0
        if len(most) <= own + 1:
            return False
        oldest = next(iter(most))
        self.remove(oldest)
        oldest.cut()
        return True

    def add(self, connection: Connection, reader: Reader) -> None:
        self._open[connection] = reader
        if reader.key is not None:
            self._by_key.setdefault(reader.key, {})[connection] = None

    def remove(self, connection: Connection) -> None:
        """It counts no more; it may have been removed before."""
        reader = self._open.pop(connection, None)
        self._idle.pop(connection, None)
        self._asking.pop(connection, None)
        if reader is None:
            return
        self.answered(reader)
        if reader.key is not None:
            same = self._by_key[reader.key]
            del same[connection]
            if not same:
                del self._by_key[reader.key]

    def on_phase(self, connection: Connection, phase: Phase) -> None:
        self._idle.pop(connection, None)
        self._asking.pop(connection, None)
        if phase is Phase.IDLE:
            if connection in self._open:
                self._idle[connection] = None
        elif phase is Phase.HEAD and connection in self._open:
            self._asking[connection] = None

    def begin_answer(self, reader: Reader, key: str) -> bool:
        """For a reader behind a proxy; False if it has as many answers on their way as one may have connections."""
        if self._busy[key] >= self._address_max:
            return False
        reader.busy_key = key
        self._busy[key] += 1
        return True

    def answered(self, reader: Reader) -> None:
        """The answer that was begun is sent, or is not to be."""
        key, reader.busy_key = reader.busy_key, None
        if key is not None:
            self._busy[key] -= 1
            if not self._busy[key]:
                del self._busy[key]
