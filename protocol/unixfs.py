"""The UnixFS `Data` message inside dag-pb nodes (docs/spec/unixfs.md, section 3), and the values that trees
are made of.

Encoding writes fields in ascending number and `blocksizes` unpacked, as every implementation does. Decoding
takes the fields in any order (protobuf promises none) and packed `blocksizes`, and refuses unknown fields,
repeated singular fields, and sizes that do not add up.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeVar

from . import varint
from .cid import Cid
from .errors import Malformed, NotCanonical, OverLimit, Truncated
from .limits import HAMT_MAX_FANOUT, NODE_MAX_LINKS, SYMLINK_MAX_BYTES

MURMUR3_X64_64: Final = 0x22

Emit = Callable[[Cid, bytes], None]
"""Takes a finished block and its CID, children always before parents."""


class DataType(IntEnum):
    """What a node is. RAW is the old form of a leaf inside dag-pb; METADATA was reserved and never used."""

    RAW = 0
    DIRECTORY = 1
    FILE = 2
    METADATA = 3
    SYMLINK = 4
    HAMT_SHARD = 5


@dataclass(frozen=True, slots=True)
class UnixFSData:
    """One `Data` message. `data` is file content, symlink target or HAMT bitmap; absent and empty are both
    b"".

    `filesize` and `blocksizes` are bytes of file content, without any envelope. `mtime` is (seconds,
    nanoseconds).
    """

    type: DataType
    data: bytes = b""
    filesize: int | None = None
    blocksizes: tuple[int, ...] = ()
    hash_type: int | None = None
    fanout: int | None = None
    mode: int | None = None
    mtime: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """A finished subtree: `tsize` is the bytes of all its blocks, each link counted; `size_bytes` is file
    content, 0 for others."""

    cid: Cid
    tsize: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class DirEntry:
    """A name in a directory; `tsize` as in Link, a hint when read.

    Names that are not UTF-8 carry surrogate escapes (PEP 383).
    """

    name: str
    cid: Cid
    tsize: int


def encode(node: UnixFSData) -> bytes:
    """The message of `node`. An `mtime` needs seconds of at least 0."""
    parts = [b"\x08", varint.encode(node.type)]
    if node.data:
        parts += (b"\x12", varint.encode(len(node.data)), node.data)
    if node.filesize is not None:
        parts += (b"\x18", varint.encode(node.filesize))
    parts += (b"\x20" + varint.encode(size) for size in node.blocksizes)
    for tag, value in ((b"\x28", node.hash_type), (b"\x30", node.fanout), (b"\x38", node.mode)):
        if value is not None:
            parts += (tag, varint.encode(value))
    if node.mtime is not None:
        seconds, nanoseconds = node.mtime
        message = b"\x08" + varint.encode(seconds)
        if nanoseconds:
            message += b"\x15" + nanoseconds.to_bytes(4, "little")
        parts += (b"\x42", varint.encode(len(message)), message)
    return b"".join(parts)


def decode(raw: bytes | None) -> UnixFSData:
    """Decode and check one message; None stands for a dag-pb node without data. Raises DecodeError."""
    if not raw:
        raise Malformed("unixfs: a dag-pb node without UnixFS data")
    found = _Fields()
    found.read(raw)
    try:
        kind = DataType(found.ints[_TYPE])
    except (KeyError, ValueError):
        raise Malformed("unixfs: data type is missing or unknown") from None
    node = UnixFSData(
        kind,
        data=found.spans.get(_CONTENT, b""),
        filesize=found.ints.get(_FILESIZE),
        blocksizes=tuple(found.blocksizes),
        hash_type=found.ints.get(_HASH_TYPE),
        fanout=found.ints.get(_FANOUT),
        mode=found.ints.get(_MODE),
        mtime=_decode_mtime(found.spans[_MTIME]) if _MTIME in found.spans else None,
    )
    _check(node)
    return node


# Tags: field number and wire type.
_TYPE, _FILESIZE, _BLOCKSIZE, _HASH_TYPE, _FANOUT, _MODE = 0x08, 0x18, 0x20, 0x28, 0x30, 0x38
_CONTENT, _PACKED_BLOCKSIZES, _MTIME = 0x12, 0x22, 0x42
_SINGLE_INTS = frozenset((_TYPE, _FILESIZE, _HASH_TYPE, _FANOUT, _MODE))
_MODE_MAX = 0xFFFF_FFFF
_NANOSECONDS_MAX = 999_999_999
_INT64_BYTES = 10  # protobuf writes a negative int64 as a varint of ten bytes
_T = TypeVar("_T", int, bytes)


class _Fields:
    """The fields of a message by tag: singular ones at most once, blocksizes gathered."""

    __slots__ = ("blocksizes", "ints", "spans")

    def __init__(self) -> None:
        self.ints: dict[int, int] = {}
        self.spans: dict[int, bytes] = {}
        self.blocksizes: list[int] = []

    def read(self, raw: bytes) -> None:
        at, end = 0, len(raw)
        while at < end:
            tag = raw[at]
            value, at = varint.decode(raw, at + 1)
            if tag == _BLOCKSIZE:
                self._add_blocksize(value)
            elif tag in _SINGLE_INTS:
                _set_once(self.ints, tag, value)
            elif tag in (_CONTENT, _MTIME, _PACKED_BLOCKSIZES):
                if value > end - at:
                    raise Truncated(f"unixfs: field of {value} bytes where {end - at} are left")
                span = raw[at : at + value]
                at += value
                if tag == _PACKED_BLOCKSIZES:
                    self._unpack_blocksizes(span)
                else:
                    _set_once(self.spans, tag, span)
            else:
                raise Malformed(f"unixfs: unknown field or wire type 0x{tag:02x}")

    def _unpack_blocksizes(self, span: bytes) -> None:
        at = 0
        while at < len(span):
            size, at = varint.decode(span, at)
            self._add_blocksize(size)

    def _add_blocksize(self, size: int) -> None:
        if len(self.blocksizes) >= NODE_MAX_LINKS:
            raise OverLimit(f"unixfs: more than {NODE_MAX_LINKS} blocksizes")
        self.blocksizes.append(size)


def _set_once(fields: dict[int, _T], tag: int, value: _T) -> None:
    if tag in fields:
        raise Malformed(f"unixfs: field {tag >> 3} occurs twice")
    fields[tag] = value


def _decode_mtime(raw: bytes) -> tuple[int, int]:
    """UnixTime: seconds (int64, varint), then perhaps nanoseconds (fixed32, 1 to 999,999,999)."""
    if raw[:1] != b"\x08":
        raise Malformed("unixfs: mtime without seconds")
    if len(raw) > _INT64_BYTES and all(byte & 0x80 for byte in raw[1:_INT64_BYTES]):
        seconds, at = _decode_negative(raw[1 : 1 + _INT64_BYTES]), 1 + _INT64_BYTES
    else:
        seconds, at = varint.decode(raw, 1)
    if at == len(raw):
        return seconds, 0
    nanoseconds = int.from_bytes(raw[at + 1 : at + 5], "little")
    if len(raw) != at + 5 or raw[at] != 0x15 or not 1 <= nanoseconds <= _NANOSECONDS_MAX:
        raise Malformed("unixfs: nanoseconds of mtime are not valid")
    return seconds, nanoseconds


def _decode_negative(raw: bytes) -> int:
    if raw[-1] != 1:
        raise NotCanonical("unixfs: seconds of mtime are not a 64-bit integer")
    return sum((byte & 0x7F) << 7 * i for i, byte in enumerate(raw)) - (1 << 64)


def _check(node: UnixFSData) -> None:
    if node.mode is not None and node.mode > _MODE_MAX:
        raise Malformed("unixfs: mode is over 32 bits")
    if node.type in (DataType.FILE, DataType.RAW):
        if (node.filesize or 0) != len(node.data) + sum(node.blocksizes):
            raise Malformed("unixfs: filesize is not the sum of its parts")
    elif node.blocksizes:
        raise Malformed("unixfs: blocksizes outside of a file")
    if node.type is DataType.HAMT_SHARD:
        _check_shard(node)
    elif node.type is DataType.SYMLINK and not 1 <= len(node.data) <= SYMLINK_MAX_BYTES:
        raise Malformed(f"unixfs: symlink target of {len(node.data)} bytes")


def _check_shard(node: UnixFSData) -> None:
    fanout = node.fanout or 0
    if node.hash_type != MURMUR3_X64_64:
        raise Malformed("unixfs: HAMT with an unknown hash function")
    if not 8 <= fanout <= HAMT_MAX_FANOUT or fanout & (fanout - 1):
        raise Malformed(f"unixfs: HAMT fanout {fanout}")
    if len(node.data) > fanout // 8:
        raise Malformed("unixfs: HAMT bitmap is longer than its fanout")
