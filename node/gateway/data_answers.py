"""Answers for blocks of the IPLD data model that are no UnixFS: as they are, or as a page (docs/spec/gateway.md, 7)."""

from __future__ import annotations

import hashlib
from typing import Literal

from node.gateway import content_types, listing_page, pages
from node.gateway.failures import listing_freshness
from node.gateway.formats import DATA_TYPES, FormatError, Kind, Wanted, accepted_data, disposition, download_wishes
from node.gateway.pages import Self
from node.gateway.partial import answer_bytes
from node.gateway.ranges import is_unchanged
from node.gateway.reading import Reading
from node.gateway.response import Response
from node.gateway.tree import Found
from protocol.cid import CBOR, DAG_CBOR, DAG_JSON, JSON

_FORMS: dict[int, tuple[Kind, ...]] = {
    DAG_JSON: ("dag-json", "json"),
    DAG_CBOR: ("dag-cbor", "cbor"),
    JSON: ("json",),
    CBOR: ("cbor",),
}
"""What a block of that codec can be given as, without being changed; its own kind first."""


async def answer(reading: Reading, found: Found, form: Wanted | None, me: Self) -> Response:
    """Raises FormatError for a form that the block does not have: nothing is converted (IPIP-524)."""
    cid = found.entry.cid
    forms = _FORMS[cid.codec]
    wished = form.kind if form is not None else accepted_data(reading.request)
    if wished == "html":
        return await _page(reading, found, me)
    kind = wished or forms[0]
    if kind not in forms:
        raise FormatError(406, f"this is {forms[0]}, and is not converted")
    etag = f'"{found.cid_text}.{kind}"'
    headers = reading.page_headers(found, DATA_TYPES[kind], etag)
    suffix = kind.removeprefix("dag-")
    filename, download = download_wishes(reading.request)
    how: Literal["inline", "attachment"] = "attachment" if download or suffix == "cbor" else "inline"
    headers.append(("Content-Disposition", disposition(how, filename or f"{found.cid_text}.{suffix}")))
    if is_unchanged(reading.asked("if-none-match"), etag):
        return Response(304, headers)
    return answer_bytes(reading, headers, etag, await reading.load(cid))


async def _page(reading: Reading, found: Found, me: Self) -> Response:
    body = listing_page.data(reading.place, found.entry.cid, await reading.load(found.entry.cid), me)
    etag = f'"DagIndex-{hashlib.sha256(body).hexdigest()[:16]}_CID-{found.cid_text}"'
    freshness = listing_freshness(reading.place)
    headers = reading.page_headers(found, content_types.HTML, etag, freshness=freshness)
    if is_unchanged(reading.asked("if-none-match"), etag):
        return Response(304, headers)
    return Response(200, [*headers, ("Content-Security-Policy", pages.CSP)], body)
