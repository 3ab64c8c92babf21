from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from protocol import file_cursor
from protocol.builder import FileBuilder, leaf
from protocol.cid import Cid
from protocol.dagpb import PBLink
from protocol.errors import DecodeError, Malformed, OverLimit, UnsupportedCodec
from protocol.file_cursor import FileCursor
from protocol.limits import FILE_MAX_DEPTH
from protocol.unixfs import DataType, UnixFSData
from tests.unit.protocol.blocks import Blocks

TEXT = bytes(range(256)) * 4


def ours(blocks: Blocks) -> Cid:
    """Chunks of 10 bytes, width 3."""
    builder = FileBuilder(blocks.add, width=3)
    for at in range(0, len(TEXT), 10):
        link = leaf(TEXT[at : at + 10])
        blocks.add(link.cid, TEXT[at : at + 10])
        builder.add(link)
    return builder.finish().cid


def old(blocks: Blocks) -> Cid:
    """Leaves inside dag-pb, as Kubo made them until CIDv1, version 0 CIDs all through."""
    parts = []
    for at in range(0, len(TEXT), 100):
        data = TEXT[at : at + 100]
        leaf_data = UnixFSData(DataType.RAW if at % 200 else DataType.FILE, data=data, filesize=len(data))
        parts.append((blocks.node([], leaf_data, version=0), len(data)))
    links = [PBLink(cid, b"", size + 8) for cid, size in parts]
    sizes = tuple(size for _, size in parts)
    root = UnixFSData(DataType.FILE, filesize=len(TEXT), blocksizes=sizes)
    return blocks.node(links, root, version=0)


def trickle(blocks: Blocks) -> Cid:
    """Content in inner nodes before their children, of any depth, as trickle trees have it."""
    shape = random.Random(7)

    def grow(data: bytes) -> tuple[Cid, int]:
        if len(data) < 20:
            return blocks.raw(data), len(data)
        inline, rest = data[:5], data[5:]
        cuts = sorted(shape.sample(range(1, len(rest)), 3))
        pieces = [rest[a:b] for a, b in zip([0, *cuts], [*cuts, len(rest)], strict=True)]
        return blocks.file([grow(piece) for piece in pieces], inline), len(data)

    return grow(TEXT)[0]


def single(blocks: Blocks) -> Cid:
    return blocks.raw(TEXT)


def inline(blocks: Blocks) -> Cid:
    return blocks.file([], TEXT)


SHAPES = [ours, old, trickle, single, inline]


@pytest.mark.parametrize("shape", SHAPES)
def test_ranges_are_exact(shape: Callable[[Blocks], Cid]) -> None:
    blocks = Blocks()
    cid = shape(blocks)
    assert blocks.read(cid) == TEXT
    chosen = random.Random(3)
    ranges = [(0, 0), (0, 1), (0, 10), (9, 11), (10, 20), (1023, 1024), (1024, 1024), (1024, 2000), (5000, 6000)]
    ranges += [tuple(sorted(chosen.sample(range(1030), 2))) for _ in range(60)]  # type: ignore[misc]
    for start, stop in ranges:
        assert blocks.read(cid, start, stop) == TEXT[start:stop]
        assert blocks.read(cid, start) == TEXT[start:]


@pytest.mark.parametrize("shape", SHAPES)
def test_only_blocks_of_the_range_are_wanted_and_each_gives_bytes_in_order(shape: Callable[[Blocks], Cid]) -> None:
    blocks = Blocks()
    cursor = FileCursor(shape(blocks), 500, 520)
    at = 500
    fed = 0
    while (cid := cursor.want()) is not None:
        assert cursor.wants(1) == [cid]
        piece = bytes(cursor.feed(blocks[cid]))
        assert TEXT[at : at + len(piece)] == piece
        at += len(piece)
        fed += 1
    assert at == 520
    assert fed <= 16
    assert cursor.size_bytes == len(TEXT)


def test_look_ahead_is_the_order_of_what_will_be_wanted() -> None:
    blocks = Blocks()
    cid = ours(blocks)
    cursor = FileCursor(cid, 100, 900)
    order, looks = [], []
    while (wanted := cursor.want()) is not None:
        order.append(wanted)
        looks.append(cursor.wants(5))
        cursor.feed(blocks[wanted])
    assert cursor.wants(5) == []
    assert len(set(order)) == len(order)
    for at, ahead in enumerate(looks):
        places = [order.index(found) for found in ahead]
        assert places == sorted(places)
        assert places[0] == at
        assert len(places) <= 5
    assert max(map(len, looks)) == 5
    assert FileCursor(cid).wants(0) == []


