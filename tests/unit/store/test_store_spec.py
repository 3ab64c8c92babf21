"""docs/spec/store.md says what the code does: tables, names, bounds, codes, bytes, and the sections that code cites."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from node.store import errors, layout
from node.store.packs import HEADER
from protocol import car
from protocol.cid import RAW, Cid
from protocol.errors import FednodeError

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs/spec/store.md").read_text()
HEADINGS = re.findall(r"^## \d+\. (.+)$", TEXT, re.MULTILINE)


def test_every_table_is_described() -> None:
    tables = set(re.findall(r"CREATE TABLE (\w+)", layout.SCHEMA))
    (described,) = re.findall(r"Tables of the index:\n\n(.*?)\n\n", TEXT, re.DOTALL)
    assert set(re.findall(r"`(\w+)`", described.replace("| Table |", ""))) == tables


def test_every_error_code_is_described() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, FednodeError)]
    own = {kind.code for kind in kinds if kind.__module__ == errors.__name__}
    section = TEXT[TEXT.index("## 9. Errors") :]
    described = set(re.findall(r"`([a-z]+(?:-[a-z]+)*)`", "".join(re.findall(r"^\| (`.*?) \|", section, re.MULTILINE))))
    assert own <= described
    assert described - own == {"hash-mismatch", "unsupported-hash", "over-limit", "stale-release"}


@pytest.mark.parametrize("name", [field.name for field in fields(layout.StoreLimits)])
def test_every_bound_is_named(name: str) -> None:
    value = getattr(layout.StoreLimits(), name)
    shown = f"{value // layout.MIB} MiB" if value % layout.MIB == 0 else f"{value:,}"
    assert {"4": "four"}.get(shown, shown) in TEXT


def test_the_bytes_are_those_that_are_written() -> None:
    assert HEADER.hex() in TEXT
    assert car.section_prefix(Cid.of(RAW, b"hello"), 5).hex()[:10] in TEXT
    assert f"{layout.APPLICATION_ID:#x}" in TEXT
    assert f"`user_version` {layout.SCHEMA_VERSION}" in TEXT
    assert f"{layout.BLOCK_COST_BYTES} bytes for its rows" in TEXT
    for name in (layout.DATABASE_NAME, layout.LOCK_NAME, layout.BALLAST_NAME, f"packs/{layout.pack_name(1)}"):
        assert f"`{name}`" in TEXT


def test_cited_sections_exist() -> None:
    cited = {
        name
        for path in [*(ROOT / "node/store").glob("*.py"), *Path(__file__).parent.glob("*.py")]
        for name in re.findall(r'docs/spec/store\.md, "(\w+)"', path.read_text())
    }
    assert {"Layout", "Packs", "Writing", "Reading", "Freeing", "Start", "Crashes", "Errors"} <= cited
    assert cited <= set(HEADINGS)
