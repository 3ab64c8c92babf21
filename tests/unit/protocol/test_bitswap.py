"""Messages of bitswap: known bytes, refusals, and that nothing that a stranger sends costs more than its bound."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocol import bitswap, protobuf
from protocol.bitswap import Message, Want
from protocol.cid import DAG_CBOR, DAG_PB, RAW, Cid, multihash_of
from protocol.errors import DecodeError, Malformed, OverLimit, TrailingBytes, Truncated, UnknownVersion, UnsupportedHash
from protocol.limits import BITSWAP_MESSAGE_MAX_BYTES, BITSWAP_WANTS_MAX, FOREIGN_BLOCK_MAX_BYTES

DIGEST = hashlib.sha256(b"hello").digest()
V1 = Cid(b"\x01\x55\x12\x20" + DIGEST)
V0 = Cid(b"\x12\x20" + DIGEST)

cids = st.builds(
    lambda data, codec, version: (
        Cid(b"\x12\x20" + hashlib.sha256(data).digest()) if version == 0 else Cid.of(codec, data)
    ),
    st.binary(max_size=8),
    st.sampled_from((RAW, DAG_PB, DAG_CBOR, 0x0129)),
    st.integers(0, 1),
)
wants = st.builds(Want, cids, st.integers(-(2**31), 2**31 - 1), st.booleans(), st.booleans(), st.booleans())
blocks = st.builds(
    lambda data, kind: (
        {
            "v0": lambda: Cid(multihash_of(0x12, 32, data)),
            "raw": lambda: Cid.of(RAW, data),
            "sha2-512": lambda: Cid(b"\x01\x55" + multihash_of(0x13, 64, data)),
            "identity": lambda: Cid(b"\x01\x55" + multihash_of(0, len(data), data)),
        }[kind](),
        data,
    ),
    st.binary(max_size=100),
    st.sampled_from(("v0", "raw", "sha2-512", "identity")),
)
messages = st.builds(
    Message,
    st.lists(wants, max_size=5).map(tuple),
    st.booleans(),
    st.lists(blocks, max_size=4).map(tuple),
    st.lists(st.tuples(cids, st.booleans()), max_size=4).map(tuple),
    st.integers(-(2**31), 2**31 - 1),
)


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return protobuf.number(number, value)
    return protobuf.head(number, len(value)) + value


def wantlist(*entries: bytes) -> bytes:
    return field(1, b"".join(field(1, entry) for entry in entries))


def test_a_want_is_the_bytes_that_other_implementations_send() -> None:
    # from the protobuf schema of the specification, worked out by hand
    raw = b"\x0a\x2c\x0a\x2a\x0a\x24" + V1 + b"\x10\x01" + b"\x28\x01"
    want = Want(V1, priority=1, send_dont_have=True)
    assert bitswap.encode(Message((want,))) == raw
    assert bitswap.decode(raw).wants == (want,)


def test_a_block_is_its_prefix_and_its_data() -> None:
    raw = b"\x1a\x0d\x0a\x04\x01\x55\x12\x20\x12\x05hello"
    assert bitswap.encode(Message(blocks=((V1, b"hello"),))) == raw
    assert bitswap.decode(raw).blocks == ((V1, b"hello"),)


def test_a_version_0_block_has_the_prefix_that_kubo_gives_it() -> None:
    raw = b"\x1a\x0d\x0a\x04\x00\x70\x12\x20\x12\x05hello"
    assert bitswap.encode(Message(blocks=((V0, b"hello"),))) == raw
    assert bitswap.decode(raw).blocks == ((V0, b"hello"),)


def test_blocks_of_the_oldest_form_are_version_0() -> None:
    raw = bitswap.encode_v0([b"hello"])
    assert raw == b"\x0a\x00\x12\x05hello"
    assert bitswap.decode(raw).blocks == ((V0, b"hello"),)


@given(messages)
def test_what_is_encoded_is_decoded(message: Message) -> None:
    assert bitswap.decode(bitswap.encode(message)) == message


@given(st.binary(max_size=200))
@example(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
def test_any_bytes_are_decoded_or_refused(raw: bytes) -> None:
    try:
        message = bitswap.decode(raw)
    except DecodeError:
        return
    assert bitswap.decode(bitswap.encode(message)) == message


@given(messages, st.data())
def test_a_message_that_was_cut_or_changed_raises_nothing_else(message: Message, data: st.DataObject) -> None:
    raw = bytearray(bitswap.encode(message))
    for _ in range(data.draw(st.integers(0, 3))):
        if raw:
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(raw[: data.draw(st.integers(0, len(raw)))])
    try:
        found = bitswap.decode(cut)
    except DecodeError:
        return
    for cid, block in found.blocks:
        cid.verify(block)


@given(st.integers(0, 2**64 - 1), st.integers(0, 3))
def test_numbers_are_read_also_when_they_are_padded(value: int, padding: int) -> None:
    groups = [value >> shift & 0x7F for shift in range(0, max(value.bit_length(), 1), 7)]
    groups = (groups + [0] * padding)[:10]
    raw = bytes(group | 0x80 for group in groups[:-1]) + bytes(groups[-1:])
    assert protobuf.read_uint64(memoryview(raw), 0, "test") == (value, len(raw))


def test_fields_of_later_versions_are_skipped() -> None:
    later = field(900, b"more") + b"\xf9\x3f12345678" + b"\xfd\x3f1234"
    assert bitswap.decode(later + wantlist(field(1, V1) + field(77, 3))).wants == (Want(V1, priority=0),)


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (wantlist(field(2, 1)), Malformed),  # no CID
        (wantlist(field(1, V1 + b"\0")), TrailingBytes),
        (wantlist(field(1, V1) + field(1, V1)), Malformed),
        (wantlist(field(1, V1) + field(4, 2)), Malformed),  # no such type of want
        (wantlist(field(1, V1) + field(2, 2**31)), Malformed),
        (wantlist(field(1, V1)) + wantlist(field(1, V1)), Malformed),  # two wantlists
        (b"\x08\x01", Malformed),  # a number where the wantlist should be
        (b"\x0b", Malformed),  # a group
        (b"\x00", Malformed),  # field 0
        (b"\x12\x05hell", Truncated),
        (field(4, field(2, 1)), Malformed),  # a presence without a CID
        (field(4, field(1, V1) + field(2, 2)), Malformed),
        (field(3, field(1, b"\x01\x55\x12\x20\x00") + field(2, b"")), TrailingBytes),
        (field(3, field(1, b"\x02\x55\x12\x20") + field(2, b"")), UnknownVersion),
        (field(3, field(1, b"\x00\x55\x12\x20") + field(2, b"")), Malformed),
        (field(3, field(1, b"\x01\x55\x11\x14") + field(2, b"")), UnsupportedHash),  # SHA-1
        (field(3, field(1, b"\x01\x55\x00\x05") + field(2, b"abcd")), OverLimit),
        (field(3, field(2, b"no prefix")), Truncated),
        (field(2, bytes(FOREIGN_BLOCK_MAX_BYTES + 1)), OverLimit),
        (bytes(BITSWAP_MESSAGE_MAX_BYTES + 1), OverLimit),
        (wantlist(*[field(1, V0)] * (BITSWAP_WANTS_MAX + 1)), OverLimit),
        (field(4, field(1, V0)) * (BITSWAP_WANTS_MAX + 1), OverLimit),
        (field(3, field(1, b"\x01\x55\x00\x00")) * 8193, OverLimit),
    ],
)
def test_faulty_messages_are_refused(raw: bytes, error: type[DecodeError]) -> None:
    with pytest.raises(error):
        bitswap.decode(raw)
