"""What an IPNS name stands for: own sites, then records known, then DHT and routers (docs/spec/ipns.md, section 6)."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import trio

from node.net.port import Network
from node.routing.routers import Routers
from node.store.port import Store
from protocol.cid import Cid
from protocol.errors import DecodeError, PeerError
from protocol.ipns import IpnsRecord, name_of, name_text, read_value
from protocol.site_id import SiteId

LOOKUP_S = 30.0
GRACE_S = 5.0
"""After the first record, others that may be newer have this long to come."""
TTL_MAX_S = 24 * 3600
TTL_MIN_S = 60
ABSENT_S = 30.0
ABSENT_MAX = 1024
LINKS_MAX = 8
"""Names that lead to names."""

T = TypeVar("T")
log = logging.getLogger(__name__)


class NameNotFound(PeerError):
    """No valid record of the name was found."""

    code = "name-not-found"


@dataclass(frozen=True, slots=True)
class Resolved:
    """`path`: what is behind the CID, without a slash at its ends. `fresh_s`: how long this may be believed."""

    cid: Cid
    path: str
    record: IpnsRecord
    fresh_s: int


class Names:
    """Verified records only. What was found goes into the store's table of names, bounded there."""

    def __init__(
        self, store: Store, network: Network, routers: Routers, *, now_s: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._network = network
        self._routers = routers
        self._now_s = now_s
        self._absent: OrderedDict[bytes, float] = OrderedDict()  # multihash → until when it is not asked for again

    async def resolve(self, text: str, *, keep: bool = False) -> Resolved:
        """What `/ipns/text` leads to, through names of names. keep: the records stay in the store's table.

        Raises NameNotFound, DecodeError.
        """
        seen: set[bytes] = set()
        fresh_s = TTL_MAX_S
        behind = ""
        while len(seen) < LINKS_MAX:
            name = name_of(text)
            if name in seen:
                raise NameNotFound("the names lead in a circle")
            seen.add(name)
            record = await self.record(name, keep=keep)
            fresh_s = min(fresh_s, fresh_for_s(record, self._now_s()))
            found = read_value(record.value)
            if found is None:
                raise NameNotFound("the record of the name has another value than a path of /ipfs or /ipns")
            kind, target, path = found
            behind = "/".join(part for part in (path, behind) if part)
            if kind == "ipfs":
                return Resolved(Cid.from_text(target), behind, record, fresh_s)
            text = target
        raise NameNotFound(f"the name leads through more than {LINKS_MAX} names")

    async def record(self, name: bytes, *, keep: bool = False) -> IpnsRecord:
        """The best valid record of a name (a multihash) that is known or can be found. Raises NameNotFound."""
        own = await trio.to_thread.run_sync(self._own, name)
        if own is not None:
            return own
        row = await trio.to_thread.run_sync(self._store.name, name)
        known = self._valid(name, row.record) if row is not None else None
        if row is not None and known is not None and row.saved_s + _ttl_s(known) > self._now_s():
            if keep and not row.kept:
                await trio.to_thread.run_sync(lambda: self._store.save_name(name, known.raw, kept=True))
            return known
        if known is None and self._absent.get(name, 0.0) > trio.current_time():
            raise NameNotFound(f"no record of {name_text(name)} was found a moment ago")
        best = _better(known, await self._search(name))
        if best is None:
            self._note_absent(name)
            raise NameNotFound(f"no valid record of {name_text(name)} was found")
        await trio.to_thread.run_sync(lambda: self._store.save_name(name, best.raw, kept=keep))
        return best

    async def refresh(self, name: bytes) -> bool:
        """Looks for the newest record of a name in the table, however fresh that one is; False if none was found."""
        found = await self._search(name)
        if found is None:
            return False
        await trio.to_thread.run_sync(self._store.save_name, name, found.raw)
        return True

    async def take(self, name: bytes, record: IpnsRecord) -> None:
        """Keeps a verified record for a while, unless it or a better one is known: its time does not begin anew, since
        who brings it again may hide a newer one. NameNotFound for a site of this node, whose record its releases bring.
        """
        if await trio.to_thread.run_sync(self._own, name) is not None:
            raise NameNotFound("the site is hosted here, and its releases bring its records")
        self._absent.pop(name, None)
        row = await trio.to_thread.run_sync(self._store.name, name)
        if row is None or IpnsRecord.decode(row.record).order < record.order:
            await trio.to_thread.run_sync(self._store.save_name, name, record.raw)

    def _own(self, name: bytes) -> IpnsRecord | None:
        """Of a site that is hosted here."""
        try:
            row = self._store.site(SiteId.from_multihash(name))
        except DecodeError:
            return None
        return None if row is None or row.held is None or row.ended else self._valid(name, row.held.ipns_record)

    async def _search(self, name: bytes) -> IpnsRecord | None:
        best: IpnsRecord | None = None

        def take(record: IpnsRecord | None, scope: trio.CancelScope) -> None:
            nonlocal best
            if record is not None:
                best = _better(best, record)
                scope.deadline = min(scope.deadline, trio.current_time() + GRACE_S)

        async def ask_dht(scope: trio.CancelScope) -> None:
            take(await self._network.find_ipns(name, deadline_s=LOOKUP_S), scope)

        async def ask_routers(scope: trio.CancelScope) -> None:
            for raw in await self._routers.ipns(name):
                take(self._valid(name, raw), scope)

        with trio.move_on_after(LOOKUP_S) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask_dht, scope)
                nursery.start_soon(ask_routers, scope)
        return best

    def _valid(self, name: bytes, raw: bytes) -> IpnsRecord | None:
        try:
            record = IpnsRecord.decode(raw)
            record.verify(name)
        except DecodeError as error:
            log.info("a record of %s is not valid: %s", name_text(name), error)
            return None
        return record if record.is_valid_at(int(self._now_s() * 1e9)) else None

    def _note_absent(self, name: bytes) -> None:
        self._absent[name] = trio.current_time() + ABSENT_S
        self._absent.move_to_end(name)
        while len(self._absent) > ABSENT_MAX:
            self._absent.popitem(last=False)


def fresh_for_s(record: IpnsRecord, now_s: float) -> int:
    """How long a record may be believed: its TTL within bounds, but not past its validity."""
    left_s = record.validity_ns // 10**9 - int(now_s)
    return max(0, min(_ttl_s(record), left_s))


def _ttl_s(record: IpnsRecord) -> int:
    return min(TTL_MAX_S, max(TTL_MIN_S, record.ttl_ns // 10**9))


def _better(one: IpnsRecord | None, other: IpnsRecord | None) -> IpnsRecord | None:
    if one is None or other is None:
        return one or other
    return one if one.order >= other.order else other
