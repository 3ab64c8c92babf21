"""Names of others that readers ask for: whether what the store knows of one is fresh, and whom to ask if not."""

from __future__ import annotations

import time
from collections import OrderedDict

import trio

from node.gateway.backend import NameBackend, Unavailable
from node.gateway.limits import SITES_CACHED_MAX
from node.gateway.view import StoreView
from protocol.ipns import IpnsRecord

TTL_MIN_S, TTL_MAX_S = 60, 24 * 3600
AGAIN_S = 30.0
"""How soon a name is looked for again that was not found, or that is still the same."""
STALE_WAIT_S = 3.0
"""For something newer than what is known; without anything known the reader's own deadline counts."""


class NameLookups:
    """Asks the daemon, for one name once at a time and not again before AGAIN_S; what it finds is in the store then."""

    def __init__(self, view: StoreView, names: NameBackend) -> None:
        self._view = view
        self._names = names
        self._asked: OrderedDict[bytes, float] = OrderedDict()  # until when not to ask again
        self._asking: dict[bytes, trio.Event] = {}

    async def refresh(self, name: bytes) -> None:
        """Returns when the store has what can be had of the name (a multihash), if there is anything."""
        row = self._view.name(name)
        record = IpnsRecord.decode(row.record) if row is not None else None
        valid = record is not None and record.is_valid_at(time.time_ns())
        if row is not None and record is not None and valid and time.time() < row.saved_s + _ttl_s(record):
            return
        with trio.move_on_after(STALE_WAIT_S) if valid else trio.CancelScope():
            await self._ask(name)

    async def _ask(self, name: bytes) -> None:
        if (running := self._asking.get(name)) is not None:
            await running.wait()
            return
        if trio.current_time() < self._asked.get(name, 0.0):
            return
        done = self._asking[name] = trio.Event()
        try:
            await self._names.find_name(name)
        except Unavailable:
            pass  # what is known goes on to count
        finally:
            del self._asking[name]
            self._note(name)
            done.set()

    def _note(self, name: bytes) -> None:
        self._asked[name] = trio.current_time() + AGAIN_S
        self._asked.move_to_end(name)
        if len(self._asked) > SITES_CACHED_MAX:
            self._asked.popitem(last=False)


def _ttl_s(record: IpnsRecord) -> int:
    return min(TTL_MAX_S, max(TTL_MIN_S, record.ttl_ns // 10**9))
