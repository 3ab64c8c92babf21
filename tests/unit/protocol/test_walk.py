from __future__ import annotations

from itertools import pairwise

import pytest

from protocol import hamt
from protocol.cid import DAG_PB, IDENTITY, RAW, Cid
from protocol.dagpb import PBLink, encode
from protocol.dagpb import PBNode as Node
from protocol.errors import DecodeError, Malformed, OverLimit, UnsupportedCodec
from protocol.limits import PATH_MAX_SEGMENTS
from protocol.unixfs import DataType, UnixFSData
from protocol.walk import (
    DirectoryList,
    NotFoundInTree,
    PathWalk,
    children,
    follow_symlink,
    inline_block,
)
from tests.unit.protocol.blocks import Blocks
from tests.vectors.make_trees import Tree, plant

SITE: Tree = {
    "index.html": b"<p>",
    "docs": {"a": {"b": {"c.txt": b"c"}}, "to-index": "../index.html", "to-a": "a"},
    "big": {f"{number}": b"n" for number in range(7000)} | {"sub": {"x": b"x"}},
    "loop": "loop",
    "ping": "pong",
    "pong": "ping",
    "out": "../x",
    "absolute": "/docs",
    "self": "docs/../docs/./a//b",
    "over": "docs/../../docs",
    "empty": {},
    "é": {"日本": b"1"},
}


@pytest.fixture(scope="module")
def site() -> tuple[Blocks, Cid]:
    blocks = Blocks()
    return blocks, plant(SITE, blocks.add).cid


@pytest.mark.parametrize(
    ("path", "kind", "size"),
    [
        ("", "directory", 0),
        ("index.html", "file", 3),
        ("docs", "directory", 0),
        ("docs/a/b/c.txt", "file", 1),
        ("docs/to-index", "symlink", 13),
        ("big", "directory", 0),
        ("big/6999", "file", 1),
        ("big/sub", "directory", 0),
        ("big/sub/x", "file", 1),
        ("empty", "directory", 0),
        ("é/日本", "file", 1),
    ],
)
def test_paths_that_exist(site: tuple[Blocks, Cid], path: str, kind: str, size: int) -> None:
    blocks, root = site
    walk = blocks.walk_path(root, path)
    assert (walk.result.kind, walk.result.size_bytes) == (kind, size)
    assert walk.trail[0] == root
    assert walk.trail[-1] == walk.result.cid
    assert walk.position == len(walk.path)


@pytest.mark.parametrize(
    ("path", "segment"),
    [
        ("nothing", 0),
        ("docs/nothing", 1),
        ("docs/nothing/more", 1),
        ("index.html/x", 1),
        ("docs/a/b/c.txt/x/y", 4),
        ("big/7000", 1),
        ("big/sub/y", 2),
        ("big/6999/x", 2),
        ("docs/to-index/x", 2),
        ("empty/x", 1),
        ("e\u0301", 0),
        ("DOCS", 0),
        ("..", 0),
        (".", 0),
        ("docs/..", 1),
    ],
)
def test_paths_that_do_not(site: tuple[Blocks, Cid], path: str, segment: int) -> None:
    blocks, root = site
    with pytest.raises(NotFoundInTree) as caught:
        blocks.walk_path(root, path)
    assert caught.value.segment == segment


def test_the_trail_names_every_block_that_was_passed(site: tuple[Blocks, Cid]) -> None:
    blocks, root = site
    trail = blocks.walk_path(root, "big/6999").trail
    assert trail[0] == root
    assert trail[1] == blocks.resolve(root, "big").cid
    assert len(trail) >= 4  # a shard between the root of the HAMT and the file
    for parent, child in pairwise(trail):
        assert child in {link.cid for link in children(parent, blocks[parent])}


def test_result_says_what_feed_said(site: tuple[Blocks, Cid]) -> None:
    blocks, root = site
    walk = PathWalk(root, ("nothing",))
    with pytest.raises(RuntimeError):
        _ = walk.result
    with pytest.raises(NotFoundInTree):
        walk.feed(blocks[root])
    assert walk.want() is None
    with pytest.raises(NotFoundInTree):
        _ = walk.result
    with pytest.raises(RuntimeError):
        walk.feed(blocks[root])


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [
        ("docs/to-index", "index.html"),
        ("docs/to-a/b/c.txt", "docs/a/b/c.txt"),
        ("self/c.txt", "docs/a/b/c.txt"),
    ],
)
def test_symlinks_are_followed_when_asked(site: tuple[Blocks, Cid], path: str, leads_to: str) -> None:
    blocks, root = site
    walk = blocks.walk_path(root, path, max_symlinks=1)
    assert "/".join(walk.path) == leads_to
    assert walk.result == blocks.resolve(root, leads_to)
    assert blocks.resolve(root, path.split("/")[0]).cid in walk.trail


@pytest.mark.parametrize("path", ["loop", "ping", "ping/x", "out", "absolute", "absolute/a", "over"])
def test_symlinks_that_lead_nowhere(site: tuple[Blocks, Cid], path: str) -> None:
    blocks, root = site
    with pytest.raises(NotFoundInTree):
        blocks.walk_path(root, path, max_symlinks=20)


def test_symlinks_cannot_make_paths_without_end() -> None:
    blocks = Blocks()
    root = plant({"d": {"grow": "grow/" * 600}}, blocks.add).cid
    with pytest.raises(NotFoundInTree, match="too long"):
        blocks.walk_path(root, "d/grow", max_symlinks=1000)


