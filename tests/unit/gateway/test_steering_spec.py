"""docs/spec/gateway.md states what sites may steer."""

from __future__ import annotations

import re
from pathlib import Path

from node.gateway.encodings import SUFFIXES
from protocol import limits
from protocol.redirects import REDIRECTS, REWRITES
from protocol.site_headers import ALLOWED, SHARED_MAX_AGE_S

SPEC = (Path(__file__).parents[3] / "docs/spec/gateway.md").read_text("utf-8")


def section(number: int) -> str:
    return SPEC.partition(f"\n## {number}. ")[2].partition("\n## ")[0]


def test_redirects() -> None:
    said = {
        int(status) for row in re.findall(r"^\| ([0-9].*?) \|", section(8), re.M) for status in re.findall(r"\d+", row)
    }
    assert said == REDIRECTS | REWRITES
    assert f"at most {limits.REDIRECTS_MAX_BYTES // 1024} KiB" in section(8)


def test_headers() -> None:
    listed = section(9).partition("no others: ")[2].partition(".\n")[0]
    assert set(re.findall(r"`([^`]+)`", listed)) == set(ALLOWED.values())
    assert f"`s-maxage={SHARED_MAX_AGE_S}`" in section(9)
    assert f"at most {limits.SITE_HEADERS_VALUE_MAX_CHARS} characters" in section(9)
    assert f"all of one answer {limits.SITE_HEADERS_ANSWER_MAX_CHARS}" in section(9)
    assert f"the file {limits.SITE_HEADERS_MAX_BYTES // 1024} KiB" in section(9)


def test_precompressed_files() -> None:
    assert all(f"`{suffix}`" in section(10) for suffix in SUFFIXES.values())
    assert " before ".join(["br goes", *list(SUFFIXES)[1:]]) in section(10).replace("\n", " ")
