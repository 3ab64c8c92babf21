from __future__ import annotations

from typing import Any

import msgpack  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from protocol import canonical, signing
from protocol.errors import DecodeError, StaleRelease
from protocol.limits import RELEASE_MAX_BYTES
from protocol.release import SIGNING_DOMAIN, Release, SignedRelease, check_successor
from protocol.release_record import make_record
from tests.property.protocol_values import KEYS, mutated, releases, scalars, values

MAX_BYTES = 100_000
# What msgpack can express and the canonical form has no room for.
loose_values = st.recursive(
    scalars | st.floats() | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=4)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(scalars, inner, max_size=4),
    max_leaves=10,
)


@given(values)
def test_a_value_comes_back(value: Any) -> None:
    raw = canonical.pack(value)
    assert canonical.unpack(raw, max_bytes=len(raw)) == value


@given(st.binary(max_size=100) | mutated(values.map(canonical.pack)))
def test_any_bytes_are_one_value_or_none(raw: bytes) -> None:
    try:
        value = canonical.unpack(raw, max_bytes=MAX_BYTES)
    except DecodeError:
        return
    assert canonical.pack(value) == raw


@given(loose_values)
def test_what_other_encoders_make(value: Any) -> None:
    """A sound msgpack value is taken exactly when its bytes are the canonical ones."""
    raw = msgpack.packb(value, strict_types=False)
    try:
        found = canonical.unpack(raw, max_bytes=MAX_BYTES)
    except DecodeError:
        return
    assert canonical.pack(found) == raw
    assert msgpack.unpackb(raw, strict_map_key=False) == found


@given(values, st.binary(min_size=1, max_size=5))
def test_cut_short_or_continued(value: Any, more: bytes) -> None:
    raw = canonical.pack(value)
    for wrong in (raw[:-1], raw + more):
        try:
            canonical.unpack(wrong, max_bytes=MAX_BYTES)
        except DecodeError as error:
            assert error.code in ("truncated", "trailing-bytes")  # noqa: PT017 - either may be right here
        else:
            raise AssertionError("taken")


@given(releases())
def test_a_release_comes_back(signed: SignedRelease) -> None:
    raw = signed.encode()
    assert SignedRelease.decode(raw, site=signed.site) == signed
    assert len(raw) <= RELEASE_MAX_BYTES


@given(st.binary(max_size=300) | mutated(releases().map(SignedRelease.encode)))
def test_any_bytes_are_a_release_or_not(raw: bytes) -> None:
    try:
        signed = SignedRelease.decode(raw)
    except DecodeError:
        return
    assert signed.encode() == raw


@given(releases(), st.data())
def test_a_changed_field_needs_a_new_signature(signed: SignedRelease, data: st.DataObject) -> None:
    fields = canonical.unpack(signed.payload, max_bytes=RELEASE_MAX_BYTES)
    assert isinstance(fields, dict)
    name = data.draw(st.sampled_from(sorted(fields)))
    fields[name] = data.draw(values | st.integers(0, 3) | st.just(fields[name]))
    payload = canonical.pack(fields)
    for key in KEYS:
        signature = signing.sign(key, SIGNING_DOMAIN, payload)
        try:
            record = make_record(Release.decode(payload), key)
            found = SignedRelease.decode(canonical.pack([1, payload, signature, record]))
        except DecodeError:
            continue
        assert found.payload == payload
        assert found.site == key.public_key().public_bytes_raw()
    if payload != signed.payload:
        try:
            SignedRelease.decode(canonical.pack([1, payload, signed.signature, signed.ipns_record]))
        except DecodeError:
            return
        raise AssertionError("a payload was taken under the signature of another")


@given(st.lists(releases(), min_size=1, max_size=6), st.randoms())
def test_the_head_does_not_depend_on_the_order_of_arrival(found: list[SignedRelease], random: Any) -> None:
    """Any order ends at the same head, also when two releases have one sequence."""
    site = found[0].site
    unique = [signed for signed in found if signed.site == site]
    best = max(unique, key=lambda signed: signed.rank)
    random.shuffle(unique)
    head = None
    for signed in unique:
        try:
            check_successor(head, signed)
        except StaleRelease:
            continue
        head = signed
    assert head is not None
    assert head.payload == best.payload
