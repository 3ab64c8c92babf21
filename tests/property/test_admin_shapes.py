"""Any bytes and any query give checked members or BadRequest, nothing else."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from node.admin.control import BadRequest
from node.admin.shapes import Field, read_object, read_query

SHAPE = {
    "text": Field(str, max_chars=5),
    "choice": Field(str, default="a", choices=("a", "b")),
    "flag": Field(bool, default=False),
    "number": Field(int, default=3, min_value=1, max_value=9),
}

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
objects = st.dictionaries(st.sampled_from([*SHAPE, "other"]) | st.text(max_size=5), values, max_size=5)


def check(members: dict[str, object]) -> None:
    assert set(members) == set(SHAPE)
    assert isinstance(members["text"], str)
    assert 1 <= len(members["text"]) <= 5
    assert members["choice"] in ("a", "b")
    assert isinstance(members["flag"], bool)
    assert type(members["number"]) is int
    assert 1 <= members["number"] <= 9


@given(objects.map(json.dumps).map(str.encode) | values.map(json.dumps).map(str.encode) | st.binary(max_size=50))
def test_bodies(raw: bytes) -> None:
    try:
        members = read_object(raw, SHAPE)
    except BadRequest:
        return
    check(members)
    assert json.loads(raw).keys() <= SHAPE.keys()


@given(
    st.fixed_dictionaries(
        {"text": st.text("ab", min_size=1, max_size=5)},
        optional={"choice": st.sampled_from("ab"), "flag": st.booleans(), "number": st.integers(1, 9)},
    )
)
def test_good_bodies_are_taken(members: dict[str, object]) -> None:
    assert read_object(json.dumps(members).encode(), SHAPE).items() >= members.items()


names = st.sampled_from([*SHAPE, "other"]) | st.text(max_size=5)
texts = st.text(max_size=8) | st.integers().map(str) | st.sampled_from(["a", "b", "٣", "²", "+3", "1_0"])


@given(st.lists(st.tuples(names, texts), max_size=5))
def test_queries(items: list[tuple[str, str]]) -> None:
    try:
        members = read_query(items, SHAPE)
    except BadRequest:
        return
    check(members)
    assert len(items) == len(dict(items))