def test_an_empty_file() -> None:
    blocks = Blocks()
    for cid in (blocks.raw(b""), blocks.file([]), blocks.file([(blocks.raw(b""), 0)] * 3)):
        assert blocks.read(cid) == b""
        assert blocks.read(cid, 0, 10) == b""


def test_parts_without_bytes_are_never_wanted() -> None:
    blocks = Blocks()
    missing = Cid.of(0x55, b"not there")
    cid = blocks.file([(missing, 0), (blocks.raw(b"ab"), 2), (missing, 0)])
    assert blocks.read(cid) == b"ab"


@pytest.mark.parametrize(("start", "stop"), [(-1, None), (5, 4), (0, -1)])
def test_what_is_no_range(start: int, stop: int | None) -> None:
    with pytest.raises(ValueError, match="range"):
        FileCursor(Blocks().raw(b"x"), start, stop)


def lying_part(blocks: Blocks, says: int) -> Cid:
    return blocks.file([(blocks.raw(b"abc"), says)])


def lying_node(blocks: Blocks, says: int) -> Cid:
    return blocks.file([(blocks.file([(blocks.raw(b"abc"), 3)]), says)])


def lying_inline(blocks: Blocks, says: int) -> Cid:
    return blocks.file([(blocks.file([], b"abc"), says)])


@pytest.mark.parametrize("liar", [lying_part, lying_node, lying_inline])
@pytest.mark.parametrize("says", [1, 2, 4, 2**62])
def test_a_part_that_is_not_as_long_as_its_parent_says(liar: Callable[[Blocks, int], Cid], says: int) -> None:
    """Nothing is sent of it: neither more than the range nor less."""
    blocks = Blocks()
    for start, stop in ((0, None), (0, 1), (1, 2)):
        if start >= says:
            continue
        with pytest.raises(Malformed):
            blocks.read(liar(blocks, says), start, stop)


def test_a_file_without_end_is_stopped_by_its_sizes() -> None:
    """A chain of nodes that all say 2^40 bytes: no leaf is that long."""
    blocks = Blocks()
    cid, size = blocks.raw(b"x" * 100), 2**40
    for _ in range(30):
        cid = blocks.file([(cid, size)])
    with pytest.raises(Malformed):
        blocks.read(cid)


def test_depth_is_bounded() -> None:
    blocks = Blocks()
    cid = blocks.raw(b"x")
    for _ in range(FILE_MAX_DEPTH):
        cid = blocks.file([(cid, 1)])
    assert blocks.read(cid) == b"x"
    with pytest.raises(OverLimit):
        blocks.read(blocks.file([(cid, 1)]))


def test_pending_blocks_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same wide node nested: few blocks that would pile up a row of links at each level."""
    blocks = Blocks()
    leaf_cid = blocks.raw(b"x")
    cid, size = leaf_cid, 1
    monkeypatch.setattr(file_cursor, "FILE_MAX_PENDING", 1000)
    count = 300
    for _ in range(4):
        cid, size = blocks.file([(cid, size)] + [(leaf_cid, 1)] * count), size + count
    assert blocks.read(cid, 0, 1) == b"x"
    with pytest.raises(OverLimit):
        blocks.read(cid)


@pytest.mark.parametrize(
    ("error", "data", "links"),
    [
        (Malformed, UnixFSData(DataType.DIRECTORY), 0),
        (Malformed, UnixFSData(DataType.SYMLINK, data=b"x"), 0),
        (Malformed, UnixFSData(DataType.METADATA), 0),
        (Malformed, UnixFSData(DataType.FILE, filesize=2, blocksizes=(1, 1)), 1),
        (Malformed, UnixFSData(DataType.FILE, filesize=1, blocksizes=(1,)), 2),
        (Malformed, UnixFSData(DataType.FILE, data=b"x", filesize=1), 1),
        (Malformed, None, 0),
    ],
)
def test_nodes_that_are_no_file(error: type[DecodeError], data: UnixFSData | None, links: int) -> None:
    blocks = Blocks()
    cid = blocks.node([PBLink(blocks.raw(b"x"), b"", 1)] * links, data)
    with pytest.raises(error):
        blocks.read(cid)


def test_parts_with_names_are_refused_and_absent_names_are_not() -> None:
    blocks = Blocks()
    data = UnixFSData(DataType.FILE, filesize=1, blocksizes=(1,))
    part = blocks.raw(b"x")
    assert blocks.read(blocks.node([PBLink(part, None, None)], data)) == b"x"
    with pytest.raises(Malformed):
        blocks.read(blocks.node([PBLink(part, b"name", 1)], data))


def test_another_codec_inside_a_file() -> None:
    blocks = Blocks()
    other = Cid.of(0x71, b"\xa0")
    blocks.add(other, b"\xa0")
    with pytest.raises(UnsupportedCodec):
        blocks.read(blocks.file([(other, 1)]))
