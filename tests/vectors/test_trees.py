"""Golden vectors of UnixFS, dag-pb, CAR and bundles: IPIP-499, ipld/codec-fixtures, the CAR specification, our own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from protocol import dagpb, hamt, unixfs
from protocol.bundle import BundleReader
from protocol.car import CarDecoder, Section, encode_header, section_prefix
from protocol.cid import DAG_PB, RAW, Cid
from protocol.dag_walk import DagWalk
from protocol.errors import DecodeError
from protocol.walk import children
from tests.unit.protocol.blocks import Blocks
from tests.vectors import make_trees

HERE = Path(__file__).parent


def load(name: str) -> Any:
    return json.loads((HERE / name).read_text("ascii"))


UNIXFS = load("unixfs.json")
DAGPB = load("dagpb.json")
BUNDLES = load("bundles.json")


def read_car(name: str) -> tuple[tuple[Cid, ...], list[Section]]:
    decoder = CarDecoder()
    sections = decoder.feed((HERE / name).read_bytes())
    decoder.close()
    assert decoder.roots is not None
    return decoder.roots, sections


def named(entries: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(entry, id=entry["name"]) for entry in entries]


@pytest.mark.parametrize("vector", named([v for v in UNIXFS["profile"] if v.get("size", 0) < 2**30]))
def test_profile_vectors(vector: dict[str, Any]) -> None:
    blocks = Blocks()
    link = make_trees.plant_profile(vector, blocks.add)
    assert str(link.cid) == vector["cid"]


@pytest.mark.large
@pytest.mark.parametrize("vector", named([v for v in UNIXFS["profile"] if v.get("size", 0) >= 2**30]))
def test_large_profile_vectors_streamed(vector: dict[str, Any]) -> None:
    longest = 0

    def forget(cid: Cid, block: bytes) -> None:
        nonlocal longest
        longest = max(longest, len(block))

    link = make_trees.plant_profile(vector, forget)
    assert str(link.cid) == vector["cid"]
    assert link.size_bytes == vector["size"]
    assert longest < 64 * 1024


def test_the_limit_is_the_length_of_the_directory_block() -> None:
    """The two directory vectors of IPIP-499 stand on both sides of 262,144 bytes."""
    vectors = {vector["name"]: vector for vector in UNIXFS["profile"]}
    blocks = Blocks()
    root = make_trees.plant_profile(vectors["dir-basic"], blocks.add)
    assert len(blocks[root.cid]) == 262_144
    root = make_trees.plant_profile(vectors["dir-hamt"], blocks.add)
    assert unixfs.decode(dagpb.decode(blocks[root.cid]).data).type is unixfs.DataType.HAMT_SHARD


@pytest.mark.parametrize("name", sorted(make_trees.trees()))
def test_trees_have_the_cids_that_other_importers_gave(name: str) -> None:
    blocks = Blocks()
    link = make_trees.plant(make_trees.trees()[name], blocks.add)
    assert str(link.cid) == UNIXFS["trees"][name]
    for cid, block in blocks.items():
        cid.verify(block)
        if cid.codec == DAG_PB:
            node = dagpb.decode(block)
            assert dagpb.encode(node) == block
            assert unixfs.encode(unixfs.decode(node.data)) == node.data


def test_every_tree_has_its_vector() -> None:
    assert sorted(UNIXFS["trees"]) == sorted(make_trees.trees())


@pytest.mark.parametrize("example", named(UNIXFS["blocks"]))
def test_block_examples_of_the_specification(example: dict[str, str]) -> None:
    block, cid = bytes.fromhex(example["hex"]), Cid.from_text(example["cid"])
    assert Cid.of(cid.codec, block) == cid
    if cid.codec == RAW:
        assert children(cid, block) == []
    else:
        assert dagpb.encode(dagpb.decode(block)) == block
        unixfs.decode(dagpb.decode(block).data)


@pytest.mark.parametrize("example", UNIXFS["hashes"], ids=lambda example: example["name"])
def test_name_hashes(example: dict[str, str]) -> None:
    assert f"{hamt.hash_name(example['name'].encode()):016x}" == example["hash"]


@pytest.mark.parametrize("vector", named(DAGPB["valid"]))
def test_dag_pb_fixtures(vector: dict[str, Any]) -> None:
    block = bytes.fromhex(vector["hex"])
    Cid.from_text(vector["cid"]).verify(block)
    node = dagpb.decode(block)
    assert node.data == (None if vector["data"] is None else bytes.fromhex(vector["data"]))
    found = [(str(link.cid), link.name, link.tsize) for link in node.links]
    assert found == [
        (link["cid"], None if link["name"] is None else link["name"].encode(), link["tsize"])
        for link in vector["links"]
    ]
    assert dagpb.encode(node) == block
    assert [Cid(cid) for cid, _, _ in dagpb.raw_links(block)] == [link.cid for link in node.links]


@pytest.mark.parametrize("vector", named(DAGPB["invalid"]))
def test_dag_pb_negative_fixtures(vector: dict[str, Any]) -> None:
    with pytest.raises(DecodeError):
        dagpb.decode(bytes.fromhex(vector["hex"]))


def test_car_specification_fixture() -> None:
    roots, sections = read_car("carv1-basic.car")
    assert [str(root) for root in roots] == [
        "bafyreihyrpefhacm6kkp4ql6j6udakdit7g3dmkzfriqfykhjw6cad5lrm",
        "bafyreidj5idub6mapiupjwjsyyxhyhedxycv4vihfsicm2vt46o7morwlm",
    ]
    offsets = [(section.offset, section.data_offset, len(section.data)) for section in sections]
    assert offsets == [
        (100, 137, 55), (192, 228, 97), (325, 362, 4), (366, 402, 94),
        (496, 533, 4), (537, 572, 47), (619, 656, 4), (660, 697, 18),
    ]  # fmt: skip
    for section in sections:
        section.cid.verify(section.data)
    assert str(sections[1].cid) == "QmNX6Tffavsya4xgBi2VJQnSuqy9GsxongxZZ9uZBqp16d"
    again = encode_header(roots) + b"".join(section_prefix(s.cid, len(s.data)) + s.data for s in sections)
    assert again == (HERE / "carv1-basic.car").read_bytes()


def foreign() -> tuple[Blocks, dict[str, Cid]]:
    """Trees of other makers: five roots of the gateway conformance suite's fixtures (MIT or Apache-2.0)."""
    roots, sections = read_car("foreign.car")
    blocks = Blocks()
    for section in sections:
        section.cid.verify(section.data)
        blocks.add(section.cid, section.data)
    names = ("dir-with-files", "hamt", "file-3k", "symlink", "utf8")
    return blocks, dict(zip(names, roots, strict=True))


