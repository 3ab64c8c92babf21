"""HAMT directories: a trie over the murmur3 hash of each name (docs/spec/unixfs.md, section 6).

Building uses fanout 256 only; reading takes any fanout that the UnixFS specification allows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import mmh3

from . import dagpb, unixfs
from .cid import DAG_PB, Cid
from .dagpb import PBLink, PBNode
from .errors import Malformed, OverLimit
from .limits import BLOCK_MAX_BYTES, HAMT_FANOUT
from .unixfs import DataType, Emit, Link, UnixFSData

_HASH_BITS = 64
_LEVELS_MAX = _HASH_BITS // 8  # at fanout 256 each level uses up one byte of the hash
_PREFIXES = tuple(b"%02X" % i for i in range(HAMT_FANOUT))

_HEX = frozenset(b"0123456789ABCDEF")

NamedLink = tuple[bytes, Cid, int]
"""A directory entry while it is built: (name, CID, tsize)."""


def hash_name(name: bytes) -> int:
    """murmur3-x64-64 of a name: the first half of the 128-bit hash, as an unsigned integer."""
    first, _ = mmh3.hash64(name, 0, True, signed=False)
    return int(first)


def first_bits(name_hash: int, depth: int, fanout: int) -> int:
    """The bits that lead to a name down to the shard at `depth` (root: 0), bucket there included.

    Raises Malformed below the depth where the hash is used up.
    """
    shift = _HASH_BITS - (fanout.bit_length() - 1) * (depth + 1)
    if shift < 0:
        raise Malformed("unixfs: HAMT is deeper than its hash")
    return name_hash >> shift


def bucket(name_hash: int, depth: int, fanout: int) -> int:
    """Index of a name in the shard at `depth`. Raises as first_bits()."""
    return first_bits(name_hash, depth, fanout) & (fanout - 1)


def build_hamt(entries: Sequence[NamedLink], emit: Emit) -> Link:
    """Emit the shards over `entries` (unique names, at least one), root last.

    Raises OverLimit when two names collide.
    """
    return _build([(hash_name(entry[0]), entry) for entry in entries], 0, emit)


def _build(hashed: list[tuple[int, NamedLink]], depth: int, emit: Emit) -> Link:
    if depth == _LEVELS_MAX:
        names = ", ".join(repr(entry[0].decode(errors="replace")) for _, entry in hashed[:2])
        raise OverLimit(f"names with the same 64-bit hash cannot stand in one directory: {names}")
    buckets: dict[int, list[tuple[int, NamedLink]]] = {}
    for item in hashed:
        buckets.setdefault(bucket(item[0], depth, HAMT_FANOUT), []).append(item)
    links: list[bytes] = []
    tsize = bitmap = 0
    for index in sorted(buckets):
        inside = buckets[index]
        if len(inside) == 1:
            name, cid, size = inside[0][1]
        else:
            shard = _build(inside, depth + 1, emit)
            name, cid, size = b"", shard.cid, shard.tsize
        links.append(dagpb.encode_link(cid, _PREFIXES[index] + name, size))
        tsize += size
        bitmap |= 1 << index
    data = UnixFSData(
        DataType.HAMT_SHARD,
        data=bitmap.to_bytes((bitmap.bit_length() + 7) // 8, "big"),
        hash_type=unixfs.MURMUR3_X64_64,
        fanout=HAMT_FANOUT,
    )
    block = dagpb.join_node(links, unixfs.encode(data))
    if len(block) > BLOCK_MAX_BYTES:
        raise OverLimit(f"HAMT shard of {len(block)} bytes")
    cid = Cid.of(DAG_PB, block)
    emit(cid, block)
    return Link(cid, tsize + len(block), 0)


@dataclass(frozen=True, slots=True)
class Slot:
    """One link of a shard. `name` is None for a sub-shard, else the entry's name."""

    index: int
    name: bytes | None
    link: PBLink


class Shard:
    """A checked shard, for reading."""

    __slots__ = ("fanout", "slots")

    def __init__(self, node: PBNode, data: UnixFSData) -> None:
        """`data` is what unixfs.decode gave for `node`, of type HAMT_SHARD. Raises Malformed."""
        self.fanout = data.fanout or 0
        width = len(f"{self.fanout - 1:X}")
        self.slots = [self._slot(link, width) for link in node.links]
        bitmap = int.from_bytes(data.data, "big")
        named = 0
        for slot in self.slots:
            if named >> slot.index & 1:
                raise Malformed("unixfs: HAMT shard names a bucket twice")
            named |= 1 << slot.index
        if named != bitmap:
            raise Malformed("unixfs: HAMT bitmap does not match the links")

    def _slot(self, link: PBLink, width: int) -> Slot:
        name = link.name or b""
        prefix = name[:width]
        if len(prefix) < width or not _HEX.issuperset(prefix):
            raise Malformed("unixfs: HAMT link without its bucket")
        index = int(prefix, 16)
        if index >= self.fanout:
            raise Malformed("unixfs: HAMT bucket over the fanout")
        return Slot(index, name[width:] or None, link)

    def find(self, name: bytes, name_hash: int, depth: int) -> Slot | None:
        """The slot on the way to `name`: its entry, a sub-shard, or None when the directory does not have
        it."""
        index = bucket(name_hash, depth, self.fanout)
        for slot in self.slots:
            if slot.index == index:
                return slot if slot.name in (None, name) else None
        return None
