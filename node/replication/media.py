"""Which media types the files of a release have: seen from its folders while it comes, before most of its files.

A file has the type that the gateway would serve it with (node/gateway/content_types.py): by its name, else by its first
bytes. Only what the hosting settings do not take is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from node.gateway import content_types
from node.policy.hosting import accepts_media
from node.policy.model import Hosting
from node.replication.gate import Gate, Refused
from protocol import dagpb, unixfs
from protocol.cid import DAG_PB, Cid
from protocol.dag_walk import DagWalk
from protocol.errors import DecodeError
from protocol.hamt import Shard
from protocol.release import SignedRelease
from protocol.unixfs import DataType, UnixFSData

UNNAMED_MAX = 10_000
"""Files whose names say nothing, of which the first bytes are read at the end; more count as bytes of unknown type."""

COUNTED_MAX = 100_000
"""Files of other types that are counted once however often they are linked; more are counted at each link."""

_FIRST_DEPTH_MAX = 16

ReadBlock = Callable[[Cid], bytes]


class Census:
    """Takes the inner nodes of a tree, parents before children, each once. `others`: bytes by type that is not taken.

    Sizes are what folders and files say of themselves; an empty file counts for nothing, one of unknown size one byte.
    """

    def __init__(self, hosting: Hosting) -> None:
        self.others: Counter[str] = Counter()
        self._hosting = hosting
        self._named: dict[Cid, set[str | None]] = {}
        """Inner nodes that folders link to and that did not come yet, with the types that the names say."""
        self._files: dict[Cid, int] = {}
        """Sizes of the files of several blocks that came."""
        self._unnamed: dict[Cid, int] = {}
        self._counted: set[Cid] = set()

    def look(self, cid: Cid, block: bytes) -> None:
        """One inner node. Nothing is raised: what cannot be read has an unknown type."""
        names = self._named.pop(cid, set())
        try:
            node = dagpb.decode(block)
            data = unixfs.decode(node.data)
            shard = Shard(node, data) if data.type is DataType.HAMT_SHARD else None
        except DecodeError:
            self._add(cid, len(block), content_types.BYTES)
            return
        if shard is not None:
            for slot in shard.slots:
                if slot.name is not None:
                    self._entry(slot.name, slot.link.cid, slot.link.tsize)
        elif data.type is DataType.DIRECTORY:
            for link in node.links:
                self._entry(link.name or b"", link.cid, link.tsize)
        elif data.type in (DataType.FILE, DataType.RAW):
            self._files[cid] = _size(data)
            for media_type in names:
                self._file(cid, self._files[cid], media_type)

    def look_at_unnamed(self, read: ReadBlock) -> None:
        """At the end, when all blocks are there: the files whose names say nothing. Raises what `read` raises."""
        for cid, size in self._unnamed.items():
            self._add(cid, size, content_types.by_content(_first_bytes(cid, read)))
        self._unnamed.clear()

    def _entry(self, raw_name: bytes, cid: Cid, tsize: int | None) -> None:
        media_type = content_types.by_name(raw_name.decode("utf-8", "surrogateescape"))
        if cid.codec != DAG_PB:
            self._file(cid, 1 if tsize is None else tsize, media_type)
        elif (size := self._files.get(cid)) is not None:
            self._file(cid, size, media_type)
        else:
            self._named.setdefault(cid, set()).add(media_type)

    def _file(self, cid: Cid, size: int, media_type: str | None) -> None:
        if media_type is not None:
            self._add(cid, size, media_type)
        elif len(self._unnamed) < UNNAMED_MAX:
            self._unnamed[cid] = size
        else:
            self._add(cid, size, content_types.BYTES)

    def _add(self, cid: Cid, size: int, media_type: str) -> None:
        if accepts_media(self._hosting, media_type) or cid in self._counted:
            return
        if len(self._counted) < COUNTED_MAX:
            self._counted.add(cid)
        self.others[media_type.partition(";")[0]] += size


class MediaWalk(DagWalk):
    """The walk of a release of others. feed() raises Refused, too, once what came shows that it may not be kept."""

    __slots__ = ("_census", "_gate", "_said", "_signed")

    def __init__(self, root: Cid, gate: Gate, signed: SignedRelease) -> None:
        super().__init__(root, site_only=True)
        self._gate = gate
        self._signed = signed
        self._census = Census(gate.policy.hosting)
        self._said = 0

    def feed(self, cid: Cid, block: bytes) -> None:
        super().feed(cid, block)
        if cid.codec == DAG_PB:
            self._census.look(cid, block)
            self._judge()

    def look_at_unnamed(self, read: ReadBlock) -> None:
        """When all is there. Raises Refused."""
        self._census.look_at_unnamed(read)
        self._judge()

    def _judge(self) -> None:
        total = self._census.others.total()
        if total != self._said:
            self._said = total
            verdict = self._gate.may_hold(self._signed, self._census.others.items())
            if not verdict.allowed:
                raise Refused(verdict)


def media_of(root: Cid, hosting: Hosting, read: ReadBlock, *, nodes_max: int) -> Iterable[tuple[str, int]]:
    """Of a tree that is here: bytes by each type that the settings do not take, in its first nodes. Raises what `read`
    raises, and DecodeError."""
    walk, census = DagWalk(root, site_only=True), Census(hosting)
    left = nodes_max
    while left > 0 and (wanted := walk.want(left)):
        for cid in wanted:
            if not DagWalk.is_leaf(cid):
                block = read(cid)
                walk.feed(cid, block)
                census.look(cid, block)
                left -= 1
    census.look_at_unnamed(read)
    return census.others.items()


def _size(data: UnixFSData) -> int:
    return data.filesize if data.filesize is not None else len(data.data)


def _first_bytes(cid: Cid, read: ReadBlock) -> bytes:
    """What the file begins with; of a file that cannot be read as one, bytes that say no type."""
    for _ in range(_FIRST_DEPTH_MAX):
        block = read(cid)
        if cid.codec != DAG_PB:
            return block[: content_types.SNIFF_BYTES]
        try:
            node = dagpb.decode(block)
            data = unixfs.decode(node.data)
        except DecodeError:
            break
        if data.data or not node.links:
            return data.data[: content_types.SNIFF_BYTES]
        cid = node.links[0].cid
    return b"\x00"
