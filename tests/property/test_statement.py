"""Statements and the filters in them: strict, exact, and never without a site that was put in."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import site_filter
from protocol.errors import BadSignature, DecodeError, WrongSite
from protocol.limits import STATEMENT_MAX_BYTES
from protocol.site_filter import BITS_PER_SITE, Probe, SiteFilter
from protocol.site_id import SiteId
from protocol.statement import SignedStatement, Statement, Takes, sign_statement

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
WORDS = st.text(st.characters(categories=("L", "N", "Zs"), exclude_characters="\u2028\u2029"), max_size=64)
STATEMENTS = st.builds(
    Statement,
    node=st.just(SiteId.of(KEY)),
    made_s=st.integers(0, 2**37),
    addresses=st.lists(st.from_regex(r"/ip4/[0-9.]{1,20}/tcp/[0-9]{1,5}", fullmatch=True), max_size=8).map(tuple),
    takes=st.sampled_from(Takes),
    room_bytes=st.integers(0, 2**63 - 1),
    sites=st.integers(0, 2**63 - 1),
    holdings=st.binary(max_size=200).map(SiteFilter),
    operator=WORDS,
    region=WORDS,
    lists=st.sets(st.binary(min_size=8, max_size=8), max_size=16).map(lambda some: tuple(sorted(some))),
)


def site(number: int) -> SiteId:
    return SiteId(number.to_bytes(32, "big"))


@settings(max_examples=40)
@given(STATEMENTS)
def test_what_was_signed_is_read_again(statement: Statement) -> None:
    signed = sign_statement(statement, KEY)
    assert SignedStatement.decode(signed.encode()) == signed
    assert len(signed.encode()) <= STATEMENT_MAX_BYTES


@settings(max_examples=40)
@given(STATEMENTS, st.data())
def test_no_byte_can_be_changed(statement: Statement, data: st.DataObject) -> None:
    raw = bytearray(sign_statement(statement, KEY).encode())
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(DecodeError):
        SignedStatement.decode(bytes(raw))


@given(st.binary(max_size=300))
def test_garbage_is_refused(raw: bytes) -> None:
    with pytest.raises(DecodeError):
        SignedStatement.decode(raw)


def test_nobody_states_for_another() -> None:
    other = Ed25519PrivateKey.from_private_bytes(bytes(32))
    mine = Statement(SiteId.of(KEY), 1, (), Takes.OPEN, 0, 0, SiteFilter())
    with pytest.raises(WrongSite):
        sign_statement(mine, other)
    theirs = sign_statement(Statement(SiteId.of(other), 1, (), Takes.OPEN, 0, 0, SiteFilter()), other)
    with pytest.raises(BadSignature):
        SignedStatement.decode(SignedStatement(mine, theirs.signature).encode())


@given(st.sets(st.integers(1, 2**200), max_size=60))
def test_a_filter_never_misses_what_was_put_in(numbers: set[int]) -> None:
    made = SiteFilter.of([site(number) for number in numbers])
    assert all(made.may_hold(Probe(site(number))) for number in numbers)
    assert len(made) == -(-len(numbers) * BITS_PER_SITE // 8)


def test_a_filter_seldom_names_what_was_not_put_in() -> None:
    made = SiteFilter.of([site(number) for number in range(1000)])
    wrong = sum(made.may_hold(Probe(site(number))) for number in range(10_000, 20_000))
    assert wrong <= 2  # one in 100,000 expected
    assert 5e-6 < made.false_share < 2e-5


def test_a_filter_stops_growing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site_filter, "SITE_FILTER_MAX_BYTES", 30)
    made = SiteFilter.of([site(number) for number in range(100)])
    assert len(made) == 30
    assert all(made.may_hold(Probe(site(number))) for number in range(100))
