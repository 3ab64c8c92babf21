"""DagWalk: depth-first traversal of a whole DAG without I/O: the engine of replication, publishing and
export."""

from collections.abc import Sequence

from . import dagpb
from .cid import DAG_PB, IDENTITY, RAW, Cid, hash_name, is_supported_hash
from .dag_links import LEAF_CODECS, NODE_CODECS, links
from .errors import OverLimit, UnsupportedCodec, UnsupportedHash
from .limits import CID_BYTES, WALK_AHEAD_BYTES, WALK_MAX_BYTES, WALK_MAX_DEPTH, WALK_OPEN_NODES

_OWN_RAW = b"\x01\x55\x12\x20"
_OWN_NODE = b"\x01\x70\x12\x20"


class _Run:
    """The children of one node: length-prefixed CIDs, packed.

    `open` counts those that were named and not answered.
    """

    __slots__ = ("at", "depth", "open", "packed")

    def __init__(self, packed: bytes, depth: int) -> None:
        self.packed = packed
        self.depth = depth
        self.at = 0
        self.open = 0

    def is_over(self) -> bool:
        return self.at == len(self.packed) and not self.open


class DagWalk:
    """Names every block under `root` (root included), parents before children, depth first.

    Protocol. want(n) returns up to n blocks that it has not named before; [] means "nothing more now". Each
    block is either

    - a leaf (raw, cbor or json; `is_leaf(cid)`): settled as soon as it is named. The walk expects no answer; whether
      the leaf is fetched, checked or ignored is the caller's business. Feeding one does nothing.
    - an inner node (dag-pb, dag-cbor, dag-json): open until feed(cid, block) or skip(cid). feed() takes the
      VERIFIED block and makes its links known; skip() says that the whole subtree is settled (it is known to be
      complete).

    The walk is over (`done`) when nothing is left to name and no node is open. [] means that open nodes must be
    answered first or, when what was left had all been named before, that `done` is True now. Answers may come
    in any order. `open_nodes` lists what to ask again when a peer went away.

    Order. With in_order=True want() never names anything behind an open node, so the blocks come in exact DFS
    pre-order (what a bundle needs), still many leaves at once. Otherwise it goes on with later siblings
    (pipelining); when answers come in the order of the wants, what is named next is still the first in DFS
    order that is known.

    Repetition. An inner node is named once, however often it is linked, so the work is bounded by the bytes
    of the distinct inner nodes: a DAG of 40 nodes cannot stand for 2^40 blocks. A leaf is named once per
    want(), and again by a later one if it is linked again; with unique=True once in the whole walk. Identity
    CIDs hold their block and are followed without being named. Cycles cannot exist (a hash would have to
    contain itself).

    Memory. 37 bytes per known link that was not named yet, nothing per leaf that was, one set entry (about
    130 bytes) per inner node, with unique=True per leaf too. Links known at a time are bounded by
    WALK_MAX_BYTES; above WALK_AHEAD_BYTES the walk stops looking ahead, and at most WALK_OPEN_NODES are open,
    since the answer of each may be a large directory.

    Errors. feed() raises DecodeError for a bad block, UnsupportedCodec or UnsupportedHash for links to what
    is not read here (with site_only=True: to anything but CIDv1, sha2-256, raw or dag-pb), OverLimit
    for depth and memory. The walk is of no use afterwards. ValueError: an answer to what was not asked.
    """

    __slots__ = ("_bytes", "_in_order", "_open", "_runs", "_seen", "_site_only", "_unique")

    def __init__(self, root: Cid, *, in_order: bool = False, unique: bool = False, site_only: bool = False) -> None:
        self._in_order = in_order
        self._unique = unique
        self._site_only = site_only
        self._runs: list[_Run] = []  # next one last
        self._open: dict[Cid, _Run] = {}
        self._seen: set[Cid] = set()
        self._bytes = 0
        self._insert(len(self._runs), self._pack([root]), 0)

    @staticmethod
    def is_leaf(cid: Cid) -> bool:
        """True for blocks that the walk does not look into."""
        return cid.codec in LEAF_CODECS

    @property
    def done(self) -> bool:
        return not self._runs

    @property
    def open_nodes(self) -> tuple[Cid, ...]:
        """Inner nodes that were named and not answered, in the order in which they were named."""
        return tuple(self._open)

    def want(self, n: int) -> list[Cid]:
        found: dict[Cid, None] = {}
        index = len(self._runs) - 1
        while index >= 0 and len(found) < n and self._may_open():
            run = self._runs[index]
            inserted = self._take(run, n, found)
            if inserted is not None:  # children of an identity node come before the rest of its siblings
                self._insert(index + 1, inserted, run.depth + 1)
                index += 1
                continue
            if run.is_over():
                self._remove(index)
            index -= 1
        return list(found)

    def feed(self, cid: Cid, block: bytes) -> None:
        run = self._open.pop(cid, None)
        if run is None:
            if cid.codec in LEAF_CODECS:
                return
            raise ValueError(f"not an open node: {cid}")
        self._answer(run, self._pack(_links(cid, block)))

    def skip(self, cid: Cid) -> None:
        run = self._open.pop(cid, None)
        if run is not None:
            self._answer(run, b"")
        elif cid.codec not in LEAF_CODECS:
            raise ValueError(f"not an open node: {cid}")

    def _may_open(self) -> bool:
        if not self._open:
            return True
        ahead = not self._in_order and self._bytes <= WALK_AHEAD_BYTES
        return ahead and len(self._open) < WALK_OPEN_NODES

    def _take(self, run: _Run, n: int, found: dict[Cid, None]) -> bytes | None:
        """Name blocks of one run into `found`; stops at an identity node and returns its packed children."""
        packed, end = run.packed, len(run.packed)
        seen, unique = self._seen, self._unique
        while run.at < end and len(found) < n:
            start = run.at + 1
            run.at = start + packed[run.at]
            cid = Cid(packed[start : run.at])
            if cid.startswith(_OWN_RAW):
                if not unique:
                    found[cid] = None
                elif cid not in seen:
                    seen.add(cid)
                    found[cid] = None
                continue
            if cid in seen:
                continue
            if cid.hash_code == IDENTITY:
                if cid.codec not in LEAF_CODECS:
                    seen.add(cid)
                    return self._pack(_links(cid, cid.digest))
                continue
            if cid.codec in LEAF_CODECS:
                if unique:
                    seen.add(cid)
                found[cid] = None
                continue
            seen.add(cid)
            found[cid] = None
            run.open += 1
            self._open[cid] = run
            if not self._may_open():
                return None
        return None

    def _answer(self, run: _Run, packed: bytes) -> None:
        index = len(self._runs) - 1
        while self._runs[index] is not run:
            index -= 1
        run.open -= 1
        if packed:
            self._insert(index + 1, packed, run.depth + 1)
        if run.is_over():
            self._remove(index)

    def _insert(self, index: int, packed: bytes, depth: int) -> None:
        if depth > WALK_MAX_DEPTH:
            raise OverLimit(f"a DAG of more than {WALK_MAX_DEPTH} levels")
        self._bytes += len(packed)
        if self._bytes > WALK_MAX_BYTES:
            raise OverLimit(f"a DAG whose open links take more than {WALK_MAX_BYTES} bytes")
        self._runs.insert(index, _Run(packed, depth))

    def _remove(self, index: int) -> None:
        self._bytes -= len(self._runs.pop(index).packed)

    def _pack(self, cids: Sequence[bytes]) -> bytes:
        parts: list[bytes] = []
        for raw in cids:
            if len(raw) != CID_BYTES or raw[:4] not in (_OWN_RAW, _OWN_NODE):
                self._check_foreign(raw)
            parts += (_LENGTHS[len(raw)], raw)
        return b"".join(parts)

    def _check_foreign(self, raw: bytes) -> None:
        cid = Cid.from_bytes(raw)
        if self._site_only:
            if cid.codec not in (RAW, DAG_PB):
                raise UnsupportedCodec(f"a link to codec 0x{cid.codec:x}")
            raise UnsupportedHash("a site holds blocks under CIDv1 with sha2-256 only")
        if cid.codec not in LEAF_CODECS and cid.codec not in NODE_CODECS:
            raise UnsupportedCodec(f"a link to codec 0x{cid.codec:x}, whose links are not known")
        if not is_supported_hash(cid.hash_code):
            raise UnsupportedHash(f"a link with hash function {hash_name(cid.hash_code)}")


def _links(cid: Cid, block: bytes) -> Sequence[bytes]:
    if cid.codec == DAG_PB:  # the links of large directories are not made CIDs of twice
        return [link[0] for link in dagpb.raw_links(block)]
    return links(cid, block)


_LENGTHS = tuple(bytes((n,)) for n in range(256))
