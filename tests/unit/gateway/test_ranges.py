"""Conditional and range requests, by the letter of RFC 9110."""

from __future__ import annotations

import pytest

from node.gateway.ranges import ByteRange, Unsatisfiable, is_other, is_unchanged, parse_ranges, range_applies


@pytest.mark.parametrize(
    ("value", "size", "expected"),
    [
        ("bytes=0-0", 10, (0, 1)),
        ("bytes=0-9", 10, (0, 10)),
        ("bytes=0-10", 10, (0, 10)),
        ("bytes=5-", 10, (5, 10)),
        ("bytes=9-99999999999999999999", 10, (9, 10)),
        ("bytes=-1", 10, (9, 10)),
        ("bytes=-10", 10, (0, 10)),
        ("bytes=-11", 10, (0, 10)),
        ("Bytes = 2-3", 10, (2, 4)),
        (None, 10, None),
        ("bytes=", 10, None),
        ("bytes=-", 10, None),
        ("bytes=1-0", 10, None),
        ("bytes=a-b", 10, None),
        ("bytes=+1-2", 10, None),
        ("bytes=1 - 2", 10, None),
        ("bytes=\u0661-", 10, None),
        ("items=0-1", 10, None),
        ("bytes=" + "1" * 200 + "-", 10, None),
        ("bytes=-5", 0, None),
    ],
)
def test_one_range(value: str | None, size: int, expected: tuple[int, int] | None) -> None:
    assert parse_ranges(value, size) == ((ByteRange(*expected),) if expected else ())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bytes=0-1,3-4", [(0, 2), (3, 5)]),
        ("bytes=7-, 0-1 ,\t3-3", [(7, 10), (0, 2), (3, 4)]),
        ("bytes=0-4,5-9", [(0, 5), (5, 10)]),
        ("bytes=0-1,20-30", [(0, 2)]),
        ("bytes=0-1,-0", [(0, 2)]),
        ("bytes=0-5,3-4", []),
        ("bytes=0-,0-", []),
        ("bytes=0-1,x", []),
        ("bytes=0-1,", []),
        ("bytes=" + ",".join(f"{n}-{n}" for n in range(17)), []),
        ("bytes=0-0," * 200, []),
    ],
)
def test_several_ranges(value: str, expected: list[tuple[int, int]]) -> None:
    assert parse_ranges(value, 10) == tuple(ByteRange(*pair) for pair in expected)


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("bytes=10-", 10),
        ("bytes=10-20", 10),
        ("bytes=99999999999999999999-", 10),
        ("bytes=-0", 10),
        ("bytes=0-", 0),
        ("bytes=10-,12-", 10),
    ],
)
def test_unsatisfiable(value: str, size: int) -> None:
    with pytest.raises(Unsatisfiable):
        parse_ranges(value, size)


def test_content_range_is_inclusive() -> None:
    assert ByteRange(0, 1).content_range(10) == "bytes 0-0/10"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, False),
        ("*", True),
        (' "x" ', True),
        ('W/"x"', True),
        ('"a", "x"', True),
        ('"a","b"', False),
        ("x", False),
        ('"x', False),
        ('"a, x"', False),
    ],
)
def test_if_none_match(header: str | None, expected: bool) -> None:
    assert is_unchanged(header, '"x"') is expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [(None, False), ("*", False), ('"x"', False), ('"a", "x"', False), ('"a"', True), ('W/"x"', True)],
)
def test_if_match(header: str | None, expected: bool) -> None:
    assert is_other(header, '"x"') is expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [(None, True), ('"x"', True), ('W/"x"', False), ('"y"', False), ("Sun, 22 Nov 2026 14:32:41 GMT", False)],
)
def test_if_range(header: str | None, expected: bool) -> None:
    assert range_applies(header, '"x"') is expected
