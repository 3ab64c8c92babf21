"""Looks again for the records of names that the operator wants, before they are stale (docs/spec/ipns.md, 6)."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from itertools import islice

import trio

from node.policy.model import Act, Subject, name_key
from node.replication.context import Context
from node.routing.names import Names, fresh_for_s
from node.store.port import NameRow
from protocol.errors import OperatorError
from protocol.ipns import IpnsRecord, name_text

LOOK_S = 120.0
AT_A_TIME = 4
"""In one look, so that 10,000 names with short TTLs cost no more than this."""
AGAIN_S = 600.0
"""Between two searches for one name."""
VAIN_S = 3600.0
"""After a search without a record."""
BEFORE_END_S = 3600.0
JITTER = (0.80, 0.95)

log = logging.getLogger(__name__)


class NameRefresh:
    """`run` must run. What was tried is kept in memory alone: a start tries what is due then."""

    def __init__(self, context: Context, names: Names, *, now_s: Callable[[], float] = time.time) -> None:
        self._context = context
        self._names = names
        self._now_s = now_s
        self._not_before: dict[bytes, float] = {}
        self._shares: dict[bytes, float] = {}  # of the TTL, after which a name is due

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await trio.sleep(LOOK_S)
            try:
                await self.refresh_due()
            except OperatorError as error:
                log.warning("names cannot be looked for again: %s", error)

    async def refresh_due(self) -> None:
        """Those that are longest due, up to AT_A_TIME."""
        due = await self._context.in_store(self._due)
        async with trio.open_nursery() as nursery:
            for name in islice(filter(self._may_look_for, due), AT_A_TIME):
                nursery.start_soon(self._refresh, name)

    def _due(self) -> list[bytes]:
        """The longest due first. In a thread: 20,000 records take most of a second to read."""
        rows = self._context.store.names(kept_only=True)
        kept = {row.name for row in rows}
        self._not_before = {name: at_s for name, at_s in self._not_before.items() if name in kept}
        self._shares = {row.name: self._shares.get(row.name) or random.uniform(*JITTER) for row in rows}  # noqa: S311
        now_s = self._now_s()
        ranked = sorted((self._due_s(row), row.name) for row in rows)
        return [name for due_s, name in ranked if due_s <= now_s]

    def _due_s(self, row: NameRow) -> float:
        record = IpnsRecord.decode(row.record)
        fresh_s = fresh_for_s(record, row.saved_s) * self._shares[row.name]
        due_s = min(row.saved_s + fresh_s, record.validity_ns / 1e9 - BEFORE_END_S)
        return max(due_s, row.saved_s + AGAIN_S, self._not_before.get(row.name, 0.0))

    def _may_look_for(self, name: bytes) -> bool:
        subject = Subject(local=True, names=(name_key(name),))
        return self._context.gate.policy.decide(Act.FETCH, subject).allowed

    async def _refresh(self, name: bytes) -> None:
        try:
            found = await self._names.refresh(name)
        except OperatorError as error:
            log.warning("the record of %s cannot be saved: %s", name_text(name), error)
            found = False
        self._not_before[name] = self._now_s() + (AGAIN_S if found else VAIN_S)
