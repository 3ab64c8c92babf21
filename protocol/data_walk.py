"""Paths through blocks of the IPLD data model: docs/spec/gateway.md, 7."""

from collections.abc import Sequence
from typing import ClassVar

from protocol.cid import CBOR, DAG_CBOR, DAG_JSON, JSON, Cid
from protocol.data_model import value_of
from protocol.errors import PeerError
from protocol.walk import NotFoundInTree

DATA_CODECS = frozenset((DAG_CBOR, DAG_JSON, CBOR, JSON))
_WITH_LINKS = frozenset((DAG_CBOR, DAG_JSON))


class EndsInsideBlock(PeerError):
    """The path leads to a value inside a block, which has no CID of its own."""

    code: ClassVar[str] = "inside-block"


def follow(codec: int, block: bytes, names: Sequence[str]) -> tuple[Cid, int]:
    """The first link on a path (map keys, list indices) into a block of DATA_CODECS, and how many names lead there.

    Raises NotFoundInTree, EndsInsideBlock, DecodeError.
    """
    value = value_of(codec, block) if codec in _WITH_LINKS else None
    for index, name in enumerate(names):
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and _is_index(name) and int(name) < len(value):
            value = value[int(name)]
        else:
            raise NotFoundInTree(f"no {name[:40]!r} in the data", segment=index)
        if isinstance(value, Cid):
            return value, index + 1
    raise EndsInsideBlock("the path ends inside a block, at a value that is no link")


def _is_index(name: str) -> bool:
    return name.isascii() and name.isdigit() and len(name) < 10
