from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from protocol import canonical, messages
from protocol.errors import DecodeError
from protocol.frames import Frame, FrameDecoder, encode_message
from protocol.limits import INVITATION_SECRET_BYTES
from tests.property.protocol_values import all_messages, mutated, own_cids, releases, sites, values


def frame_of(message: messages.Message) -> bytes:
    return b"".join(bytes(piece) for piece in encode_message(message))


streams = st.lists(all_messages, max_size=5).map(lambda found: b"".join(map(frame_of, found)))


def read(pieces: list[bytes]) -> tuple[list[Frame], str | None]:
    """The frames of a stream that comes in these pieces, and the code of the error that ended it."""
    decoder = FrameDecoder()
    frames = []
    try:
        for piece in pieces:
            decoder.feed(piece)
            while (frame := decoder.next_frame()) is not None:
                frames.append(frame)
        decoder.at_eof()
    except DecodeError as error:
        return frames, error.code
    return frames, None


def cut(raw: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(raw), *(place % (len(raw) + 1) for place in places)})
    return [raw[start:end] for start, end in itertools.pairwise(edges)]


@given(st.lists(all_messages, max_size=5), st.lists(st.integers(0, 5000), max_size=20))
def test_messages_come_back_however_the_stream_is_cut(found: list[messages.Message], places: list[int]) -> None:
    frames, error = read(cut(b"".join(map(frame_of, found)), places))
    assert error is None
    assert [messages.decode_message(*frame) for frame in frames] == found


@given(st.binary(max_size=200) | mutated(streams), st.lists(st.integers(0, 500), max_size=10))
def test_any_stream_gives_the_same_however_it_is_cut(raw: bytes, places: list[int]) -> None:
    whole = read([raw])
    assert read(cut(raw, places)) == whole
    assert read([bytes([byte]) for byte in raw]) == whole
    for frame in whole[0]:
        try:
            message = messages.decode_message(*frame)
        except DecodeError:
            continue
        [again], _ = read([frame_of(message)])
        assert again == frame


@given(st.integers(0, 3), st.binary(max_size=100) | mutated(all_messages.map(lambda message: frame_of(message)[5:])))
def test_any_body_is_a_message_or_not(kind: int, body: bytes) -> None:
    try:
        message = messages.decode_message(kind, body)
    except DecodeError:
        return
    assert frame_of(message)[4:] == bytes((kind,)) + body


# Fields of the right names with values that are right now and then.
likely_fields: dict[str, st.SearchStrategy[Any]] = {
    "type": st.sampled_from([*messages._TYPES, "block"]),
    "site": sites,
    "cid": own_cids,
    "cids": st.lists(own_cids, max_size=3),
    "release_cid": own_cids,
    "release": releases().map(lambda signed: signed.encode()),
    "of": st.sampled_from(["sites", "members", "all"]),
    "sums": st.binary(min_size=128, max_size=136),
    "now_s": st.integers(-1, 5),
    "entries": st.lists(st.lists(sites | st.integers(0, 5) | st.just(bytes(8)), max_size=4), max_size=3),
    "statement": st.binary(max_size=50),
    "proofs": st.lists(st.binary(min_size=31, max_size=32), max_size=3),
    "done": st.booleans(),
    "seq": st.integers(-1, 2**64 - 1),
    "new_blocks": st.integers(-1, 2**64 - 1),
    "new_bytes": st.integers(-1, 5),
    "done_bytes": st.integers(-1, 5),
    "total_bytes": st.integers(-1, 5),
    "code": st.text("abc-", max_size=40),
    "reason": st.text(max_size=10),
    "subject": st.binary(max_size=70),
    "notices": st.lists(st.binary(max_size=5), max_size=6),
    "appeal": st.binary(max_size=5),
    "nonce": st.binary(min_size=31, max_size=33),
    "signature": st.binary(min_size=63, max_size=65),
    "secret": st.binary(min_size=INVITATION_SECRET_BYTES - 1, max_size=INVITATION_SECRET_BYTES + 1),
}
FIELDS_OF = {name: entry[1] for name, entry in messages._TYPES.items()}
assert set().union(*FIELDS_OF.values()) <= likely_fields.keys()


@st.composite
def likely_messages(draw: st.DrawFn) -> dict[str, Any]:
    name = draw(likely_fields["type"])
    keys = FIELDS_OF.get(name, frozenset({"cid"}))
    found = {"type": name} | {key: draw(likely_fields[key]) for key in sorted(keys)}
    if draw(st.booleans()) and draw(st.booleans()):
        found[draw(st.sampled_from(sorted(likely_fields)))] = draw(values)
    return found


@given(likely_messages())
def test_any_fields_are_a_message_or_not(fields: dict[str, Any]) -> None:
    body = canonical.pack(fields)
    try:
        message = messages.decode_message(0, body)
    except DecodeError:
        return
    assert messages.encode(message) == body