def test_foreign_directory() -> None:
    blocks, roots = foreign()
    root = roots["dir-with-files"]
    assert [entry.name for entry in blocks.list(root)] == [
        "ascii-copy.txt",
        "ascii.txt",
        "hello.txt",
        "multiblock.txt",
    ]
    assert blocks.resolve(root, "multiblock.txt").size_bytes == 1026
    whole = blocks.read(blocks.resolve(root, "multiblock.txt").cid)
    assert len(whole) == 1026
    assert blocks.read(blocks.resolve(root, "multiblock.txt").cid, 250, 800) == whole[250:800]
    assert blocks.read(blocks.resolve(root, "hello.txt").cid) == b"hello world\n"


def test_foreign_hamt_is_read_and_built_alike() -> None:
    blocks, roots = foreign()
    root = roots["hamt"]
    entries = blocks.list(root)
    assert sorted(entry.name for entry in entries) == sorted(f"{number}.txt" for number in range(1, 1001))
    assert len(blocks.read(blocks.resolve(root, "470.txt").cid)) == 1026
    walk = blocks.walk_path(root, "470.txt")
    assert str(walk.trail[1]) == "bafybeiaebmuestgbpqhkkbrwl2qtjtvs3whkmp2trkbkimuod4yv7oygni"
    made = Blocks()
    link = hamt.build_hamt([(entry.name.encode(), entry.cid, entry.tsize) for entry in entries], made.add)
    assert link.cid == root
    assert all(blocks[cid] == block for cid, block in made.items())


def test_foreign_version_0_file_with_a_missing_block() -> None:
    """Ranges need the blocks that they touch and no other."""
    blocks, roots = foreign()
    entry = blocks.resolve(roots["file-3k"])
    assert (entry.kind, entry.size_bytes, entry.cid.version) == ("file", 3072, 0)
    first = blocks.read(entry.cid, 0, 1024)
    last = blocks.read(entry.cid, 2048, 3072)
    assert len(first) == len(last) == 1024
    assert first + blocks.read(entry.cid, 2048) == first + last
    with pytest.raises(KeyError):
        blocks.read(entry.cid, 1023, 1025)


def test_foreign_symlink_and_names() -> None:
    blocks, roots = foreign()
    link = blocks.resolve(roots["symlink"], "bar")
    assert (link.kind, link.target) == ("symlink", "foo")
    assert blocks.resolve(roots["symlink"], "bar", max_symlinks=1).kind == "file"
    assert blocks.resolve(roots["utf8"], "ą/ę/file-źł.txt").size_bytes == 34


@pytest.mark.parametrize("name", sorted(BUNDLES))
def test_bundles(name: str) -> None:
    assert make_trees.bundles()[name] == BUNDLES[name]
    reader = BundleReader()
    found = reader.feed(bytes.fromhex(BUNDLES[name]))
    reader.close()
    assert reader.release is not None
    assert len(found) == reader.release.release.block_count
    assert (reader.release.release.root is None) == (name == "ended site")


def test_a_bundle_is_in_dfs_order_and_holds_each_block_once() -> None:
    decoder = CarDecoder()
    release, *sections = decoder.feed(bytes.fromhex(BUNDLES["small site"]))
    assert decoder.roots is not None
    root, release_cid = decoder.roots
    assert release.cid == release_cid
    blocks = {section.cid: section.data for section in sections}
    assert len(blocks) == len(sections)
    order: list[Cid] = []

    def visit(cid: Cid) -> None:
        if cid not in order:
            order.append(cid)
            for link in children(cid, blocks[cid]):
                visit(link.cid)

    visit(root)
    assert [section.cid for section in sections] == order
    walk = DagWalk(root, in_order=True, unique=True, site_only=True)
    walked: list[Cid] = []
    while not walk.done:
        for cid in walk.want(3):
            walked.append(cid)
            walk.feed(cid, blocks[cid])
    assert walked == order