def test_follow_symlink() -> None:
    assert follow_symlink(("a", "link"), "x") == ("a", "x")
    assert follow_symlink(("a", "link"), "../x/./y//z", ("t",)) == ("x", "y", "z", "t")
    assert follow_symlink(("link",), ".") == ()
    assert follow_symlink(("link",), "x/..", ("y",)) == ("y",)
    for at, target in ((("link",), ".."), (("a", "link"), "../.."), (("link",), "/")):
        with pytest.raises(NotFoundInTree):
            follow_symlink(at, target)


def test_paths_are_bounded(site: tuple[Blocks, Cid]) -> None:
    with pytest.raises(OverLimit):
        PathWalk(site[1], ("x",) * (PATH_MAX_SEGMENTS + 1))


def test_names_that_are_not_utf8_are_found_as_the_system_spells_them() -> None:
    blocks = Blocks()
    root = blocks.directory({"\udcff": blocks.raw(b"1"), "ok": blocks.raw(b"2")})
    assert blocks.resolve(root, "\udcff").size_bytes == 1
    assert sorted(entry.name for entry in blocks.list(root)) == ["ok", "\udcff"]
    with pytest.raises(NotFoundInTree):
        blocks.resolve(root, "\ud800")


def test_the_first_of_two_equal_names_counts() -> None:
    blocks = Blocks()
    one, two = blocks.raw(b"1"), blocks.raw(b"22")
    root = blocks.node([PBLink(one, b"x", 1), PBLink(two, b"x", 2)], UnixFSData(DataType.DIRECTORY))
    assert blocks.resolve(root, "x").cid == one
    assert [entry.cid for entry in blocks.list(root)] == [one]


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"a\0"])
def test_names_that_no_directory_may_have(name: bytes) -> None:
    blocks = Blocks()
    one = blocks.raw(b"1")
    root = blocks.node([PBLink(one, b"ok", 1), PBLink(one, name, 1)], UnixFSData(DataType.DIRECTORY))
    with pytest.raises(Malformed):
        blocks.list(root)
    assert blocks.resolve(root, "ok").cid == one


def test_listing(site: tuple[Blocks, Cid]) -> None:
    blocks, root = site
    assert [entry.name for entry in blocks.list(root)] == sorted(SITE, key=str.encode)
    big = blocks.resolve(root, "big").cid
    found = blocks.list(big)
    assert len(found) == 7001
    assert {entry.name for entry in found} == set(SITE["big"])
    assert blocks.list(blocks.resolve(root, "empty").cid) == []


@pytest.mark.parametrize("path", ["index.html", "docs/to-index"])
def test_only_directories_are_listed(site: tuple[Blocks, Cid], path: str) -> None:
    blocks, root = site
    with pytest.raises((Malformed, UnsupportedCodec)):
        blocks.list(blocks.resolve(root, path).cid)


def test_a_huge_fan_out_of_shards_is_bounded() -> None:
    """Shards that all link to full shards: the list of pending ones grows by one row a level and no further."""
    blocks = Blocks()
    cid = blocks.raw(b"x")
    bits = b"\xff" * 128
    for _ in range(6):
        links = [PBLink(cid, b"%03X" % index, 1) for index in range(1024)]
        cid = blocks.node(links, UnixFSData(DataType.HAMT_SHARD, data=bits, hash_type=0x22, fanout=1024))
    listing = DirectoryList(cid)
    for _ in range(4):
        wanted = listing.want()
        assert wanted is not None
        listing.feed(blocks[wanted])
    assert len(listing._pending) < 5 * 1024


def test_other_codecs_are_refused() -> None:
    other = Cid.of(0x71, b"\xa0")
    for read in (
        lambda: PathWalk(other, ()).feed(b"\xa0"),
        lambda: DirectoryList(other).feed(b"\xa0"),
        lambda: children(other, b"\xa0"),
    ):
        with pytest.raises(UnsupportedCodec):
            read()


@pytest.mark.parametrize("block", [b"", b"\x0a\x00", b"\x0a\x02\x08\x03", b"\xff"])
def test_nodes_that_are_not_unixfs_or_of_no_use(block: bytes) -> None:
    cid = Cid.of(DAG_PB, block)
    for path in ((), ("x",)):
        with pytest.raises(DecodeError):
            PathWalk(cid, path).feed(block)


def test_identity_cids_carry_their_block() -> None:
    def inlined(codec: int, data: bytes) -> Cid:
        return Cid(bytes((1, codec, IDENTITY, len(data))) + data)

    blocks = Blocks()
    hello = inlined(RAW, b"hello")
    root = inlined(DAG_PB, encode(Node((PBLink(hello, b"f", 5),), b"\x08\x01")))
    assert inline_block(hello) == b"hello"
    assert inline_block(blocks.raw(b"x")) is None
    assert blocks.resolve(root, "f").size_bytes == 5
    assert blocks.read(hello) == b"hello"
    assert [entry.name for entry in blocks.list(root)] == ["f"]
    assert str(inlined(DAG_PB, b"\x0a\x02\x08\x01")) == "bafyaabakaieac"


def test_children() -> None:
    blocks = Blocks()
    link = hamt.build_hamt([(b"a", blocks.raw(b"1"), 1), (b"b", blocks.raw(b"2"), 1)], blocks.add)
    found = {link.cid for link in children(link.cid, blocks[link.cid])}
    assert found == {blocks.raw(b"1"), blocks.raw(b"2")}
    assert children(blocks.raw(b"1"), b"1") == []
