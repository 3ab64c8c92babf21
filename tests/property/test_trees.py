"""Properties of all that reads dag-pb, UnixFS, HAMTs, CAR files and bundles: round trips, and only typed errors."""

from __future__ import annotations

from itertools import pairwise
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import builder, dagpb, unixfs
from protocol.builder import DirEntry, FileBuilder, build_directory, leaf
from protocol.bundle import BundleReader
from protocol.car import CarDecoder, decode_header, encode_header, section_prefix
from protocol.cid import DAG_PB, RAW, Cid
from protocol.dag_walk import DagWalk
from protocol.dagpb import PBLink, PBNode
from protocol.errors import DecodeError
from protocol.unixfs import DataType, UnixFSData
from protocol.walk import DirectoryList, FileCursor, NotFoundInTree, PathWalk
from tests.unit.protocol.blocks import Blocks
from tests.vectors.make_trees import SITE, bundle_of

INT63 = st.integers(0, 2**63 - 1)
CIDS = st.one_of(
    st.binary(max_size=8).map(lambda data: Cid.of(RAW, data)),
    st.binary(max_size=8).map(lambda data: Cid.of(DAG_PB, data)),
    st.binary(max_size=8).map(lambda data: Cid(Cid.of(DAG_PB, data).multihash)),
    st.binary(max_size=20).map(lambda data: Cid(bytes((1, RAW, 0, len(data))) + data)),
)
LINKS = st.builds(PBLink, CIDS, st.none() | st.binary(max_size=300), st.none() | INT63)
NODES = st.builds(
    PBNode,
    st.lists(LINKS, max_size=8).map(lambda links: tuple(sorted(links, key=lambda link: link.name or b""))),
    st.none() | st.binary(max_size=300),
)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=30).filter(
    lambda name: name not in (".", "..")
)


Damage = tuple[int, bytes, int]
DAMAGE = st.tuples(st.integers(0, 10_000), st.binary(max_size=3), st.integers(0, 3))
"""Where, what is put there, how much is taken away."""


def spoil(block: bytes, damage: Damage) -> bytes:
    at, patch_bytes, drop = damage
    at %= len(block) + 1
    return block[:at] + patch_bytes + block[at + drop :]


@given(NODES)
def test_dag_pb_round_trip(node: PBNode) -> None:
    block = dagpb.encode(node)
    assert dagpb.decode(block) == node
    assert [cid for cid, _, _ in dagpb.raw_links(block)] == [link.cid for link in node.links]
    assert len(block) == sum(len(dagpb.encode_link(link.cid, link.name, link.tsize)) for link in node.links) + len(
        dagpb.join_node((), node.data)
    )


@given(NODES, DAMAGE)
def test_spoilt_dag_pb(node: PBNode, damage: Damage) -> None:
    """What is still accepted means exactly its bytes: it has one encoding, up to the order of fields."""
    block = spoil(dagpb.encode(node), damage)
    try:
        found = dagpb.decode(block)
    except DecodeError:
        return
    assert len(dagpb.encode(found)) == len(block)
    assert dagpb.decode(dagpb.encode(found)).data == found.data


@given(st.binary(max_size=200))
def test_any_bytes_as_dag_pb_and_unixfs(block: bytes) -> None:
    for decode in (dagpb.decode, dagpb.raw_links, unixfs.decode):
        try:
            decode(block)
        except DecodeError:
            continue


