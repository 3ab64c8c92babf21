"""IPNS records at `/routing/v1/ipns/NAME`: given to anybody, taken if the operator wishes (docs/spec/routing.md)."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from email.utils import formatdate

import trio

from node.gateway.backend import NameBackend, Unavailable
from node.gateway.formats import RECORD_TYPE
from node.gateway.http1 import BadRequest, Request
from node.gateway.ranges import is_unchanged
from node.gateway.rates import RequestRates
from node.gateway.response import Header, Response
from node.gateway.routing import Owner, name_cid
from node.gateway.view import StoreView
from protocol import ipns
from protocol.errors import DecodeError
from protocol.ipns import IpnsRecord
from protocol.site_id import SiteId

NO_TTL_S = 60  # how long a record without a TTL may be kept
ABSENT_MAX_AGE_S = 15  # the site may be on its way here
ADDRESS_PUTS_PER_S, ADDRESS_PUTS_BURST_S = 1, 20.0
LOCAL_PUTS_PER_S, PUTS_PER_S = 20, 20  # of this machine itself, which may be a proxy for everybody; of everybody
ADDRESSES_MAX = 10_000
METHODS = "GET, HEAD, PUT, OPTIONS"
_LAST_S = 253_402_300_799  # of the year 9999, with which dates of HTTP end
_STATUS = {"refused": 403, "not-found": 404, "timeout": 504, "busy": 503}
HEADERS: tuple[Header, ...] = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", METHODS),
    ("Access-Control-Allow-Headers", "Content-Type, Range, User-Agent, X-Requested-With"),
    ("Access-Control-Expose-Headers", "Content-Length, Content-Range, ETag, Expires"),
    ("Vary", "Accept"),
    ("X-Content-Type-Options", "nosniff"),
)


class RecordAnswers:
    """Makes answers. Policy is asked as for serving: what is refused here is not said to be here."""

    def __init__(
        self, view: StoreView, names: NameBackend, limit_key: Callable[[str], tuple[str, bool]], *, takes: bool
    ) -> None:
        """limit_key: what counts as one address, and whether it is this machine."""
        self._view = view
        self._names = names
        self._limit_key = limit_key
        self._takes = takes
        self._rates = RequestRates(ADDRESS_PUTS_PER_S, ADDRESS_PUTS_BURST_S, ADDRESSES_MAX)
        self._local_rate = RequestRates(LOCAL_PUTS_PER_S, ADDRESS_PUTS_BURST_S, 1)
        self._rate = RequestRates(PUTS_PER_S, ADDRESS_PUTS_BURST_S, 1)

    async def answer(self, request: Request, name: str) -> Response:
        """To GET, HEAD or PUT. Raises BadRequest for what comes too often."""
        try:
            wanted = ipns.name_of(name)
        except DecodeError:
            return text(400, "This is not an IPNS name.")
        return await self._take(request, wanted) if request.method == "PUT" else self._give(request, wanted)

    def _give(self, request: Request, name: bytes) -> Response:
        accept = request.headers.get("accept", RECORD_TYPE).lower()
        if RECORD_TYPE not in accept and "*/*" not in accept:
            return text(406, f"IPNS records are given as {RECORD_TYPE}: ask with Accept: {RECORD_TYPE}.")
        record = self._record(name)
        if record is None:
            return text(200, "No record of this name is here.", max_age_s=ABSENT_MAX_AGE_S)
        etag = f'"{hashlib.sha256(record.raw).hexdigest()[:32]}"'
        headers = [*HEADERS, ("Content-Type", RECORD_TYPE), ("ETag", etag), *_freshness(record)]
        if is_unchanged(request.headers.get("if-none-match"), etag):
            return Response(304, headers)
        return Response(200, headers, record.raw)

    def _record(self, name: bytes) -> IpnsRecord | None:
        """Of a site that is hosted here, else of somebody else: one that the operator keeps or, if any are taken, one
        that is known. None for what has expired or may not be served."""
        site = _site(name)
        row = self._view.site(site) if site is not None else None
        if site is not None and row is not None and (row.held is not None or row.ended):
            if row.held is None or row.ended:
                return None
            allowed = self._view.decide(site, row.held.release.root, ("",), ()).allowed
            return IpnsRecord.decode(row.held.ipns_record) if allowed else None
        known = self._view.name(name)
        if known is None or not (known.kept or self._takes):
            return None
        record = IpnsRecord.decode(known.record)
        if not record.is_valid_at(time.time_ns()):
            return None
        return record if self._may_serve(site or name_cid(name), record) else None

    def _may_serve(self, owner: Owner, record: IpnsRecord) -> bool:
        root = ipns.root_of(record)
        return self._view.decide(owner, root, ("",), (root,) if root is not None else ()).allowed

    async def _take(self, request: Request, name: bytes) -> Response:
        if not self._takes:
            return text(501, "This node takes no records.")
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != RECORD_TYPE:
            return text(406, f"IPNS records are taken as {RECORD_TYPE}: send with Content-Type: {RECORD_TYPE}.")
        self._check_rate(request)
        try:
            record = IpnsRecord.decode(request.body)
            record.verify(name)
        except DecodeError as error:
            return text(400, f"This is not a valid record of the name: {error}.")
        if not record.is_valid_at(time.time_ns()):
            return text(400, "The record has expired.")
        known = self._view.name(name)
        if known is not None and IpnsRecord.decode(known.record).order > record.order:
            return text(400, "A newer record of the name is known here.")
        try:
            await self._names.put_name(name, request.body)
        except Unavailable as error:
            return text(_STATUS[error.kind], f"The record was not taken: {error.reason}.")
        return text(200, "The record was taken.")

    def _check_rate(self, request: Request) -> None:
        """Raises BadRequest."""
        now_s = trio.current_time()
        key, local = self._limit_key(request.reader)
        wait_s = (self._local_rate if local else self._rates).take("" if local else key, now_s)
        wait_s = wait_s or self._rate.take("", now_s)
        if wait_s:
            raise BadRequest(429, "too many records", retry_s=wait_s)


def _freshness(record: IpnsRecord) -> list[Header]:
    """As the record says, but not beyond its end."""
    until_s = min(_LAST_S, record.validity_ns // 10**9)
    left_s = max(0, until_s - int(time.time()))
    max_age_s = min(left_s, record.ttl_ns // 10**9 or NO_TTL_S)
    stale = f"stale-while-revalidate={left_s}, stale-if-error={left_s}"
    return [("Cache-Control", f"public, max-age={max_age_s}, {stale}"), ("Expires", formatdate(until_s, usegmt=True))]


def _site(name: bytes) -> SiteId | None:
    try:
        return SiteId.from_multihash(name)
    except DecodeError:
        return None


def text(status: int, said: str, *, max_age_s: int = 0) -> Response:
    """A plain answer that every page of the web may read."""
    freshness = f"public, max-age={max_age_s}" if max_age_s else "no-store"
    headers = [*HEADERS, ("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", freshness)]
    return Response(status, headers, said.encode() + b"\n")
