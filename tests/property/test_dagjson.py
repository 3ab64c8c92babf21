"""DAG-JSON: one encoding of each value, and a decoder that refuses or understands whatever it is given."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import dagcbor, dagjson
from protocol.cid import RAW, Cid
from protocol.errors import DecodeError, DuplicateKey, Malformed, OverLimit, TrailingBytes

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | st.binary(max_size=8).map(lambda data: Cid.of(RAW, data))
)
keys = st.text(max_size=5).filter(lambda key: key != "/")
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
)


@given(values)
def test_a_value_comes_back_from_its_one_encoding(value: dagcbor.Value) -> None:
    raw = dagjson.encode(value)
    found = dagjson.decode(raw)
    assert dagcbor.encode(found) == dagcbor.encode(value)
    assert dagjson.encode(found) == raw
    assert dagjson.decode(json.dumps(json.loads(raw), indent=2).encode()) == found


@given(st.binary(max_size=60) | st.text('{}[]":,/bytes01e.- \\u', max_size=30).map(str.encode))
def test_any_bytes_are_decoded_or_refused(raw: bytes) -> None:
    try:
        value = dagjson.decode(raw)
    except DecodeError:
        return
    assert dagjson.decode(dagjson.encode(value)) == value


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b'{"a":1,"a":2}', DuplicateKey),
        (b'{"/":"bafkqaaa","a":1}', Malformed),
        (b'{"/":1}', Malformed),
        (b'{"/":"no cid"}', Malformed),
        (b'{"/":{"bytes":"oQ=="}}', Malformed),
        (b'{"/":{"bytes":"oR"}}', Malformed),
        (b'{"/":{"bytes":"oQ","a":1}}', Malformed),
        (b"NaN", Malformed),
        (b"-Infinity", Malformed),
        (b"1e999", OverLimit),
        (b"18446744073709551616", OverLimit),
        (b"9" * 5000, OverLimit),
        (b'"\\ud800"', Malformed),
        (b'"\xff"', Malformed),
        (b"\xef\xbb\xbf1", Malformed),
        (b"1 2", TrailingBytes),
        (b"", Malformed),
        (b"[" * 65 + b"]" * 65, OverLimit),
        (b"[" * 100_000, OverLimit),
    ],
)
def test_what_is_refused(raw: bytes, error: type[DecodeError]) -> None:
    with pytest.raises(error):
        dagjson.decode(raw)
