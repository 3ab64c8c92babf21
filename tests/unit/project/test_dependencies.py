"""docs/dependencies.md names every direct dependency, and nothing else."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[3]


def name_of(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match is not None
    return match[0].lower()


def documented() -> dict[str, set[str]]:
    """Section title: names in the first column of its table."""
    sections = re.split(r"^## ", (ROOT / "docs/dependencies.md").read_text("utf-8"), flags=re.MULTILINE)[1:]
    return {
        section.partition("\n")[0]: {
            match.lower() for match in re.findall(r"^\| ([a-z][\w.-]*)", section, re.MULTILINE)
        }
        for section in sections
    }


def test_every_direct_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    sections = documented()
    assert sections["At run time"] == set(map(name_of, project["project"]["dependencies"]))
    assert sections["For developers"] == set(map(name_of, project["dependency-groups"]["dev"]))
    build = (ROOT / "requirements/build.in").read_text("utf-8").split()
    assert sections["To build"] == set(map(name_of, build))
    assert set(map(name_of, project["build-system"]["requires"])) <= sections["To build"]


def test_overrides_and_source_packages_are_explained() -> None:
    text = (ROOT / "docs/dependencies.md").read_text("utf-8")
    overrides = (ROOT / "requirements/overrides.txt").read_text("utf-8")
    for line in overrides.splitlines():
        if line and not line.startswith("#"):
            assert f"**{name_of(line)}**" in text
    from_source = re.search(r"--no-binary (\S+)", (ROOT / "scripts/venv").read_text("utf-8"))
    assert from_source is not None
    for name in from_source[1].split(","):
        assert f"**{name}**" in text
