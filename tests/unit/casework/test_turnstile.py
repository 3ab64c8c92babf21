"""How many reports come in, with and without proofs of work."""

from __future__ import annotations

import pytest

from node.casework.model import BadReport
from node.casework.turnstile import (
    PROOF_AGE_MAX_S,
    PROOF_AHEAD_MAX_S,
    REPORTS_PER_MINUTE_MAX,
    UNPROVED_PER_MINUTE_MAX,
    NeedsProof,
    Turnstile,
)
from protocol.report_proof import ReportProof, prove, zero_bits
from tests.vectors.make_ids import SITES

NODE = SITES[0]
REPORT = {"where": "x", "category": "spam", "why": "y"}
BITS = 6


class Clock:
    now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def turnstile(clock: Clock) -> Turnstile:
    return Turnstile(NODE, bits=BITS, now_s=clock, elapsed_s=clock)


def proof(made_s: float = 1_000_000, **more: str) -> str:
    return str(prove(NODE, REPORT | more, int(made_s), BITS))


def weak() -> str:
    """With too few bits for this node, as it is for another one."""
    return next(text for number in range(10_000) if _bits(text := f"1000000:{number:016x}") < BITS)


def _bits(text: str) -> int:
    return zero_bits(ReportProof.from_text(text).digest(NODE, REPORT))


def test_no_proof_is_asked_for_unless_the_operator_wants_it(clock: Clock) -> None:
    free = Turnstile(NODE, now_s=clock, elapsed_s=clock)
    for _ in range(REPORTS_PER_MINUTE_MAX):
        free.let_in(REPORT)
    with pytest.raises(BadReport, match="too many"):
        free.let_in(REPORT)
    clock.now_s += 60
    free.let_in(REPORT, "nonsense, which is not looked at")


def test_a_proof_counts_once_and_for_its_report_alone(turnstile: Turnstile, clock: Clock) -> None:
    turnstile.let_in(REPORT, proof())
    with pytest.raises(NeedsProof, match="used before"):
        turnstile.let_in(REPORT, proof())
    turnstile.let_in(REPORT | {"why": "z"}, proof(why="z"))
    for wrong in (
        "",
        "1",
        weak(),
        proof(clock.now_s - PROOF_AGE_MAX_S - 1),
        proof(clock.now_s + PROOF_AHEAD_MAX_S + 1),
    ):
        with pytest.raises(NeedsProof):
            turnstile.let_in(REPORT, wrong)
    turnstile.let_in(REPORT, proof(clock.now_s - PROOF_AGE_MAX_S))
    turnstile.let_in(REPORT, proof(clock.now_s + PROOF_AHEAD_MAX_S))


def test_a_used_proof_is_known_for_as_long_as_it_counts(turnstile: Turnstile, clock: Clock) -> None:
    """Whenever it was made, shown and shown again."""
    ahead = proof(clock.now_s + PROOF_AHEAD_MAX_S)
    turnstile.let_in(REPORT, ahead)
    for number in range(5):
        clock.now_s += 900
        turnstile.let_in(REPORT, proof(clock.now_s + number))
        with pytest.raises(NeedsProof, match=r"used before|too old"):
            turnstile.let_in(REPORT, ahead)


def test_the_form_goes_without_but_slowly(turnstile: Turnstile, clock: Clock) -> None:
    for _ in range(UNPROVED_PER_MINUTE_MAX):
        turnstile.let_in(REPORT, by_form=True)
    for _ in range(REPORTS_PER_MINUTE_MAX):
        with pytest.raises(BadReport, match="fednode report"):
            turnstile.let_in(REPORT, by_form=True)
    turnstile.let_in(REPORT, proof())  # who did the work does not wait for the others
    clock.now_s += 60
    turnstile.let_in(REPORT, by_form=True)
