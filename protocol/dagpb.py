"""The dag-pb codec (0x70): nodes of links and opaque bytes (docs/spec/unixfs.md, section 2).

Decoding is strict: known fields only, `Hash`, `Name`, `Tsize` in that order, `Data` at most once and never
between links, minimal varints, nothing left over. The order of the links is not checked, because older trees
are unsorted; encoding sorts them by name bytes, stable, and writes links before data.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from . import varint
from .cid import Cid
from .errors import Malformed, OverLimit, Truncated
from .limits import NODE_MAX_LINKS

# Tags: field number and wire type.
_DATA, _LINK = 0x0A, 0x12
_HASH, _NAME, _TSIZE = 0x0A, 0x12, 0x18

RawLink = tuple[bytes, bytes | None, int | None]


@dataclass(frozen=True, slots=True)
class PBLink:
    """One link.

    `name` is bytes as on the wire (UTF-8 by convention), `tsize` a hint in bytes that nobody verified.
    """

    cid: Cid
    name: bytes | None = None
    tsize: int | None = None


@dataclass(frozen=True, slots=True)
class PBNode:
    """A dag-pb node; `data` is None when the field is absent, which is not the same as empty."""

    links: tuple[PBLink, ...] = ()
    data: bytes | None = None


def decode(raw: bytes) -> PBNode:
    """The node of one block. Raises DecodeError: Malformed, Truncated, OverLimit (too many links), …"""
    links, data = _parse(raw)
    from_bytes = Cid.from_bytes
    return PBNode(tuple(PBLink(from_bytes(cid), name, tsize) for cid, name, tsize in links), data)


def raw_links(raw: bytes) -> list[RawLink]:
    """The links of one block as (unchecked CID bytes, name, tsize): for walks over whole DAGs.

    Raises as decode().
    """
    return _parse(raw)[0]


def encode(node: PBNode) -> bytes:
    """The canonical block: links sorted by name bytes (stable), then data."""
    links = sorted(node.links, key=lambda link: link.name or b"")
    return join_node((encode_link(link.cid, link.name, link.tsize) for link in links), node.data)


def join_node(encoded_links: Iterable[bytes], data: bytes | None) -> bytes:
    """A block from links that encode_link() made and that are already in order."""
    parts = list(encoded_links)
    if data is not None:
        parts += (b"\x0a", varint.encode(len(data)), data)
    return b"".join(parts)


def encode_link(cid: bytes, name: bytes | None, tsize: int | None) -> bytes:
    """One link with its tag and length: exactly the bytes that it adds to a node."""
    body = b"\x0a" + varint.encode(len(cid)) + cid
    if name is not None:
        body += b"\x12" + varint.encode(len(name)) + name
    if tsize is not None:
        body += b"\x18" + varint.encode(tsize)
    return b"\x12" + varint.encode(len(body)) + body


def _parse(raw: bytes) -> tuple[list[RawLink], bytes | None]:
    links: list[RawLink] = []
    data: bytes | None = None
    links_are_over = False
    at, end = 0, len(raw)
    while at < end:
        tag = raw[at]
        if tag not in (_LINK, _DATA):
            raise Malformed(f"dag-pb: unknown field or wire type 0x{tag:02x} in a node", offset=at)
        start, stop = _span(raw, at + 1, end)
        if tag == _LINK:
            if links_are_over:
                raise Malformed("dag-pb: links before and after the data", offset=at)
            if len(links) == NODE_MAX_LINKS:
                raise OverLimit(f"dag-pb: more than {NODE_MAX_LINKS} links", offset=at)
            links.append(_parse_link(raw, start, stop))
        else:
            if data is not None:
                raise Malformed("dag-pb: data occurs twice", offset=at)
            data = raw[start:stop]
            links_are_over = bool(links)
        at = stop
    return links, data


def _parse_link(raw: bytes, at: int, end: int) -> RawLink:
    if at >= end or raw[at] != _HASH:
        raise Malformed("dag-pb: link does not begin with its hash", offset=at)
    start, at = _span(raw, at + 1, end)
    if start == at:
        raise Malformed("dag-pb: link with an empty hash", offset=at)
    cid = raw[start:at]
    name: bytes | None = None
    tsize: int | None = None
    if at < end and raw[at] == _NAME:
        start, at = _span(raw, at + 1, end)
        name = raw[start:at]
    if at < end and raw[at] == _TSIZE:
        tsize, at = varint.decode(raw, at + 1)
    if at != end:
        raise Malformed("dag-pb: link has an unknown, repeated, misplaced or truncated field", offset=at)
    return cid, name, tsize


def _span(raw: bytes, at: int, end: int) -> tuple[int, int]:
    """Read the length at `at`; (start, stop) of what it measures, inside `end`."""
    if at >= end:
        raise Truncated("dag-pb: field without a length", offset=at)
    length = raw[at]
    if length < 0x80:
        at += 1
    else:
        length, at = varint.decode(raw, at)
    if length > end - at:
        raise Truncated(f"dag-pb: field of {length} bytes where {max(end - at, 0)} are left", offset=at)
    return at, at + length
