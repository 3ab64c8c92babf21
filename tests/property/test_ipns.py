"""DAG-CBOR has one encoding for each value, and any bytes are an IPNS record or not."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from protocol import dagcbor
from protocol.errors import DecodeError
from protocol.ipns import IpnsRecord, create
from protocol.site_id import SiteId
from tests.property.protocol_values import mutated

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
NAME = SiteId.of(KEY).cid.multihash
GOOD = create(KEY, value=b"/ipfs/bafkqaaa", sequence=1, validity_s=4_000_000_000, ttl_s=60)

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.binary(max_size=300)
    | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(st.text(max_size=5), inner, max_size=30),
    max_leaves=40,
)


@given(values)
def test_a_value_comes_back(value: dagcbor.Value) -> None:
    raw = dagcbor.encode(value)
    assert dagcbor.decode(raw) == value
    assert dagcbor.encode(dagcbor.decode(raw)) == raw


@given(st.binary(max_size=60) | mutated(values.map(dagcbor.encode)))
def test_any_bytes_are_the_encoding_of_their_value_or_refused(raw: bytes) -> None:
    try:
        value = dagcbor.decode(raw)
    except DecodeError:
        return
    assert dagcbor.encode(value) == raw


@given(st.binary(max_size=100) | mutated(st.just(GOOD)))
def test_what_a_record_says_cannot_be_changed(raw: bytes) -> None:
    try:
        record = IpnsRecord.decode(raw)
        record.verify(NAME)
    except DecodeError:
        return
    good = IpnsRecord.decode(GOOD)
    assert (record.value, record.sequence, record.validity_ns) == (good.value, good.sequence, good.validity_ns)
