"""Notices another process that runs with this node's key, as a copied data directory makes one.

Such a twin is never dialled as a peer, for its id is our own. But others say where "we" are, and an address that is
not ours is looked at: the handshake there proves the key and tells a twin from ourselves, by its Noise key.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable

import trio

from node.net.addresses import Address

logger = logging.getLogger(__name__)

_SUSPECTS_MAX = 64
_AGAIN_S = 600.0  # before an address that somebody names again is looked at again
_REMEMBERED_S = 3600.0


class OwnKeyWatch:
    def __init__(self) -> None:
        self._looked_s: OrderedDict[Address, float] = OrderedDict()
        self._met: tuple[float, str] | None = None
        self._send, self._waiting = trio.open_memory_channel[Address](_SUSPECTS_MAX)

    def suspect(self, addresses: Iterable[Address], now_s: float) -> None:
        """Somebody says that this node is there, where it does not listen."""
        for address in addresses:
            if now_s - self._looked_s.get(address, -_AGAIN_S) < _AGAIN_S:
                continue
            try:
                self._send.send_nowait(address)
            except trio.WouldBlock:
                return
            self._looked_s[address] = now_s
            self._looked_s.move_to_end(address)
            if len(self._looked_s) > _SUSPECTS_MAX:
                self._looked_s.popitem(last=False)

    async def next_suspect(self) -> Address:
        return await self._waiting.receive()

    def met(self, where: str, now_s: float) -> None:
        if self.twin_at(now_s) is None:
            logger.error(
                "another process at %s runs with this node's key: stop one and give it a key of its own", where
            )
        self._met = now_s, where

    def twin_at(self, now_s: float) -> str | None:
        """Where a twin was met within the last hour."""
        if self._met is None or now_s - self._met[0] > _REMEMBERED_S:
            return None
        return self._met[1]
