"""Pages about content that is no page itself: folders without index.html, and blocks of data. Pure.

Built as pages.py has it: everything from outside is escaped. A link is the place's own path with names behind it, each
percent-encoded, so that none can be taken for a scheme, a host or a query.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import quote

from node.gateway.pages import Self, facts, page, paragraph
from node.gateway.routing import SitePath, is_name
from protocol import dagjson
from protocol.cid import Cid
from protocol.data_model import CODEC_NAMES, value_of
from protocol.errors import DecodeError

PREVIEW_MAX_BYTES = 64 * 1024  # of a block; longer ones are only named


@dataclass(frozen=True, slots=True)
class Row:
    """An entry of a listing; the size is that of everything below, as its link says."""

    name: str
    cid: Cid
    size_bytes: int


def listing(place: SitePath, rows: Sequence[Row], *, more: bool, me: Self) -> bytes:
    """A folder without index.html. Each row has the entry, its size, and its own address by CID."""
    below = place.base + place.url_path.removesuffix("/")
    content = [f'<p class="way">{_breadcrumbs(place)}</p>', "<table>"]
    if place.segments:
        content.append(f'<tr><td><a href="{escape(below)}/..">..</a></td><td></td><td></td></tr>')
    content += [_row(row, below, place.home) for row in rows]
    content.append("</table>")
    if more:
        content.append(paragraph(f"There is more; only the first {len(rows)} entries are shown."))
    return page(f"Index of /{place.path}", content, me)


def _row(row: Row, below: str, home: str) -> str:
    url, text, cid = f"{below}/{_url(row.name)}", escape(row.name, quote=False), str(row.cid)
    own = f"{_authority(home)}/ipfs/{cid}?filename={_url(_url(row.name))}"
    return (
        f'<tr><td><a href="{escape(url)}">{text}</a></td><td>{size_text(row.size_bytes)}</td>'
        f'<td><a class="ipfs-hash" translate="no" href="{escape(own)}">{cid[:6]}…{cid[-4:]}</a></td></tr>'
    )


def _breadcrumbs(place: SitePath) -> str:
    """The way to the place, each name of it a link."""
    namespace, root = ("ipns", place.name) if place.cid is None else ("ipfs", str(place.cid))
    if place.cid is None and not is_name(place.site):
        url = f"//{root}"  # a domain
    else:
        url = f"{_authority(place.home)}/{namespace}/{root}"
    if place.base:
        url = place.base
    parts = [f'/{namespace}/<a href="{escape(url)}{"/" if url == f"//{root}" else ""}">{escape(root)}</a>']
    for name in place.segments:
        url += f"/{_url(name)}"
        parts.append(f'<a href="{escape(url)}">{escape(name, quote=False)}</a>')
    return "/".join(parts)


def _authority(home: str) -> str:
    """`//host:port` of the node's front page; empty where that is on the same host."""
    return home.partition(":")[2].removesuffix("/")


def data(place: SitePath, cid: Cid, block: bytes, me: Self) -> bytes:
    """A block of data for people to read, with its links."""
    content = [
        f'<p class="way">{_breadcrumbs(place)}</p>',
        facts([("CID", str(cid)), ("Codec", _codec(cid)), ("Size", f"{len(block)} bytes")]),
        f"<pre>{escape(_text(cid, block))}</pre>",
    ]
    return page("Data", content, me)


def _codec(cid: Cid) -> str:
    return CODEC_NAMES.get(cid.codec) or {0x51: "cbor", 0x0200: "json"}.get(cid.codec, hex(cid.codec))


def _text(cid: Cid, block: bytes) -> str:
    if len(block) > PREVIEW_MAX_BYTES:
        return "too long to be shown here"
    if cid.codec in CODEC_NAMES:
        try:
            return json.dumps(json.loads(dagjson.encode(value_of(cid.codec, block))), indent=2, ensure_ascii=False)
        except (DecodeError, ValueError, RecursionError):
            pass  # shown as it is
    return block.decode("utf-8", "backslashreplace")


def _url(name: str) -> str:
    return quote(name.encode("utf-8", "surrogateescape"), safe="")


def size_text(size_bytes: int) -> str:
    """The size with its unit, as HTML; empty for none."""
    if not size_bytes:
        return ""
    amount, unit = float(size_bytes), "byte" if size_bytes == 1 else "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"<small>{amount:.0f} {unit}</small>" if size_bytes < 1024 else f"<small>{amount:.1f} {unit}</small>"
