"""Answers for places in sites: files, folders, slash redirects and the site's own 404.html."""

from __future__ import annotations

import hashlib
import weakref
from dataclasses import replace
from functools import partial
from typing import cast

import trio

from node.gateway import content_types, data_answers, encodings, listing_page, pages, trustless
from node.gateway.backend import Unavailable
from node.gateway.blocks import Blocks
from node.gateway.body import FileBody, Gate, GatedBody, Way
from node.gateway.failures import CACHE_CONTROL, SITE_ERRORS, listing_freshness, page, redirect, site_failure
from node.gateway.formats import TAR_TYPE, TRUSTLESS, FormatError, Wanted
from node.gateway.heads import Current, Heads, NoConsent, NotHosted
from node.gateway.http1 import BadRequest, Request
from node.gateway.limits import INLINE_READ_MAX_BYTES, LISTING_ENTRIES_MAX, FetchLimits
from node.gateway.pages import Self
from node.gateway.partial import Frame, PartsBody, one_part, ranges_of, unsatisfiable
from node.gateway.ranges import ByteRange, Unsatisfiable, is_other, is_unchanged
from node.gateway.reading import Reading
from node.gateway.response import Header, Response
from node.gateway.routing import CidPath, SitePath, is_name, owner_text
from node.gateway.site_files import SiteFiles
from node.gateway.tar import TarBody
from node.gateway.tree import Found, LoadBlock, PathCache, list_directory
from node.gateway.view import Refused, StoreView, insist
from node.policy.model import Verdict
from protocol.cid import Cid
from protocol.errors import OperatorError
from protocol.redirects import BadRedirects, Redirected, Rewritten
from protocol.walk import Entry, FileCursor, NotFoundInTree

INDEX = "index.html"
NOT_FOUND_PAGE = "404.html"


