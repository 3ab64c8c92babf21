from __future__ import annotations

import pytest

from protocol import unixfs
from protocol.errors import DecodeError, Malformed, NotCanonical, OverLimit, Truncated
from protocol.limits import NODE_MAX_LINKS
from protocol.unixfs import DataType, UnixFSData

NODES = [
    UnixFSData(DataType.DIRECTORY),
    UnixFSData(DataType.DIRECTORY, mode=0o755, mtime=(1_700_000_000, 999_999_999)),
    UnixFSData(DataType.FILE, filesize=0),
    UnixFSData(DataType.FILE, data=b"inline", filesize=6 + 70_000, blocksizes=(1, 69_999)),
    UnixFSData(DataType.RAW, data=b"leaf", filesize=4),
    UnixFSData(DataType.SYMLINK, data=b"../x"),
    UnixFSData(DataType.HAMT_SHARD, data=b"\x01", hash_type=0x22, fanout=256),
    UnixFSData(DataType.HAMT_SHARD, data=bytes(128), hash_type=0x22, fanout=1024),
    UnixFSData(DataType.METADATA, data=b"?"),
    UnixFSData(DataType.FILE, filesize=0, mtime=(0, 0)),
]


@pytest.mark.parametrize("node", NODES)
def test_what_is_encoded_is_decoded(node: UnixFSData) -> None:
    assert unixfs.decode(unixfs.encode(node)) == node


def test_fields_may_come_in_any_order_and_blocksizes_packed() -> None:
    raw = bytes.fromhex("200322020405180c0802")
    assert unixfs.decode(raw) == UnixFSData(DataType.FILE, filesize=12, blocksizes=(3, 4, 5))


def test_a_time_before_1970() -> None:
    ten_bytes = bytes.fromhex("ffffffffffffffffff01")  # -1
    found = unixfs.decode(b"\x08\x01\x42\x0b\x08" + ten_bytes)
    assert found.mtime == (-1, 0)
    found = unixfs.decode(b"\x08\x01\x42\x10\x08" + ten_bytes + b"\x15\x01\0\0\0")
    assert found.mtime == (-1, 1)


@pytest.mark.parametrize(
    ("error", "raw"),
    [
        (Malformed, b""),  # dag-pb data is there and empty
        (Malformed, b"\x18\x00"),  # no type
        (Malformed, b"\x08\x06"),  # unknown type
        (Malformed, b"\x08\x01\x08\x01"),  # type twice
        (Malformed, b"\x08\x02\x18\x00\x18\x00"),
        (Malformed, b"\x08\x02\x12\x01a\x12\x01a\x18\x02"),
        (Malformed, b"\x08\x01\x48\x01"),  # field 9
        (Malformed, b"\x0a\x00"),  # type as bytes
        (Truncated, b"\x08"),
        (Truncated, b"\x08\x02\x12\x05abc"),
        (NotCanonical, b"\x08\x81\x00"),
        (OverLimit, b"\x08\x02\x18" + b"\xff" * 9 + b"\x01"),  # 2^64 - 1
        (Malformed, b"\x08\x02\x12\x03abc"),  # content without filesize
        (Malformed, b"\x08\x02\x12\x03abc\x18\x04"),
        (Malformed, b"\x08\x02\x18\x05\x20\x02\x20\x02"),
        (Malformed, b"\x08\x02\x18\x00\x22\x01\x05"),
        (Truncated, b"\x08\x02\x18\x05\x22\x01\x85"),
        (Malformed, b"\x08\x01\x20\x01"),  # blocksizes in a directory
        (Malformed, b"\x08\x04"),  # symlink to nowhere
        (OverLimit, b"\x08\x04\x12\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"),
        (Malformed, b"\x08\x04\x12\x81\x20" + b"x" * 4097),
        (Malformed, b"\x08\x05\x12\x01\x01\x30\x80\x02"),  # HAMT without a hash function
        (Malformed, b"\x08\x05\x12\x01\x01\x28\x12\x30\x80\x02"),
        (Malformed, b"\x08\x05\x12\x01\x01\x28\x22"),  # without a fanout
        (Malformed, b"\x08\x05\x12\x01\x01\x28\x22\x30\x04"),
        (Malformed, b"\x08\x05\x12\x01\x01\x28\x22\x30\x81\x02"),  # 257
        (Malformed, b"\x08\x05\x12\x01\x01\x28\x22\x30\x80\x10"),  # 2048
        (Malformed, b"\x08\x05\x12\x02\x01\x01\x28\x22\x30\x08"),  # bitmap of 16 for a fanout of 8
        (Malformed, b"\x08\x01\x38\x80\x80\x80\x80\x10"),  # mode of 33 bits
        (Malformed, b"\x08\x01\x42\x00"),  # mtime without seconds
        (Malformed, b"\x08\x01\x42\x07\x08\x01\x15\0\0\0\0"),  # nanoseconds of 0 are not written
        (Malformed, b"\x08\x01\x42\x07\x08\x01\x15\xff\xff\xff\xff"),
        (Malformed, b"\x08\x01\x42\x06\x08\x01\x15\x01\0\0"),
        (Malformed, b"\x08\x01\x42\x03\x08\x01\x08"),
        (NotCanonical, b"\x08\x01\x42\x0b\x08" + b"\xff" * 9 + b"\x02"),
    ],
)
def test_what_is_refused(error: type[DecodeError], raw: bytes) -> None:
    with pytest.raises(error):
        unixfs.decode(raw)


def test_a_node_without_data_is_not_unixfs() -> None:
    with pytest.raises(Malformed):
        unixfs.decode(None)


@pytest.mark.parametrize("form", ["unpacked", "packed"])
def test_blocksizes_are_bounded(form: str) -> None:
    count = NODE_MAX_LINKS + 1
    sizes = b"\x20\x00" * count if form == "unpacked" else b"\x22\x81\x80\x04" + bytes(count)
    with pytest.raises(OverLimit):
        unixfs.decode(b"\x08\x02" + sizes)
