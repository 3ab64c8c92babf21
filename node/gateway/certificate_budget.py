"""How many certificates there are for domains of sites that are hosted elsewhere. docs/spec/gateway.md, 12.

Anybody can have a site list a domain of theirs. Authorities limit how many certificates one account gets, and what
strangers use up the sites that are hosted here would lack: so there are few for strangers.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable

import trio

NEW_PER_HOUR = 24  # of the node; Let's Encrypt gives an account 300 in three hours
HOUR_S = 3600.0
REMEMBERED_MAX = 1024

Grant = Callable[[str], Awaitable[bool]]
"""Whether a name may have one of the certificates that there are for strangers. Raises Unavailable."""


class Budget:
    """Counts the names that were not asked for before; the daemon has one for all its workers."""

    def __init__(self) -> None:
        self._given: OrderedDict[str, float] = OrderedDict()

    async def grant(self, name: str) -> bool:
        """A name that was allowed stays so: a proxy asks again when it renews."""
        now_s = trio.current_time()
        if name not in self._given:
            if sum(given_s > now_s - HOUR_S for given_s in self._given.values()) >= NEW_PER_HOUR:
                return False
            self._given[name] = now_s
            if len(self._given) > REMEMBERED_MAX:
                self._given.popitem(last=False)
        return True
