"""Sans-I/O reading of a file's bytes, or of a range of them, from its blocks (docs/spec/unixfs.md, section
8)."""

from . import dagpb, unixfs
from .cid import DAG_PB, RAW, Cid
from .errors import Malformed, OverLimit, UnsupportedCodec
from .limits import FILE_MAX_DEPTH, FILE_MAX_PENDING
from .unixfs import DataType, UnixFSData


class FileCursor:
    """Yields bytes [start, stop) of the file at `cid`, in order; `stop` None or past the end means the end.

    want() is the next block (None at the end), feed(block) returns the bytes to send, empty for inner nodes.
    The blocks are always taken in file order: feed() answers want(). wants(n) looks ahead. Never returns more
    than the range: every size is checked against its parent's before anything is sent, and a file that lies
    raises Malformed instead.
    """

    __slots__ = ("_pending", "_size", "_start", "_stop")

    def __init__(self, cid: Cid, start: int = 0, stop: int | None = None) -> None:
        if start < 0 or (stop is not None and stop < start):
            raise ValueError(f"not a range: {start}, {stop}")
        self._start = start
        self._stop = stop
        self._size: int | None = None
        # What is still to read, next one last: CID, offset in the file, size or None for the root, depth.
        self._pending: list[tuple[Cid, int, int | None, int]] = [(cid, 0, None, 0)]

    @property
    def size_bytes(self) -> int | None:
        """Size of the whole file, known after the first block."""
        return self._size

    def want(self) -> Cid | None:
        return self._pending[-1][0] if self._pending else None

    def wants(self, n: int) -> list[Cid]:
        """Up to `n` next blocks as far as they are known, want() first, in the order in which they will be
        wanted.

        A CID occurs as often as it will be wanted; below inner nodes there is more that is not known yet.
        """
        return [item[0] for item in self._pending[: -n - 1 : -1]]

    def feed(self, block: bytes) -> memoryview:
        """The part of `block` to send. Raises DecodeError; the cursor is of no use afterwards."""
        cid, at, size, depth = self._pending.pop()
        if cid.codec == RAW:
            self._check_size(at, size, len(block))
            return self._clip(block, at)
        if cid.codec != DAG_PB:
            raise UnsupportedCodec(f"codec 0x{cid.codec:x} inside a file")
        node = dagpb.decode(block)
        data = unixfs.decode(node.data)
        if data.type not in (DataType.FILE, DataType.RAW):
            raise Malformed(f"unixfs: {data.type.name.lower()} where a file is read")
        self._check_size(at, size, data.filesize or 0)
        self._descend(node.links, data, at + len(data.data), depth + 1)
        return self._clip(data.data, at)

    def _check_size(self, at: int, expected: int | None, actual: int) -> None:
        if expected is None:
            self._size = actual
            self._stop = actual if self._stop is None else min(self._stop, actual)
        elif expected != actual:
            raise Malformed(f"unixfs: part of {actual} bytes where its parent says {expected}, at {at} of the file")

    def _descend(self, links: tuple[dagpb.PBLink, ...], data: UnixFSData, at: int, depth: int) -> None:
        if len(links) != len(data.blocksizes):
            raise Malformed(f"unixfs: {len(links)} links but {len(data.blocksizes)} blocksizes")
        stop = self._stop or 0
        found: list[tuple[Cid, int, int | None, int]] = []
        for link, size in zip(links, data.blocksizes, strict=True):
            if link.name:
                raise Malformed("unixfs: a part of a file has a name")
            if size and at < stop and at + size > self._start:
                found.append((link.cid, at, size, depth))
            at += size
        if found and depth > FILE_MAX_DEPTH:
            raise OverLimit(f"unixfs: a file of more than {FILE_MAX_DEPTH} levels")
        if len(self._pending) + len(found) > FILE_MAX_PENDING:
            raise OverLimit(f"unixfs: more than {FILE_MAX_PENDING} blocks of one file pending")
        self._pending += reversed(found)

    def _clip(self, content: bytes, at: int) -> memoryview:
        low = max(self._start - at, 0)
        high = max((self._stop or 0) - at, low)
        return memoryview(content)[low:high]
