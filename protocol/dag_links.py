"""Which blocks a block links to, by its codec (docs/spec/unixfs.md, section 8)."""

from typing import Final

from . import dagcbor, dagpb
from .cid import DAG_CBOR, DAG_PB, RAW, Cid
from .errors import UnsupportedCodec

CBOR: Final = 0x51
JSON: Final = 0x0200
LEAF_CODECS: Final = frozenset((RAW, CBOR, JSON))
"""Bytes without links."""


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
