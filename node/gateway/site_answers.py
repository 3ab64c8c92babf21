"""Answers for places in sites: files, folders, slash redirects and the site's own 404.html."""

from __future__ import annotations

import hashlib
import weakref
from dataclasses import dataclass
from functools import partial

import trio

from node.gateway import content_types, pages
from node.gateway.backend import Unavailable
from node.gateway.blocks import Blocks
from node.gateway.body import FileBody, Gate
from node.gateway.failures import CACHE_CONTROL, SANDBOX, SITE_ERRORS, page, redirect, site_failure
from node.gateway.heads import Current, Heads
from node.gateway.http1 import Request
from node.gateway.limits import INLINE_READ_MAX_BYTES, LISTING_ENTRIES_MAX, FetchLimits
from node.gateway.pages import Self
from node.gateway.ranges import ByteRange, Unsatisfiable, is_other, is_unchanged, parse_range, range_applies
from node.gateway.response import Header, Response
from node.gateway.routing import SitePath
from node.gateway.tree import Found, LoadBlock, PathCache, list_directory
from node.gateway.view import Refused, StoreView, insist
from node.policy.model import Verdict
from protocol.cid import Cid
from protocol.walk import FileCursor, NotFoundInTree

INDEX = "index.html"
NOT_FOUND_PAGE = "404.html"
_ROOTS_MAX_CHARS = 2048  # of X-Ipfs-Roots, about 34 names; a deeper path goes without


@dataclass(frozen=True, slots=True)
class Reading:
    """One request on its way: what is asked for, of which release, and how its blocks are had."""

    request: Request
    place: SitePath
    current: Current
    load: LoadBlock

    def asked(self, header: str) -> str | None:
        """A header of the request."""
        return self.request.headers.get(header)


