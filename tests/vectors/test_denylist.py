"""The list that comes with IPIP-383, and what its authors expect of it (denylist-expect.json)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from protocol.cid import Cid
from protocol.deny_index import DenyIndex, build
from protocol.deny_keys import cid_question, path_question
from protocol.errors import Malformed

HERE = Path(__file__).parent
EXPECTED: list[dict[str, Any]] = json.loads((HERE / "denylist-expect.json").read_text("utf-8"))
RAW = (HERE / "test.deny").read_bytes()
BUILT = build(RAW, now_s=7)
INDEX = DenyIndex(BUILT.table, RAW)


@pytest.mark.parametrize("case", EXPECTED, ids=lambda case: f"{case['rule']} {case.get('path') or case['cid']}")
def test_expectation(case: dict[str, Any]) -> None:
    try:
        question = path_question(case["path"]) if "path" in case else cid_question(Cid.from_text(case["cid"]))
    except Malformed:  # no domain, so that nothing can be there
        question = None
    hits = INDEX.matches(question, wide=False) if question is not None else []
    assert (bool(hits) and not hits[0].rule.allow) is case["blocked"]


def test_every_line_is_a_rule_but_those_on_what_nobody_may_block() -> None:
    empties = RAW[: RAW.index(b"# rule15")].count(b"\n")
    assert BUILT.error_count == 7
    assert all(error.line > empties for error in BUILT.errors)
    assert BUILT.rule_count == INDEX.rule_count == 21