@st.composite
def unixfs_nodes(draw: st.DrawFn) -> UnixFSData:
    kind = draw(st.sampled_from(DataType))
    data = draw(st.binary(min_size=1, max_size=200))
    mode = draw(st.none() | st.integers(0, 2**32 - 1))
    mtime = draw(st.none() | st.tuples(INT63, st.integers(0, 999_999_999)))
    if kind in (DataType.FILE, DataType.RAW):
        sizes = tuple(draw(st.lists(st.integers(0, 2**40), max_size=6)))
        return UnixFSData(kind, data, len(data) + sum(sizes), sizes, mode=mode, mtime=mtime)
    if kind is DataType.HAMT_SHARD:
        fanout = 2 ** draw(st.integers(3, 10))
        return UnixFSData(kind, data[: fanout // 8], hash_type=0x22, fanout=fanout, mode=mode, mtime=mtime)
    return UnixFSData(kind, data, mode=mode, mtime=mtime)


@given(unixfs_nodes())
def test_unixfs_round_trip(node: UnixFSData) -> None:
    assert unixfs.decode(unixfs.encode(node)) == node


@given(unixfs_nodes(), DAMAGE)
def test_spoilt_unixfs(node: UnixFSData, damage: Damage) -> None:
    try:
        found = unixfs.decode(spoil(unixfs.encode(node), damage))
    except DecodeError:
        return
    if found.type in (DataType.FILE, DataType.RAW):
        assert (found.filesize or 0) == len(found.data) + sum(found.blocksizes)
    if found.mtime is None or found.mtime[0] >= 0:
        assert unixfs.decode(unixfs.encode(found)) == found


@given(st.lists(NAMES, unique=True, max_size=40), st.sampled_from([0, 500, 262_144]))
def test_directories_give_back_their_entries(names: list[str], limit: int) -> None:
    """As one block and as a HAMT, whatever the limit."""
    blocks = Blocks()
    links = {name: leaf(name.encode()) for name in names}
    for name, link in links.items():
        blocks.add(link.cid, name.encode())
    entries = [DirEntry(name, link.cid, link.tsize) for name, link in links.items()]
    with patch.object(builder, "DIRECTORY_MAX_BYTES", limit if names else 262_144):
        made = build_directory(entries, blocks.add)
        assert build_directory(entries[::-1], Blocks().add) == made
    key = lambda entry: entry.name  # noqa: E731
    assert sorted(blocks.list(made.cid), key=key) == sorted(entries, key=key)
    for name, link in links.items():
        assert blocks.resolve(made.cid, name).cid == link.cid
        try:
            found = blocks.resolve(made.cid, name + "x")
        except NotFoundInTree:
            found = None
        assert (found is not None) == (name + "x" in links)


@given(
    data=st.binary(max_size=400),
    chunk=st.integers(1, 50),
    width=st.integers(2, 5),
    start=st.integers(0, 450),
    length=st.none() | st.integers(0, 450),
)
def test_files_give_back_their_ranges(data: bytes, chunk: int, width: int, start: int, length: int | None) -> None:
    blocks = Blocks()
    making = FileBuilder(blocks.add, width=width)
    for at in range(0, len(data), chunk):
        blocks.raw(data[at : at + chunk])
        making.add(leaf(data[at : at + chunk]))
    cid = making.finish().cid
    stop = None if length is None else start + length
    assert blocks.read(cid, start, stop) == data[start:stop]


def sample() -> tuple[Blocks, list[Cid]]:
    """A small site with every kind of node; the roots that are read below."""
    blocks = Blocks()
    parts = [(blocks.raw(bytes((number,)) * 9), 9) for number in range(5)]
    file = blocks.file([(blocks.file(parts[:3], b"in"), 29), *parts[3:]], b"first")
    link, block = builder.symlink_node("../d/f")
    blocks.add(link, block)
    with patch.object(builder, "DIRECTORY_MAX_BYTES", 100):
        entries = [DirEntry(f"{number}", file, 1) for number in range(20)]
        shard = build_directory([*entries, DirEntry("f", file, 9)], blocks.add).cid
    root = blocks.directory({"d": shard, "f": file, "l": link})
    return blocks, [root, shard, file, link]


BLOCKS, ROOTS = sample()
NODE_CIDS = sorted(cid for cid in BLOCKS if cid.codec == DAG_PB)


@settings(max_examples=300)
@given(st.sampled_from(NODE_CIDS), st.sampled_from(ROOTS), st.integers(0, 60), st.integers(0, 60), DAMAGE)
def test_readers_of_spoilt_trees(spoilt: Cid, root: Cid, start: int, stop: int, damage: Damage) -> None:
    """Blocks stand under CIDs that they do not have, so that every reader meets them: typed errors, and an end."""
    blocks = Blocks(BLOCKS)
    blocks[spoilt] = spoil(blocks[spoilt], damage)
    start, stop = sorted((start, stop))
    for read in (read_range, read_list, read_path, read_walk):
        try:
            read(blocks, root, start, stop)
        except (DecodeError, NotFoundInTree):
            continue


def load(blocks: Blocks, cid: Cid) -> bytes:
    """Any leaf that a spoilt node links to is there."""
    return blocks.get(cid, b"x" * 9)


def read_range(blocks: Blocks, cid: Cid, start: int, stop: int) -> None:
    cursor = FileCursor(cid, start, stop)
    sent = 0
    for _ in range(100):
        if (wanted := cursor.want()) is None:
            break
        sent += len(cursor.feed(load(blocks, wanted)))
        assert sent <= stop - start
    assert cursor.want() is None
    assert cursor.size_bytes is not None
    assert sent == max(0, min(stop, cursor.size_bytes) - start)


def read_list(blocks: Blocks, cid: Cid, _start: int, _stop: int) -> None:
    listing = DirectoryList(cid)
    while (wanted := listing.want()) is not None:
        for entry in listing.feed(load(blocks, wanted)):
            assert "/" not in entry.name
            assert entry.name not in ("", ".", "..")


def read_path(blocks: Blocks, cid: Cid, _start: int, _stop: int) -> None:
    walk = PathWalk(cid, ("d", "f"), max_symlinks=3)
    while (wanted := walk.want()) is not None:
        walk.feed(load(blocks, wanted))
    assert walk.result.cid == walk.trail[-1]


def read_walk(blocks: Blocks, cid: Cid, start: int, _stop: int) -> None:
    walk = DagWalk(cid, in_order=bool(start % 2))
    named: set[Cid] = set()
    while not walk.done:
        for wanted in walk.want(1 + start):
            assert wanted.codec == RAW or wanted not in named
            named.add(wanted)
            walk.feed(wanted, load(blocks, wanted))


@given(st.lists(CIDS, max_size=30))
def test_car_headers_round_trip(roots: list[Cid]) -> None:
    assert CarDecoder().feed(encode_header(roots)) == []
    decoder = CarDecoder()
    decoder.feed(encode_header(roots))
    assert decoder.roots == tuple(roots)


@given(st.binary(max_size=100))
def test_any_bytes_as_a_car_header(body: bytes) -> None:
    """Whatever is accepted is what the encoder writes for it."""
    try:
        roots = decode_header(body)
    except DecodeError:
        return
    assert encode_header(roots).endswith(body)


SECTIONS = st.lists(st.tuples(CIDS, st.binary(max_size=40)), max_size=8)


@given(SECTIONS, st.lists(st.integers(0, 600), max_size=10))
def test_car_files_round_trip_in_any_pieces(blocks: list[tuple[Cid, bytes]], cuts: list[int]) -> None:
    raw = encode_header([]) + b"".join(section_prefix(cid, len(data)) + data for cid, data in blocks)
    decoder = CarDecoder()
    ends = sorted({0, len(raw), *(min(cut, len(raw)) for cut in cuts)})
    found = [section for start, stop in pairwise(ends) for section in decoder.feed(raw[start:stop])]
    decoder.close()
    assert [(section.cid, section.data) for section in found] == blocks


@given(SECTIONS, DAMAGE)
def test_spoilt_car_files(blocks: list[tuple[Cid, bytes]], damage: Damage) -> None:
    """Whole and byte by byte end alike: the same sections or the same error at the same place."""
    raw = encode_header([]) + b"".join(section_prefix(cid, len(data)) + data for cid, data in blocks)
    raw = spoil(raw, damage)
    outcomes = []
    for size in (1, len(raw) + 1):
        decoder = CarDecoder()
        try:
            for start in range(0, len(raw), size):
                decoder.feed(raw[start : start + size])
            decoder.close()
        except DecodeError as error:
            outcomes.append((error.code, error.offset, decoder.offset))
        else:
            outcomes.append(("", None, decoder.offset))
    assert outcomes[0] == outcomes[1]


BUNDLE = bundle_of(SITE)


@given(DAMAGE)
def test_spoilt_bundles(damage: Damage) -> None:
    """No bundle but the one that was signed is taken as whole."""
    raw = spoil(BUNDLE, damage)
    reader = BundleReader()
    try:
        for cid, data in reader.feed(raw):
            cid.verify(data)
        reader.close()
    except DecodeError:
        assert raw != BUNDLE
    else:
        assert raw == BUNDLE
