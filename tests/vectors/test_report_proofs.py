"""Vectors of proofs of work for reports, and what the spec says of them."""

from __future__ import annotations

import re
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.casework import turnstile
from node.casework.model import CONTACT_MAX_CHARS, EVIDENCE_MAX_CHARS, WHERE_MAX_CHARS, WHY_MAX_CHARS
from protocol import limits
from protocol.errors import DecodeError, Malformed, OverLimit
from protocol.report_proof import DOMAIN, ReportProof, prove, zero_bits
from protocol.site_id import SiteId
from tests.vectors.make_proofs import MADE_S, NODE, REPORTS, report_proofs
from tests.vectors.test_protocol import entries, load

PAGE = (Path(__file__).parents[2] / "docs/spec/reports.md").read_text("utf-8")


def test_the_vectors_are_made_again() -> None:
    assert load("report-proofs.json") == report_proofs()


@pytest.mark.parametrize("entry", entries("report-proofs.json", "proofs"))
def test_a_proof_counts_for_its_report_and_node(entry: dict[str, Any]) -> None:
    proof, node = ReportProof.from_text(entry["proof"]), SiteId.from_text(entry["node"])
    digest = proof.digest(node, entry["report"])
    # By the formula of the spec, without the code under test.
    task = sha256(DOMAIN + b"\0" + bytes.fromhex(entry["task"])).digest()
    assert digest == sha256(task + bytes.fromhex(entry["proof"].partition(":")[2])).digest()
    assert (digest.hex(), zero_bits(digest), str(proof)) == (entry["digest"], entry["bits"], entry["proof"])
    other = SiteId.from_text(entry["report"]["where"][6:]) if "k51" in entry["report"]["where"] else SiteId(bytes(32))
    assert proof.digest(other, entry["report"]) != digest
    assert proof.digest(node, entry["report"] | {"why": "another"}) != digest
    assert ReportProof(proof.made_s + 1, proof.nonce).digest(node, entry["report"]) != digest


@given(st.dictionaries(st.text(max_size=9), st.text(max_size=40), max_size=5), st.integers(0, 6))
def test_what_is_proved_has_the_bits(report: dict[str, str], bits: int) -> None:
    try:
        proof = prove(NODE, report, MADE_S, bits)
    except Malformed:
        assert any("\ud800" <= char <= "\udfff" for text in (*report, *report.values()) for char in text)
        return
    assert zero_bits(ReportProof.from_text(str(proof)).digest(NODE, report)) >= bits


@given(st.one_of(st.text(max_size=40), st.from_regex(r"[0-9]{1,20}:[0-9a-f]{15,17}", fullmatch=True)))
def test_any_text_is_a_proof_or_a_typed_error(text: str) -> None:
    with suppress(DecodeError):
        assert str(ReportProof.from_text(text)) == text


def test_bits_are_bounded() -> None:
    assert zero_bits(bytes(32)) == 256
    assert zero_bits(b"\x01" + bytes(31)) == 7
    with pytest.raises(OverLimit):
        prove(NODE, REPORTS[0], MADE_S, limits.REPORT_PROOF_BITS_MAX + 1)


def test_the_spec_shows_vectors_and_limits() -> None:
    stored = (Path(__file__).parent / "report-proofs.json").read_text()
    shown = re.findall(r"^    ([0-9a-f]{40,})$", PAGE, re.MULTILINE)
    assert len(shown) == 2
    assert all(f'"{each}"' in stored for each in shown)
    assert f"(0 to {limits.REPORT_PROOF_BITS_MAX})" in PAGE
    for most in (WHERE_MAX_CHARS, WHY_MAX_CHARS, EVIDENCE_MAX_CHARS, CONTACT_MAX_CHARS):
        assert f"{most:,} characters" in PAGE
    assert (turnstile.PROOF_AGE_MAX_S, turnstile.PROOF_AHEAD_MAX_S) == (3600, 300)
    assert turnstile.UNPROVED_PER_MINUTE_MAX == 10
