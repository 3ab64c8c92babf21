"""Answers that their reader verifies: raw blocks, CAR files and IPNS records (trustless gateway specification)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from node.gateway.body import CarBody, Rest, Way, WholeDag
from node.gateway.failures import CACHE_CONTROL, IMMUTABLE
from node.gateway.formats import CAR_CONTENT_TYPE, RAW_TYPE, RECORD_TYPE, FormatError, Wanted
from node.gateway.ranges import Unsatisfiable, is_unchanged, parse_range, range_applies
from node.gateway.reading import Reading
from node.gateway.response import Header, Response
from node.gateway.tree import Found
from protocol.cid import Cid
from protocol.walk import DirectoryList, FileCursor

EMPTY_CID = Cid(bytes.fromhex("01550000"))  # bafkqaaa: an empty block within its CID, which clients probe gateways with

# Every page of the web may read what it can verify.
OPEN: tuple[Header, ...] = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Expose-Headers", "Content-Length, Content-Range, ETag, X-Ipfs-Path, X-Ipfs-Roots"),
)


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
    headers = [*_headers(RECORD_TYPE, etag, disposition, CACHE_CONTROL), *reading.path_headers(None)]
    if is_unchanged(reading.asked("if-none-match"), etag):
        return Response(304, headers)
    return Response(200, headers, content)


async def block(reading: Reading, found: Found, form: Wanted) -> Response:
    """The one block that a path leads to."""
    etag = f'"{found.cid_text}.raw"'
    disposition = form.disposition(f"{found.cid_text}.bin")
    headers = [*_headers(RAW_TYPE, etag, disposition, reading.freshness), *reading.path_headers(found)]
    if is_unchanged(reading.asked("if-none-match"), etag):
        return Response(304, headers)
    data = await reading.load(found.entry.cid)
    headers.append(("Accept-Ranges", "bytes"))
    part = None
    if reading.request.method == "GET" and range_applies(reading.asked("if-range"), etag):
        try:
            part = parse_range(reading.asked("range"), len(data))
        except Unsatisfiable:
            return Response(416, [*headers, ("Content-Range", f"bytes */{len(data)}")])
    if part is None:
        return Response(200, headers, data)
    return Response(206, [*headers, ("Content-Range", part.content_range(len(data)))], data[part.start : part.stop])


async def car(reading: Reading, found: Found, form: Wanted, make_way: Callable[[], Way]) -> Response:
    """A CAR file of the blocks on the way and of as much of the entry as is wanted, while it is being read."""
    cid = found.entry.cid
    asked = f"{reading.place.path}\0{form.scope}\0{form.part}".encode()
    etag = f'W/"{reading.current.root}.car.{hashlib.sha256(asked).hexdigest()[:16]}"'
    disposition = form.disposition(f"{reading.current.root}.car")
    headers = [*_headers(CAR_CONTENT_TYPE, etag, disposition, reading.freshness), *reading.path_headers(found)]
    headers.append(("Accept-Ranges", "none"))
    if is_unchanged(reading.asked("if-none-match"), etag):
        return Response(304, headers)
    rest = _rest(found, form)
    body = CarBody(cid, found.trail if rest is None else found.trail[:-1], rest, make_way())
    if reading.request.method == "GET":
        await body.prime()
    return Response(200, headers, body)


def _rest(found: Found, form: Wanted) -> Rest | None:
    """The blocks of the entry that are wanted; None for its own block alone."""
    entry = found.entry
    match form.scope, entry.kind:
        case "all", _:
            return WholeDag(entry.cid)
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
