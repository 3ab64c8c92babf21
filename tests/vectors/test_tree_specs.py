"""docs/spec/unixfs.md and bundle.md against the code and the vectors, in the manner of test_spec.py."""

from __future__ import annotations

import re
from functools import cache

import pytest

from protocol import errors, limits, unixfs
from protocol.car import CarDecoder
from protocol.errors import DecodeError
from protocol.unixfs import DataType
from protocol.walk import NotFoundInTree
from tests.vectors.test_spec import HEX, ID, byte_tables, page, strings
from tests.vectors.test_trees import BUNDLES, UNIXFS

PAGES = ("unixfs.md", "bundle.md")


@cache
def vector_strings() -> frozenset[str]:
    cids = set()
    for raw in BUNDLES.values():
        cids |= {str(section.cid) for section in CarDecoder().feed(bytes.fromhex(raw))}
    return frozenset(strings(UNIXFS)) | frozenset(strings(BUNDLES)) | cids


@pytest.mark.parametrize("name", PAGES)
def test_every_hex_and_id_of_the_spec_is_from_the_vectors(name: str) -> None:
    found = HEX.findall(page(name)) + ID.findall(page(name))
    assert len(found) > 10
    joined = "\n".join(vector_strings())
    assert [example for example in found if example not in joined] == []


@pytest.mark.parametrize(("name", "tables"), [("unixfs.md", 4), ("bundle.md", 1)])
def test_every_byte_table_is_one_vector_from_its_first_byte_to_its_last(name: str, tables: int) -> None:
    found = byte_tables(page(name))
    assert len(found) == tables
    assert [table for table in found if table not in vector_strings()] == []


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        (
            "unixfs.md",
            [
                limits.CHUNK_BYTES,
                limits.FILE_NODE_MAX_LINKS,
                limits.DIRECTORY_MAX_BYTES,
                limits.HAMT_FANOUT,
                limits.HAMT_MAX_FANOUT,
                limits.NODE_MAX_LINKS,
                limits.NAME_MAX_BYTES,
                limits.SYMLINK_MAX_BYTES,
                limits.PATH_MAX_SEGMENTS,
                limits.FILE_MAX_DEPTH,
                limits.FILE_MAX_PENDING,
                limits.WALK_MAX_DEPTH,
                limits.WALK_MAX_BYTES,
                limits.WALK_OPEN_NODES,
                limits.BLOCK_MAX_BYTES,
                limits.FOREIGN_BLOCK_MAX_BYTES,
            ],
        ),
        (
            "bundle.md",
            [
                limits.CAR_HEADER_MAX_BYTES,
                limits.CAR_MAX_ROOTS,
                limits.CID_MAX_BYTES,
                limits.FOREIGN_BLOCK_MAX_BYTES,
                limits.RELEASE_MAX_BYTES,
                limits.BLOCK_MAX_BYTES,
            ],
        ),
    ],
)
def test_the_spec_names_the_limits(name: str, numbers: list[int]) -> None:
    missing = [number for number in numbers if not re.search(rf"(?<![\d,]){number:,}(?![\d,])", page(name))]
    assert missing == []


@pytest.mark.parametrize("name", PAGES)
def test_the_error_codes_of_the_spec_exist(name: str) -> None:
    known = {
        error.code for error in vars(errors).values() if isinstance(error, type) and issubclass(error, DecodeError)
    }
    named = set(re.findall(r"`((?:unsupported|unknown|bad|over|not|hash|trailing)-[a-z-]+)`", page(name)))
    assert len(named) > 4
    assert named - known - {NotFoundInTree.code} == set()


def test_the_spec_lists_every_type_and_field_of_unixfs_data() -> None:
    section = page("unixfs.md").split("## 3. ", 1)[1].split("\n## ", 1)[0]
    spelled = {"HAMT_SHARD": "HAMTShard"}
    for kind in DataType:
        assert f"{kind.value} {spelled.get(kind.name, kind.name.capitalize())}" in section
    tags = {int(tag, 16) for tag in re.findall(r"^\| (0x[0-9a-f]{2}) \|", section, re.MULTILINE)}
    assert tags == {0x08, 0x12, 0x18, 0x20, 0x28, 0x30, 0x38, 0x42}
    assert unixfs.MURMUR3_X64_64 == 0x22


def test_the_spec_shows_the_sections_of_the_small_site() -> None:
    rows = re.findall(r"^\| (\d+) \| (\d+) \| (\d+) \| `(\w+)` \|", page("bundle.md"), re.MULTILINE)
    found = CarDecoder().feed(bytes.fromhex(BUNDLES["small site"]))
    assert rows == [
        (str(section.offset), str(section.data_offset), str(len(section.data)), str(section.cid)) for section in found
    ]
