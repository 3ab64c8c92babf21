"""Reports in JSON lines."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.casework.lines import LINE_MAX_BYTES, read_reports, write_report
from node.casework.model import CATEGORIES, CONTACT_MAX_CHARS, EVIDENCE_MAX_CHARS, WHY_MAX_CHARS, BadReport, Report

CID = "bafkreibwmayvvgxt34sv3dyzvmdx4r4xqivucsekbyvajpdk64jbhqrsoq"
GOOD = {"where": CID, "category": "spam", "why": "an advertisement"}
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def line(**changed: object) -> bytes:
    return json.dumps(GOOD | changed).encode() + b"\n"


def test_a_file_of_reports_is_read() -> None:
    found = list(read_reports([line(), b"\n", line(contact="me@here", evidence="x"), b"  "]))
    assert [each.subject for each in found] == [f"/ipfs/{CID}"] * 2
    assert [each.contact for each in found] == ["", "me@here"]


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (line(category="nonsense"), "category must be one of"),
        (line(why=""), "say what it is about"),
        (line(why=5), "object of texts"),
        (line(where="https://192.0.2.1/"), "names no site"),
        (line(extra="x"), "no field 'extra'"),
        (line(why="\ud800"), "half a character"),
        (line(why="x" * LINE_MAX_BYTES), "more than"),
        (b'{"why": "a", "why": "b"}', "there twice"),
        (b"[" * 10_000, "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "object of texts"),
    ],
)
def test_a_bad_line_is_named(bad: bytes, says: str) -> None:
    with pytest.raises(BadReport, match="line 3: ") as caught:
        list(read_reports([line(), b"\n", bad, line()]))
    assert says in str(caught.value)


@given(st.sampled_from(list(CATEGORIES)), texts, texts, texts)
def test_a_report_comes_back(category: str, why: str, contact: str, evidence: str) -> None:
    fields = {"where": CID, "category": category, "why": f"a{why}", "contact": contact, "evidence": evidence}
    (report,) = read_reports([json.dumps(fields).encode()])
    assert list(read_reports([write_report(report).encode()])) == [report]


def test_the_longest_report_fits_in_a_line() -> None:
    chars = ("x" * 2000, "\U0001f600" * WHY_MAX_CHARS, '"' * CONTACT_MAX_CHARS, "\U0001f600" * EVIDENCE_MAX_CHARS)
    where, why, contact, evidence = chars
    escaped = json.dumps(write_report(Report("", where, "child-abuse", why, contact, evidence)))
    assert len(escaped) < LINE_MAX_BYTES


@given(
    st.binary(max_size=100)
    | st.recursive(st.none() | texts, lambda each: st.lists(each) | st.dictionaries(texts, each)).map(
        lambda value: json.dumps(value).encode()
    )
)
def test_anything_else_is_refused_by_one_error(raw: bytes) -> None:
    with suppress(BadReport):
        list(read_reports([raw]))