class SiteAnswers:
    """Makes answers. Policy is asked for the site, the root, every path and every CID that leads to the bytes."""

    def __init__(self, view: StoreView, blocks: Blocks, heads: Heads, me: Self, limits: FetchLimits) -> None:
        self._view = view
        self._blocks = blocks
        self._heads = heads
        self._me = me
        self._limits = limits
        self._paths = PathCache()
        self._files = SiteFiles(self._paths)
        self._bodies: weakref.WeakSet[GatedBody] = weakref.WeakSet()

    def check_bodies(self) -> None:
        """Cut the bodies on their way that policy now refuses."""
        for body in list(self._bodies):
            body.check()

    async def answer(self, request: Request, place: SitePath, form: Wanted | None = None) -> Response:
        """Whatever goes wrong before the first byte becomes a page here."""
        try:
            with trio.fail_after(self._limits.first_byte_s):
                return await self._answer(request, place, form)
        except SITE_ERRORS as error:
            return site_failure(error, place, self._me)

    async def answer_cid(self, request: Request, place: CidPath, form: Wanted | None) -> Response:
        """As answer, for content of any hosted site or kept tree that policy allows."""
        if place.cid == trustless.EMPTY_CID:
            return trustless.probe()
        try:
            await self._view.refresh()
        except OperatorError:
            raise BadRequest(503, "this node cannot read its store") from None
        holding = self._heads.holding(place.cid)
        if not holding and "only-if-cached" not in request.headers.get("cache-control", ""):
            holding = [current for current in (self._heads.elsewhere(place.cid),) if current is not None]
        if not holding:
            return self._not_held(request)
        allowed = (current for current in holding if self._allows(current, place))
        current = next(allowed, holding[0])
        at = place.of_site(current.site)
        try:
            with trio.fail_after(self._limits.first_byte_s):
                return await self._answer_from(current, request, at, form)
        except SITE_ERRORS as error:
            return site_failure(error, at, self._me)

    def _allows(self, current: Current, place: CidPath) -> bool:
        found = Found(Entry("directory", place.cid, 0), place.segments, (place.cid,), "", "")
        return self._gate(current, found)(None).allowed

    def _not_held(self, request: Request) -> Response:
        text = "Nothing that this node hosts has this content, and it does not fetch what it does not host."
        status = 412 if "only-if-cached" in request.headers.get("cache-control", "") else 404
        return page(status, pages.plain("Not here", text, self._me))

    async def _answer(self, request: Request, place: SitePath, form: Wanted | None) -> Response:
        await self._view.refresh()
        self._view.ask(place.site, None, (place.path,), ())
        current = await self._current(place)
        try:
            return await self._answer_from(current, request, place, form)
        except Unavailable as error:
            # The release may have been replaced, and its blocks freed, while it was being read.
            await self._view.refresh()
            other: Current | None = await self._current(place)
            if other is not None and other.seq == current.seq:
                other = await self._heads.instead_of(current) if error.kind in ("not-found", "timeout") else None
                other = self._at(place, other) if other is not None else None
            if other is None:
                raise
            return await self._answer_from(other, request, place, form)

    async def _current(self, place: SitePath) -> Current:
        """Of a name, or of the tree that a domain stands for."""
        if is_name(place.site):
            current: Current | None = await self._heads.current(place.site)
        else:
            holding = self._heads.holding(cast(Cid, place.site))
            otherwise = holding[0] if holding else self._heads.elsewhere(cast(Cid, place.site))
            current = next((each for each in holding if self._decide(each, ("",), ()).allowed), otherwise)
        if current is None:
            raise NotHosted
        return self._at(place, current)

    def _at(self, place: SitePath, current: Current) -> Current:
        """With what the place adds to it. Raises NoConsent."""
        if place.must_list and place.name not in current.domains:
            raise NoConsent
        if place.name != owner_text(place.site):
            current = replace(current, domains=(*current.domains, place.name))
        return replace(current, inside=(*current.inside, *place.inside))

    async def _answer_from(self, current: Current, request: Request, place: SitePath, form: Wanted | None) -> Response:
        insist(self._decide(current, (place.path,), ()))
        load = partial(self._blocks.get, current.site, may_fetch=current.may_fetch)
        if current.inside:
            try:
                current = await self._enter(current, load)
            except NotFoundInTree:
                return self._no_such_path(place)
        own = await self._own_headers(current, place, load) if form is None and place.isolated else ()
        reading = Reading(request, place, current, load, own)
        if form is not None and form.kind == "ipns-record":
            return trustless.record(reading, form)
        try:
            found = await self._paths.resolve(current.root, place.segments, load)
        except NotFoundInTree:
            return await self._not_found(reading) if form is None else self._no_such_path(place)
        await self._view.refresh(unless_just_done=True)  # fetching may have taken long
        insist(self._gate(current, found, place.path)(None))
        if form is not None and form.kind in TRUSTLESS:
            return await self._download(reading, found, form)
        if form is not None and form.kind == "tar":
            return await self._archive(reading, found, form)
        if found.entry.kind == "data":
            return await data_answers.answer(reading, found, form, self._me)
        if form is not None:
            return await self._as_json(reading, found, form)
        if found.entry.kind == "directory":
            return await self._directory(reading, found)
        if place.trailing_slash and place.segments:
            return await self._not_found(reading)
        return await self._file(reading, found, place.path, name=place.segments[-1] if place.segments else "")

    async def _enter(self, current: Current, load: LoadBlock) -> Current:
        """With the root at the place inside the tree that the name stands for."""
        found = await self._paths.resolve(current.root, current.inside, load)
        insist(self._gate(current, found)(None))
        return replace(current, root=found.entry.cid, inside=(), above=found.trail[:-1])

    def _gate(self, current: Current, found: Found, *paths: str) -> Gate:
        """Asks policy for what was found, under each path that leads there."""
        ways = tuple(dict.fromkeys((*paths, "/".join(found.path))))

        def gate(cid: Cid | None) -> Verdict:
            trail = found.trail if cid is None or cid in found.trail else (*found.trail, cid)
            return self._decide(current, ways, trail)

        return gate

    def _decide(self, current: Current, paths: tuple[str, ...], trail: tuple[Cid, ...]) -> Verdict:
        """On something below the root at hand; if that is only a part of a site, the site's own root counts, too."""
        site, trail = current.site, (*current.above, *trail)
        verdict = self._view.decide(site, current.root, paths, trail, current.domains, current.names)
        if verdict.allowed and current.root != current.site_root:
            return self._view.decide(site, current.site_root, ("",), (), current.domains, current.names)
        return verdict

    async def _own_headers(self, current: Current, place: SitePath, load: LoadBlock) -> tuple[Header, ...]:
        steering = await self._files.headers(current.root, load)
        if steering is None or not self._gate(current, steering.found)(None).allowed:
            return ()
        return tuple(steering.content.for_path(place.segments, place.trailing_slash))

    async def _download(self, reading: Reading, found: Found, form: Wanted) -> Response:
        """A trustless format."""
        gate = self._gate(reading.current, found, reading.place.path)
        if form.kind == "raw":
            return await trustless.block(reading, found, form)
        is_small = form.scope == "block" or (
            found.entry.kind == "file" and found.entry.size_bytes <= INLINE_READ_MAX_BYTES
        )
        way = partial(self._way, reading, gate, in_thread=not is_small)
        response = await trustless.car(reading, found, form, way, reading.place.given)
        if isinstance(response.body, GatedBody):
            self._bodies.add(response.body)
        return response

    async def _archive(self, reading: Reading, found: Found, form: Wanted) -> Response:
        """All of a file or folder; entries that policy refuses are not in it."""
        current, place, entry = reading.current, reading.place, found.entry
        if entry.kind == "data":
            raise FormatError(406, "only files and folders fit into an archive")

        def may(names: tuple[str, ...], trail: tuple[Cid, ...]) -> bool:
            paths = tuple("/".join((*way, *names)) for way in {place.segments, found.path})
            return self._decide(current, paths, (*found.trail, *trail)).allowed

        etag = f'W/"{found.cid_text}.x-tar"'
        name = place.segments[-1] if place.segments else str(place.given or place.name)
        headers = [*reading.page_headers(found, TAR_TYPE, etag), ("Accept-Ranges", "none")]
        headers.append(("Content-Disposition", form.disposition(f"{found.cid_text}.tar")))
        if is_unchanged(reading.asked("if-none-match"), etag):
            return Response(304, headers)
        body = TarBody(name, entry, may, self._way(reading, self._gate(current, found, place.path), in_thread=True))
        self._bodies.add(body)
        if reading.request.method == "GET":
            await body.prime()
        return Response(200, headers, body)

    async def _as_json(self, reading: Reading, found: Found, form: Wanted) -> Response:
        """A file that is JSON already, for `format=json`; nothing is converted."""
        path = reading.place.path
        if form.kind == "json" and found.entry.kind == "file":
            gate = self._gate(reading.current, found, path)
            insist(gate(None))
            kind = await self._sniff(reading, found, gate)
            if kind.partition(";")[0] == content_types.JSON:
                return await self._file(reading, found, path, name=reading.place.segments[-1] if path else "")
        raise FormatError(406, f"this is not {form.kind}, and is not converted")

    async def _directory(self, reading: Reading, found: Found) -> Response:
        place, current = reading.place, reading.current
        if not place.trailing_slash:
            return redirect(f"{place.base}{place.url_path.removesuffix('/')}/{place.query}")
        try:
            index = await self._paths.resolve(current.root, (*place.segments, INDEX), reading.load)
        except NotFoundInTree:
            return await self._listing(reading, found)
        if index.entry.kind != "file":
            return await self._listing(reading, found)
        index_path = f"{place.path}/{INDEX}" if place.path else INDEX
        return await self._file(reading, index, place.path, index_path, name=INDEX, folder=found)

    async def _listing(self, reading: Reading, found: Found) -> Response:
        """A folder's page; entries that policy refuses are not in it."""
        place, current = reading.place, reading.current

        async def load(cid: Cid) -> bytes:
            insist(self._decide(current, (place.path,), (*found.trail, cid)))
            return await reading.load(cid)

        entries, more = await list_directory(found.entry.cid, LISTING_ENTRIES_MAX, load)
        prefix = f"{place.path}/" if place.path else ""
        rows = [
            listing_page.Row(entry.name, entry.cid, entry.tsize)
            for entry in entries
            if self._decide(current, (prefix + entry.name,), (*found.trail, entry.cid)).allowed
        ]
        body = listing_page.listing(place, rows, more=more, me=self._me)
        etag = f'"DirIndex-{hashlib.sha256(body).hexdigest()[:16]}_CID-{found.cid_text}"'
        headers = reading.page_headers(found, content_types.HTML, etag, freshness=listing_freshness(place))
        if is_unchanged(reading.asked("if-none-match"), etag):
            return Response(304, headers)
        return Response(200, [*headers, ("Content-Security-Policy", pages.CSP)], body)

    async def _file(
        self, reading: Reading, found: Found, *paths: str, name: str, folder: Found | None = None
    ) -> Response:
        """A file, whole or in part. Conditions are looked at in the order of RFC 9110, 13.2.2.

        folder: whose index.html it is, and whose CID the answer then has.
        """
        gate = self._gate(reading.current, found, *paths)
        insist(gate(None))
        kind, coding, vary = content_types.by_name(name), None, "Accept"
        if kind is not None and found.path:
            forms = await self._files.encoded(reading.current.root, found.path, reading.load)
            if forms:
                vary = "Accept, Accept-Encoding"
                coding, found, gate = self._choose_form(reading, found, gate, forms, paths)
        shown = folder if folder is not None and coding is None else found
        etag = f'"{shown.cid_text}"'
        if is_other(reading.asked("if-match"), etag):
            return page(412, pages.plain("Another version", "The file has changed.", self._me))
        if is_unchanged(reading.asked("if-none-match"), etag):
            return Response(304, reading.page_headers(shown, None, etag, vary=vary))
        kind = kind or await self._sniff(reading, found, gate)
        headers = [*reading.page_headers(shown, kind, etag, vary=vary), ("Accept-Ranges", "bytes")]
        if coding is not None:
            headers.append(("Content-Encoding", coding))
        return await self._content(reading, found, gate, headers, etag)

    async def _content(self, reading: Reading, found: Found, gate: Gate, headers: list[Header], etag: str) -> Response:
        size = found.entry.size_bytes
        try:
            parts = ranges_of(reading, etag, size)
        except Unsatisfiable:
            return unsatisfiable(headers, size)
        if len(parts) > 1:
            return await self._parts(reading, found, gate, Frame.of(headers, parts, size), parts)
        body = self._body(reading, found, parts[0] if parts else ByteRange(0, size), gate)
        if reading.request.method == "GET":
            await body.prime()
        return one_part(headers, parts[0], size, body) if parts else Response(200, headers, body)

    async def _parts(
        self, reading: Reading, found: Found, gate: Gate, frame: Frame, parts: tuple[ByteRange, ...]
    ) -> Response:
        cid = found.entry.cid
        way = self._way(reading, gate, in_thread=found.entry.size_bytes > INLINE_READ_MAX_BYTES)
        body = PartsBody(frame, parts, lambda part: FileCursor(cid, part.start, part.stop), way)
        self._bodies.add(body)
        await body.prime()
        return Response(206, frame.headers, body)

    def _choose_form(
        self, reading: Reading, plain: Found, plain_gate: Gate, forms: dict[str, Found], paths: tuple[str, ...]
    ) -> tuple[str | None, Found, Gate]:
        """The precompressed form that the reader likes best: what policy says of the plain file holds for it, too."""
        for coding in encodings.accepted(reading.asked("accept-encoding")):
            if coding in forms:
                form = replace(forms[coding], trail=(*plain.trail, *forms[coding].trail))
                gate = self._gate(reading.current, form, *paths, "/".join(plain.path))
                if gate(None).allowed:
                    return coding, form, gate
        return None, plain, plain_gate

    async def _sniff(self, reading: Reading, found: Found, gate: Gate) -> str:
        """The type of a file whose name says nothing."""
        known = content_types.by_name(found.path[-1]) if found.path else None
        if known is not None:
            return known
        start = ByteRange(0, min(found.entry.size_bytes, content_types.SNIFF_BYTES))
        return content_types.by_content(bytes(await self._body(reading, found, start, gate).prime()))

    async def _not_found(self, reading: Reading) -> Response:
        """What the site's `_redirects` say, if they may say anything; else its own 404.html."""
        if reading.place.isolated:
            answer = await self._by_redirects(reading)
            if answer is not None:
                return answer
        return await self._own_not_found(reading)

    async def _by_redirects(self, reading: Reading) -> Response | None:
        place, current = reading.place, reading.current
        steering = await self._files.redirects(current.root, reading.load)
        if steering is None or not self._gate(current, steering.found)(None).allowed:
            return None
        if isinstance(steering.content, BadRedirects):
            text = f"could not parse _redirects: {steering.content}"
            return page(500, pages.plain("The publisher has to mend this site", text, self._me))
        rule = steering.content.find(place.segments, place.trailing_slash, place.query)
        if isinstance(rule, Redirected):
            headers = [("Location", rule.location), ("Cache-Control", CACHE_CONTROL), *reading.path_headers(None)]
            return Response(rule.status, headers)
        return await self._rewritten(reading, rule) if rule is not None else None

    async def _rewritten(self, reading: Reading, rule: Rewritten) -> Response | None:
        """Another file of the site under the address that was asked for; None when there is no such file."""
        current = reading.current
        try:
            found = await self._paths.resolve(current.root, rule.segments, reading.load)
            if found.entry.kind == "directory":
                found = await self._paths.resolve(current.root, (*rule.segments, INDEX), reading.load)
        except NotFoundInTree:
            return None
        if found.entry.kind != "file":
            return None
        await self._view.refresh(unless_just_done=True)  # fetching may have taken long
        paths, name = (reading.place.path, "/".join(rule.segments)), found.path[-1]
        if rule.status == 200:
            return await self._file(reading, found, *paths, name=name)
        gate = self._gate(current, found, *paths)
        insist(gate(None))
        body = self._body(reading, found, ByteRange(0, found.entry.size_bytes), gate)
        await body.prime()
        kind = content_types.by_name(name) or content_types.BYTES
        return Response(rule.status, reading.page_headers(found, kind, f'"{found.cid_text}"'), body)

    async def _own_not_found(self, reading: Reading) -> Response:
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
            return self._no_such_path(place)
        return Response(404, reading.page_headers(None, content_types.HTML, None), body)

    def _no_such_path(self, place: SitePath) -> Response:
        return page(404, pages.not_in_site(place.path, place.site, self._me), sandboxed=not place.isolated)

    def _body(self, reading: Reading, found: Found, part: ByteRange, gate: Gate) -> FileBody:
        way = self._way(reading, gate, in_thread=found.entry.size_bytes > INLINE_READ_MAX_BYTES)
        body = FileBody(FileCursor(found.entry.cid, part.start, part.stop), part.stop - part.start, way)
        self._bodies.add(body)
        return body

    def _way(self, reading: Reading, gate: Gate, *, in_thread: bool) -> Way:
        current = reading.current
        load = partial(self._blocks.get, current.site, may_fetch=current.may_fetch, in_thread=in_thread)
        return Way(load, partial(self._view.refresh, unless_just_done=True), gate, self._limits.block_s)
