"""docs/spec/ of ids, releases and streams against the code and the vectors, and the places in the code that cite it."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from protocol import canonical, errors, limits, messages
from protocol.errors import DecodeError
from protocol.frames import encode_message
from protocol.release import Release
from tests.vectors.make_ids import SECRETS
from tests.vectors.make_wire import MESSAGES
from tests.vectors.test_protocol import load

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "docs/spec"
PAGES = ("site-id.md", "release.md", "sync.md")
MESSAGE_TABLES = (("sync.md", "## 3. Messages"), ("membership.md", "## 9. Finding what differs"))
VECTORS = ("site-ids.json", "cids.json", "canonical.json", "releases.json", "frames.json")

HEX = re.compile(r"`((?:[0-9a-f]{2}){2,})`")
ID = re.compile(r"`((?:k51|baf|f01|z5A|uAX|12D)[0-9A-Za-z_-]{20,})`")
CITATION = re.compile(r"docs/spec/([\w-]+\.md)(?:,? (?:section )?(?:(\d+)\b|\"([^\"]+)\"))?")


@cache
def page(name: str) -> str:
    return (SPEC / name).read_text(encoding="utf-8")


def strings(value: Any) -> list[str]:
    match value:
        case str():
            return [value]
        case list():
            return [found for item in value for found in strings(item)]
        case dict():
            return [found for item in value.values() for found in strings(item)]
    return []


@cache
def vector_strings() -> frozenset[str]:
    return frozenset(found for name in VECTORS for found in strings(load(name))) | set(SECRETS)


@pytest.mark.parametrize("name", PAGES)
def test_every_hex_and_id_of_the_spec_is_from_the_vectors(name: str) -> None:
    found = HEX.findall(page(name)) + ID.findall(page(name))
    assert len(found) > 10
    joined = "\n".join(vector_strings())
    assert [example for example in found if example not in joined] == []


def byte_tables(text: str) -> list[str]:
    """The hex of each table of bytes, put together from its rows."""
    tables = re.findall(r"^\| Bytes \| Meaning \|\n\|---\|---\|\n((?:\|.*\|\n)+)", text, re.MULTILINE)
    return ["".join(re.findall(r"^\| `([0-9a-f]+)` \|", table, re.MULTILINE)) for table in tables]


@pytest.mark.parametrize(("name", "tables"), [("site-id.md", 2), ("release.md", 3), ("sync.md", 3)])
def test_every_byte_table_is_one_vector_from_its_first_byte_to_its_last(name: str, tables: int) -> None:
    found = byte_tables(page(name))
    assert len(found) == tables
    assert [table for table in found if table not in vector_strings()] == []


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("site-id.md", [limits.CID_TEXT_MAX_CHARS, limits.DIGEST_MAX_BYTES, limits.VARINT_MAX_BYTES]),
        (
            "release.md",
            [
                limits.CANONICAL_MAX_ITEMS,
                limits.CANONICAL_MAX_DEPTH,
                limits.BAND_MAX_HOSTS,
                limits.DOMAINS_MAX,
                limits.DOMAIN_MAX_CHARS,
                limits.RELEASE_MAX_BYTES,
                limits.BLOCK_MAX_BYTES,
                limits.SIGNATURE_BYTES,
            ],
        ),
        (
            "sync.md",
            [
                limits.MESSAGE_MAX_BYTES,
                limits.BLOCK_MAX_BYTES,
                limits.WANT_MAX_CIDS,
                limits.REFUSE_CODE_MAX_CHARS,
                limits.REASON_MAX_CHARS,
                limits.SUBJECT_MAX_BYTES,
            ],
        ),
    ],
)
def test_the_spec_names_the_limits(name: str, numbers: list[int]) -> None:
    missing = [number for number in numbers if not re.search(rf"(?<![\d,]){number:,}(?![\d,])", page(name))]
    assert missing == []


def test_the_spec_names_the_large_limits() -> None:
    for number in (limits.SEQ_MAX, limits.SEQ_MAX - 1, limits.CREATED_MAX_S):
        assert str(number) in page("release.md")
    assert str(limits.SIZE_MAX_BYTES) in page("sync.md")


def first_cells(text: str, heading: str) -> list[str]:
    section = text.split(heading, 1)[1].split("\n## ", 1)[0]
    return re.findall(r"^\| `([a-z_-]+)` \|", section, re.MULTILINE)


def message_rows() -> dict[str, str]:
    """The fields' cell of each message in the tables of the spec, by its type on the wire."""
    found: dict[str, str] = {}
    for name, heading in MESSAGE_TABLES:
        section = page(name).split(heading, 1)[1].split("\n## ", 1)[0]
        found |= dict(re.findall(r"^\| `([a-z-]+)` \|([^|]*)\|", section, re.MULTILINE))
    return found


def wire_type(message: messages.Message) -> str:
    value = canonical.unpack(messages.encode(message), max_bytes=limits.MESSAGE_MAX_BYTES)
    assert isinstance(value, dict)
    return str(value["type"])


def test_the_spec_lists_every_message_type_and_no_other() -> None:
    types = {wire_type(message) for message in MESSAGES.values() if not isinstance(message, messages.Block)}
    assert sorted(message_rows()) == sorted(types)


def test_the_spec_lists_every_field_of_a_message() -> None:
    for name, message in MESSAGES.items():
        if isinstance(message, messages.Block):
            continue
        row = message_rows()[wire_type(message)]
        assert all(f"`{field}`" in row for field in type(message).__dataclass_fields__), name
        assert encode_message(message)


def test_the_spec_lists_every_refuse_code_and_no_other() -> None:
    assert sorted(first_cells(page("sync.md"), "## 4. Refusals")) == sorted(messages.REFUSE_CODES)


def test_the_spec_lists_every_field_of_a_release_in_their_order() -> None:
    fields = first_cells(page("release.md"), "## 3. The payload")
    assert fields == sorted(Release.__dataclass_fields__)


@pytest.mark.parametrize("name", PAGES)
def test_the_error_codes_of_the_spec_exist(name: str) -> None:
    known = {
        error.code for error in vars(errors).values() if isinstance(error, type) and issubclass(error, DecodeError)
    }
    named = set(re.findall(r"`((?:un|bad|over|not|wrong|stale|hash|trailing|duplicate)-[a-z-]+)`", page(name)))
    assert named - known - messages.REFUSE_CODES == set()


def citations() -> list[tuple[str, str, str]]:
    """(where, page, section) of each mention of a spec page in the code."""
    found = []
    for package in ("protocol", "config", "node", "cli"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for match in CITATION.finditer(path.read_text(encoding="utf-8")):
                found.append((str(path.relative_to(ROOT)), match[1], match[2] or match[3] or ""))
    return found


def test_what_the_code_cites_is_there() -> None:
    found = citations()
    assert len(found) > 10
    wrong = []
    for where, name, section in found:
        text = page(name) if (SPEC / name).exists() else ""
        heading = rf"^##+ (?:{re.escape(section)}\.|(?:\d+\. )?{re.escape(section)}$)" if section else "^# "
        if not re.search(heading, text, re.MULTILINE):
            wrong.append(f"{where}: docs/spec/{name} {section}")
    assert wrong == []
