"""Sums find what differs, and only that; member messages are strict."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import DecodeError
from protocol.limits import SUMMARY_BUCKETS_MAX
from protocol.site_id import SiteId
from protocol.summary import (
    BUCKETS_MIN,
    SUM_BYTES,
    Entry,
    bucket_of,
    buckets_for,
    check_sums,
    dealt,
    differing,
    sums_of,
)

KEYS = st.integers(1, 400).map(lambda number: SiteId(number.to_bytes(32, "big")))
ENTRIES = st.dictionaries(KEYS, st.integers(1, 3), max_size=300).map(
    lambda some: {Entry(key, number) for key, number in some.items()}
)


@given(ENTRIES, ENTRIES)
def test_the_buckets_that_differ_are_those_with_a_difference(ours: set[Entry], theirs: set[Entry]) -> None:
    buckets = buckets_for(max(len(ours), len(theirs)))
    found = differing(sums_of(dealt(ours, buckets)), sums_of(dealt(theirs, buckets)))
    assert set(found) == {bucket_of(entry.key, buckets) for entry in ours ^ theirs}


def test_little_is_listed_for_little_that_differs() -> None:
    ours = [Entry(SiteId(number.to_bytes(32, "big")), 1) for number in range(1, 10_001)]
    theirs = [*ours[:-1], ours[-1]._replace(number=2)]
    buckets = buckets_for(len(ours))
    mine = dealt(ours, buckets)
    listed = [mine[number] for number in differing(sums_of(mine), sums_of(dealt(theirs, buckets)))]
    assert len(listed) == 1
    assert len(listed[0]) < 40


def test_one_number_and_another_tag_differ() -> None:
    entry = Entry(SiteId(b"\1" * 32), 7, b"1" * 8)
    other = entry._replace(tag=b"2" * 8)
    assert differing(sums_of(dealt([entry], 16)), sums_of(dealt([other], 16))) == [bucket_of(entry.key, 16)]


@given(st.integers(0, 10**7))
def test_buckets_are_a_power_of_two_in_bounds(entries: int) -> None:
    buckets = buckets_for(entries)
    assert BUCKETS_MIN <= buckets <= SUMMARY_BUCKETS_MAX
    assert check_sums(bytes(SUM_BYTES * buckets)) == buckets


@pytest.mark.parametrize("size", [0, 8, 128 + 1, 8 * 24, 8 * 2 * SUMMARY_BUCKETS_MAX])
def test_other_sums_are_refused(size: int) -> None:
    with pytest.raises(DecodeError):
        check_sums(bytes(size))
