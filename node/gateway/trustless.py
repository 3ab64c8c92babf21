"""Answers that their reader verifies: raw blocks, CAR files and IPNS records (trustless gateway specification)."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

from node.gateway.body import CarBody, Rest, Way, WholeDag
from node.gateway.failures import IMMUTABLE
from node.gateway.formats import RAW_TYPE, RECORD_TYPE, FormatError, Wanted
from node.gateway.partial import answer_bytes
from node.gateway.ranges import is_unchanged
from node.gateway.reading import OPEN, Reading
from node.gateway.response import Header, Response
from node.gateway.tree import Found
from protocol.cid import Cid
from protocol.ipns import IpnsRecord
from protocol.walk import DirectoryList, FileCursor

EMPTY_CID = Cid(bytes.fromhex("01550000"))  # bafkqaaa: an empty block within its CID, which clients probe gateways with


def probe() -> Response:
    """The answer to the empty block, which every gateway has."""
    headers = _headers(RAW_TYPE, f'"{EMPTY_CID}.raw"', f'attachment; filename="{EMPTY_CID}.bin"', IMMUTABLE)
    return Response(200, [*headers, ("X-Ipfs-Path", f"/ipfs/{EMPTY_CID}"), ("X-Ipfs-Roots", str(EMPTY_CID))])


def record(reading: Reading, form: Wanted) -> Response:
    """The IPNS record of the release that is served. Raises FormatError anywhere but at a site's name."""
    place = reading.place
    if place.cid is not None or place.segments:
        raise FormatError(400, "only a name has an IPNS record")
    content = reading.current.record
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    disposition = form.disposition(f"{place.name}.ipns-record")
    freshness = f"public, max-age={max(0, _fresh_s(content))}"
    headers = [*_headers(RECORD_TYPE, etag, disposition, freshness), *reading.path_headers(None)]
    if is_unchanged(reading.asked("if-none-match"), etag):
        return Response(304, headers)
    return Response(200, headers, content)


def _fresh_s(content: bytes) -> int:
    """How long a record may be kept: as it says itself, but not beyond its end."""
    known = IpnsRecord.decode(content)
    return min(known.ttl_ns // 10**9, known.validity_ns // 10**9 - int(time.time()))


async def block(reading: Reading, found: Found, form: Wanted) -> Response:
    """The one block that a path leads to."""
    etag = f'"{found.cid_text}.raw"'
    disposition = form.disposition(f"{found.cid_text}.bin")
    headers = [*_headers(RAW_TYPE, etag, disposition, reading.freshness), *reading.path_headers(found)]
    if is_unchanged(reading.asked("if-none-match"), etag):
        return Response(304, headers)
    data = await reading.load(found.entry.cid)
    return answer_bytes(reading, headers, etag, data)


async def car(
    reading: Reading, found: Found, form: Wanted, make_way: Callable[[], Way], given: Cid | None = None
) -> Response:
    """A CAR file of the blocks on the way and of as much of the entry as is wanted, while it is being read.

    given: the root as it was asked for, which may be its version 0.
    """
    cid = found.entry.cid
    asked = f"{reading.place.path}\0{form.scope}\0{form.part}\0{form.dups}".encode()
    etag = f'W/"{reading.current.root}.car.{hashlib.sha256(asked).hexdigest()[:16]}"'
    disposition = form.disposition(f"{reading.current.root}.car")
    headers = [*_headers(form.car_type, etag, disposition, reading.freshness), *reading.path_headers(found)]
    headers.append(("Accept-Ranges", "none"))
    if is_unchanged(reading.asked("if-none-match"), etag):
        return Response(304, headers)
    rest = _rest(found, form)
    trail = found.trail if rest is None else found.trail[:-1]
    body = CarBody(cid, trail, rest, make_way(), dups=form.dups, given=given)
    if reading.request.method == "GET":
        await body.prime()
    return Response(200, headers, body)


def _rest(found: Found, form: Wanted) -> Rest | None:
    """The blocks of the entry that are wanted; None for its own block alone."""
    entry = found.entry
    match form.scope, entry.kind:
        case "all", _:
            return WholeDag(entry.cid, repeat=form.dups)
        case "entity", "file":
            start, stop = form.part.within(entry.size_bytes) if form.part is not None else (0, entry.size_bytes)
            return FileCursor(entry.cid, start, stop)
        case "entity", "directory":
            return DirectoryList(entry.cid)
        case _:
            return None


def _headers(kind: str, etag: str, disposition: str, freshness: str) -> list[Header]:
    return [
        ("Content-Type", kind),
        ("Content-Disposition", disposition),
        ("X-Content-Type-Options", "nosniff"),
        ("ETag", etag),
        ("Cache-Control", freshness),
        ("Vary", "Accept"),
        *OPEN,
    ]
