"""TXT records by name, for as long as DNS says that they hold, or for a while when it answers no more."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

import trio

from node.gateway.dns import Dns, NoAnswer, Texts
from node.gateway.rates import RequestRates
from protocol.dnslink import RECORDS_AT

NAMES_CACHED_MAX = 1024
TTL_MIN_S = 1.0
TTL_MAX_S = 3600.0  # so that a mistake in somebody's zone does not last for a week
ABSENT_S = 60.0  # when the servers do not say how long "there is none" holds
FAILED_S = 5.0  # before servers that do not answer are asked again
STALE_S = 3600.0  # how long an answer outlives its TTL while no server answers (RFC 8767)


@dataclass(slots=True)
class _Entry:
    answer: Texts | None = None
    until_s: float = 0.0
    stale_until_s: float = 0.0
    lock: trio.Lock = field(default_factory=trio.Lock)


class DnsCache:
    """Asks DNS what it does not know."""

    def __init__(self, dns: Dns, *, per_s: int = 0, burst_s: float = 0.0) -> None:
        """per_s: questions a second, and burst_s seconds' worth of them at once; beyond them nobody answers. 0: any."""
        self._dns = dns
        self._rates = RequestRates(per_s, burst_s, keys_max=1)
        self._entries: OrderedDict[str, _Entry] = OrderedDict()

    async def texts(self, name: str) -> Texts:
        """The TXT records at `_dnslink.NAME`. Raises NoAnswer."""
        entry = self._entries.setdefault(name, _Entry())
        self._entries.move_to_end(name)
        if len(self._entries) > NAMES_CACHED_MAX:
            self._entries.popitem(last=False)
        async with entry.lock:  # one question for all who wait
            if trio.current_time() >= entry.until_s:
                await self._ask(name, entry)
        if entry.answer is None:
            raise NoAnswer(name)
        return entry.answer

    def forget(self) -> None:
        """What DNS said so far."""
        self._entries.clear()

    async def _ask(self, name: str, entry: _Entry) -> None:
        try:
            if self._rates.take("", trio.current_time()):
                raise NoAnswer(name)
            entry.answer = await self._dns.texts(RECORDS_AT + name)
        except NoAnswer:
            now_s = trio.current_time()
            entry.until_s = now_s + FAILED_S
            if now_s >= entry.stale_until_s:
                entry.answer = None
            return
        ttl_s = ABSENT_S if entry.answer.ttl_s is None else float(entry.answer.ttl_s)
        entry.until_s = trio.current_time() + min(max(ttl_s, TTL_MIN_S), TTL_MAX_S)
        entry.stale_until_s = entry.until_s + STALE_S