class SiteAnswers:
    """Makes answers. Policy is asked for the site, the root, every path and every CID that leads to the bytes."""

    def __init__(self, view: StoreView, blocks: Blocks, heads: Heads, me: Self, limits: FetchLimits) -> None:
        self._view = view
        self._blocks = blocks
        self._heads = heads
        self._me = me
        self._limits = limits
        self._paths = PathCache()
        self._bodies: weakref.WeakSet[FileBody] = weakref.WeakSet()

    def check_bodies(self) -> None:
        """Cut the bodies on their way that policy now refuses."""
        for body in list(self._bodies):
            body.check()

    async def answer(self, request: Request, place: SitePath) -> Response:
        """Whatever goes wrong before the first byte becomes a page here."""
        try:
            with trio.fail_after(self._limits.first_byte_s):
                return await self._answer(request, place)
        except SITE_ERRORS as error:
            return site_failure(error, place, self._me)

    async def _answer(self, request: Request, place: SitePath) -> Response:
        await self._view.refresh()
        self._view.ask(place.site, None, (place.path,), ())
        current = await self._heads.current(place.site)
        try:
            return await self._answer_from(current, request, place)
        except Unavailable:
            # The release may have been replaced, and its blocks freed, while it was being read.
            await self._view.refresh()
            newer = await self._heads.current(place.site)
            if newer.seq == current.seq:
                raise
            return await self._answer_from(newer, request, place)

    async def _answer_from(self, current: Current, request: Request, place: SitePath) -> Response:
        self._view.ask(current.site, current.root, (place.path,), ())
        load = partial(self._blocks.get, current.site, may_fetch=current.may_fetch)
        reading = Reading(request, place, current, load)
        try:
            found = await self._paths.resolve(current.root, place.segments, load)
        except NotFoundInTree:
            return await self._not_found(reading)
        await self._view.refresh(unless_just_done=True)  # fetching may have taken long
        insist(self._gate(current, found, place.path)(None))
        if found.entry.kind == "directory":
            return await self._directory(reading, found)
        if place.trailing_slash and place.segments:
            return await self._not_found(reading)
        return await self._file(reading, found, place.path, name=place.segments[-1] if place.segments else "")

    def _gate(self, current: Current, found: Found, *paths: str) -> Gate:
        """Asks policy for what was found, under each path that leads there."""
        ways = tuple(dict.fromkeys((*paths, "/".join(found.path))))

        def gate(cid: Cid | None) -> Verdict:
            trail = found.trail if cid is None or cid in found.trail else (*found.trail, cid)
            return self._view.decide(current.site, current.root, ways, trail)

        return gate

    async def _directory(self, reading: Reading, found: Found) -> Response:
        place, current = reading.place, reading.current
        if place.segments and not place.trailing_slash:
            return redirect(f"{place.base}{place.url_path}/{place.query}")
        try:
            index = await self._paths.resolve(current.root, (*place.segments, INDEX), reading.load)
        except NotFoundInTree:
            return await self._listing(reading, found)
        if index.entry.kind != "file":
            return await self._listing(reading, found)
        index_path = f"{place.path}/{INDEX}" if place.path else INDEX
        return await self._file(reading, index, place.path, index_path, name=INDEX)

    async def _listing(self, reading: Reading, found: Found) -> Response:
        """A folder's page; entries that policy refuses are not in it."""
        place, current = reading.place, reading.current
        entries, more = await list_directory(found.entry.cid, LISTING_ENTRIES_MAX, reading.load)
        prefix = f"{place.path}/" if place.path else ""
        rows = [
            pages.Row(entry.name, entry.tsize)
            for entry in entries
            if self._view.decide(current.site, current.root, (prefix + entry.name,), (*found.trail, entry.cid)).allowed
        ]
        body = pages.listing(place.path, rows, more=more, site=current.site, me=self._me)
        etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        headers = _headers(reading, found, content_types.HTML, etag)
        if is_unchanged(reading.asked("if-none-match"), etag):
            return Response(304, headers)
        return Response(200, [*headers, ("Content-Security-Policy", pages.CSP)], body)

    async def _file(self, reading: Reading, found: Found, *paths: str, name: str) -> Response:
        """A file, whole or in part. Conditions are looked at in the order of RFC 9110, 13.2.2."""
        gate = self._gate(reading.current, found, *paths)
        insist(gate(None))
        size, is_get = found.entry.size_bytes, reading.request.method == "GET"
        etag = f'"{found.cid_text}"'
        if is_other(reading.asked("if-match"), etag):
            return page(412, pages.plain("Another version", "The file has changed.", self._me))
        if is_unchanged(reading.asked("if-none-match"), etag):
            return Response(304, _headers(reading, found, None, etag))
        kind = content_types.by_name(name) or await self._sniff(reading, found, gate)
        headers = [*_headers(reading, found, kind, etag), ("Accept-Ranges", "bytes")]
        part = None
        if is_get and range_applies(reading.asked("if-range"), etag):
            try:
                part = parse_range(reading.asked("range"), size)
            except Unsatisfiable:
                return Response(416, [*headers, ("Content-Range", f"bytes */{size}")])
        body = self._body(reading, found, part or ByteRange(0, size), gate)
        if is_get:
            await body.prime()
        if part is None:
            return Response(200, headers, body)
        return Response(206, [*headers, ("Content-Range", part.content_range(size))], body)

    async def _sniff(self, reading: Reading, found: Found, gate: Gate) -> str:
        """The type of a file whose name says nothing."""
        known = content_types.by_name(found.path[-1]) if found.path else None
        if known is not None:
            return known
        start = ByteRange(0, min(found.entry.size_bytes, content_types.SNIFF_BYTES))
        return content_types.by_content(bytes(await self._body(reading, found, start, gate).prime()))

    async def _not_found(self, reading: Reading) -> Response:
        """The site's own 404.html, if it has one that may be shown."""
        place, current = reading.place, reading.current
        try:
            found = await self._paths.resolve(current.root, (NOT_FOUND_PAGE,), reading.load)
            if found.entry.kind != "file":
                raise NotFoundInTree("404.html is a folder")
            gate = self._gate(current, found, NOT_FOUND_PAGE)
            insist(gate(None))
            body = self._body(reading, found, ByteRange(0, found.entry.size_bytes), gate)
            await body.prime()
        except (NotFoundInTree, Refused):
            return page(404, pages.not_in_site(place.path, place.site, self._me), sandboxed=not place.isolated)
        return Response(404, _headers(reading, None, content_types.HTML, None), body)

    def _body(self, reading: Reading, found: Found, part: ByteRange, gate: Gate) -> FileBody:
        load = partial(
            self._blocks.get,
            reading.current.site,
            may_fetch=reading.current.may_fetch,
            in_thread=found.entry.size_bytes > INLINE_READ_MAX_BYTES,
        )
        cursor = FileCursor(found.entry.cid, part.start, part.stop)
        refresh = partial(self._view.refresh, unless_just_done=True)
        body = FileBody(cursor, part.stop - part.start, load, refresh, gate, block_s=self._limits.block_s)
        self._bodies.add(body)
        return body


def _headers(reading: Reading, found: Found | None, kind: str | None, etag: str | None) -> list[Header]:
    place = reading.place
    headers: list[Header] = []
    if kind is not None:
        headers += [("Content-Type", kind), ("X-Content-Type-Options", "nosniff")]
    if etag is not None:
        headers += [("ETag", etag), ("Cache-Control", CACHE_CONTROL)]
    else:
        headers.append(("Cache-Control", "no-cache"))
    headers.append(("X-Ipfs-Path", f"/ipns/{place.name}{place.url_path}"))
    if found is not None and len(found.roots_text) <= _ROOTS_MAX_CHARS:
        headers.append(("X-Ipfs-Roots", found.roots_text))
    if not place.isolated:
        headers += [("Content-Security-Policy", SANDBOX), ("Access-Control-Allow-Origin", "*")]
    return headers
