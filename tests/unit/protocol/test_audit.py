"""A proof of holding serves one question only."""

import itertools

import pytest

from protocol.audit import NONCE_BYTES, PROOF_BYTES, proof_of
from protocol.cid import RAW, Cid
from protocol.site_id import SiteId

PARTIES = [SiteId(bytes([number]) * 32) for number in (2, 3)]
BLOCKS = [b"", b"hello"]
NONCES = [bytes(NONCE_BYTES), bytes([1]) * NONCE_BYTES]


def test_every_question_has_an_answer_of_its_own() -> None:
    questions = list(itertools.product(NONCES, PARTIES, PARTIES, BLOCKS))
    answers = {proof_of(nonce, a, b, Cid.of(RAW, block), block) for nonce, a, b, block in questions}
    assert len(answers) == len(questions)
    assert {len(answer) for answer in answers} == {PROOF_BYTES}


def test_the_answer_needs_the_block() -> None:
    cid = Cid.of(RAW, b"hello")
    assert proof_of(NONCES[0], PARTIES[0], PARTIES[1], cid, b"hello") != proof_of(
        NONCES[0], PARTIES[0], PARTIES[1], cid, b"hellO"
    )


@pytest.mark.parametrize("nonce", [b"", bytes(NONCE_BYTES + 1)])
def test_parts_have_fixed_lengths(nonce: bytes) -> None:
    with pytest.raises(ValueError, match="nonce"):
        proof_of(nonce, PARTIES[0], PARTIES[1], Cid.of(RAW, b"hello"), b"hello")
    with pytest.raises(ValueError, match="CID"):
        proof_of(NONCES[0], PARTIES[0], PARTIES[1], Cid(bytes.fromhex("01550000")), b"")
