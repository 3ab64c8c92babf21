"""docs/operators/configuration.md says of every setting what the schema says."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.schema import SECTIONS, Setting, settings

TEXT = (Path(__file__).parents[3] / "docs/operators/configuration.md").read_text("utf-8")


@pytest.mark.parametrize("item", list(settings()), ids=lambda item: item.name)
def test_every_setting_is_documented(item: Setting) -> None:
    default = "" if item.key == "data_dir" else f"`{item.kind.render(item.default)}`"
    takes = item.kind.syntax.replace("|", "\\|")
    row = f"| `{item.key}` | `{item.env_name}` | {default} | {item.doc} Takes: {takes}. |"
    section = TEXT.partition(f"## [{item.section}]" if item.section else "## At the top of the file")[2]
    assert row in section.partition("\n## ")[0]


def test_no_setting_is_documented_that_is_not_there() -> None:
    documented = [
        line.split("`")[1] for line in TEXT.splitlines() if line.startswith("| `") and "`FEDNODE_" in line[3:]
    ]
    assert sorted(documented) == sorted(item.key for item in settings())


def test_every_section_has_its_sentence() -> None:
    for section, cls in SECTIONS.items():
        assert f"## [{section}]\n\n{cls.__doc__}\n" in TEXT
