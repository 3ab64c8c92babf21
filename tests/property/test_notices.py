"""Notices and appeals: every one comes back as it was; any other bytes are refused with a typed error."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import DecodeError
from protocol.limits import CREATED_MAX_S, SEQ_MAX
from protocol.notice import Appeal, Notice, SignedAppeal, SignedNotice, sign_appeal, sign_notice
from protocol.plain import clip_plain
from tests.vectors.make_notices import APPEAL, LIFTED, NODE, NODE_KEY, REFUSAL, SITE, SITE_KEY

times = st.integers(0, CREATED_MAX_S)
numbers = st.integers(1, SEQ_MAX)


def plain(max_chars: int) -> st.SearchStrategy[str]:
    return st.text(max_size=max_chars + 9).map(lambda text: clip_plain(text, max_chars))


refusals = st.builds(
    Notice,
    node=st.just(NODE),
    site=st.just(SITE),
    number=numbers,
    kind=st.sampled_from(["refusal", "upheld"]),
    verdict=st.sampled_from(["refuse", "quarantine"]),
    ground=st.sampled_from(["policy", "legal"]),
    reason=plain(500),
    rule=plain(1000),
    list_name=st.none() | plain(1000),
    entry=st.none() | st.integers(0, SEQ_MAX),
    issued_s=times,
    effective_s=times,
    keep_until_s=st.none() | times,
    contact=plain(200),
    refers=st.none() | numbers,
)
appeals = st.builds(
    Appeal,
    node=st.just(NODE),
    site=st.just(SITE),
    notice=numbers,
    text=st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=4000),
    contact=plain(200),
    made_s=times,
)


@given(refusals)
def test_a_notice_comes_back(notice: Notice) -> None:
    raw = sign_notice(notice, NODE_KEY).encode()
    assert SignedNotice.decode(raw).notice == notice


@given(appeals)
def test_an_appeal_comes_back(appeal: Appeal) -> None:
    assert SignedAppeal.decode(sign_appeal(appeal, SITE_KEY).encode()).appeal == appeal


GOOD = [sign_notice(REFUSAL, NODE_KEY).encode(), sign_notice(LIFTED, NODE_KEY).encode()]
GOOD.append(sign_appeal(APPEAL, SITE_KEY).encode())


@given(st.sampled_from(GOOD), st.integers(0, 2000), st.binary(max_size=3))
def test_any_change_is_found(raw: bytes, place: int, patch: bytes) -> None:
    place %= len(raw)
    changed = raw[:place] + patch + raw[place + len(patch) :]
    for decode in (SignedNotice.decode, SignedAppeal.decode):
        with contextlib.suppress(DecodeError):
            decode(changed)
            assert changed == raw


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(raw: bytes) -> None:
    for decode in (SignedNotice.decode, SignedAppeal.decode):
        with contextlib.suppress(DecodeError):
            decode(raw)
