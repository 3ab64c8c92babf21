"""Which blocks a block links to, by its codec (docs/spec/unixfs.md, section 8)."""

from typing import Final

from . import dagcbor, dagjson, dagpb
from .cid import CBOR, DAG_CBOR, DAG_JSON, DAG_PB, JSON, RAW, Cid
from .errors import UnsupportedCodec

LEAF_CODECS: Final = frozenset((RAW, CBOR, JSON))
"""Bytes without links."""
NODE_CODECS: Final = frozenset((DAG_PB, DAG_CBOR, DAG_JSON))


def is_leaf(cid: Cid) -> bool:
    return cid.codec in LEAF_CODECS


def links(cid: Cid, block: bytes) -> list[Cid]:
    """The CIDs that a block names, in its order. Raises DecodeError; UnsupportedCodec for one that is not known."""
    codec = cid.codec
    if codec == DAG_PB:
        return [Cid.from_bytes(link[0]) for link in dagpb.raw_links(block)]
    if codec in LEAF_CODECS:
        return []
    if codec == DAG_CBOR:
        return _within(dagcbor.decode(block))
    if codec == DAG_JSON:
        return _within(dagjson.decode(block))
    raise UnsupportedCodec(f"links of codec 0x{codec:x} are not known")


def _within(value: dagcbor.Value) -> list[Cid]:
    found: list[Cid] = []
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, Cid):
            found.append(each)
        elif isinstance(each, dict):
            waiting += reversed(each.values())
        elif isinstance(each, list):
            waiting += reversed(each)
    return found
