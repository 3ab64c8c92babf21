from __future__ import annotations

import tracemalloc

import pytest

from protocol.cid import RAW, Cid
from protocol.errors import DecodeError, Malformed, OverLimit, Truncated, UnknownType
from protocol.frames import Frame, FrameDecoder, encode_block, encode_message
from protocol.limits import BLOCK_MAX_BYTES, CID_BYTES, FRAME_MAX_BYTES, MESSAGE_MAX_BYTES
from protocol.messages import Block, End, Kind, Missing, decode_message

DATA = b"hello world"
CID = Cid.of(RAW, DATA)


def joined(pieces: list[bytes | bytearray | memoryview]) -> bytes:
    return b"".join(bytes(piece) for piece in pieces)


STREAM = b"".join(joined(encode_message(message)) for message in (End(), Block(CID, DATA), Missing(CID), End()))


def drain(decoder: FrameDecoder) -> list[Frame]:
    frames = []
    while (frame := decoder.next_frame()) is not None:
        frames.append(frame)
    return frames


def whole() -> list[Frame]:
    decoder = FrameDecoder()
    decoder.feed(STREAM)
    return drain(decoder)


def test_what_comes_out_is_what_went_in() -> None:
    assert [decode_message(*frame) for frame in whole()] == [End(), Block(CID, DATA), Missing(CID), End()]
    assert [frame.kind for frame in whole()] == [0, 1, 0, 0]


@pytest.mark.parametrize("size", range(1, 50))
def test_in_pieces(size: int) -> None:
    decoder = FrameDecoder()
    found = []
    for start in range(0, len(STREAM), size):
        decoder.feed(STREAM[start : start + size])
        found += drain(decoder)
    decoder.at_eof()
    assert found == whole()


def test_a_cut_anywhere_but_between_frames_is_found() -> None:
    ends = set()
    position = 0
    for frame in whole():
        position += 5 + len(frame.body)
        ends.add(position)
    for cut in range(1, len(STREAM)):
        decoder = FrameDecoder()
        decoder.feed(STREAM[:cut])
        drain(decoder)
        if cut in ends:
            decoder.at_eof()
        else:
            with pytest.raises(Truncated):
                decoder.at_eof()


def test_nothing_at_all() -> None:
    decoder = FrameDecoder()
    decoder.feed(b"")
    assert decoder.next_frame() is None
    decoder.at_eof()


def test_the_data_of_a_block_is_not_copied() -> None:
    data = memoryview(bytearray(1000))
    pieces = encode_block(CID, data)
    assert pieces[-1] is data
    assert joined(pieces) == (1 + CID_BYTES + 1000).to_bytes(4, "big") + b"\x01" + CID + bytes(1000)


def test_the_largest_frames_pass() -> None:
    data = bytes(BLOCK_MAX_BYTES)
    decoder = FrameDecoder()
    decoder.feed(joined(encode_block(Cid.of(RAW, data), data)))
    [frame] = drain(decoder)
    assert len(frame.body) == FRAME_MAX_BYTES - 1
    assert decode_message(*frame) == Block(Cid.of(RAW, data), data)
    decoder.feed((1 + MESSAGE_MAX_BYTES).to_bytes(4, "big") + b"\x00" + bytes(MESSAGE_MAX_BYTES))
    assert drain(decoder) == [Frame(Kind.MESSAGE, bytes(MESSAGE_MAX_BYTES))]


@pytest.mark.parametrize(
    ("header", "error"),
    [
        ((0).to_bytes(4, "big") + b"\x00", Malformed),
        ((MESSAGE_MAX_BYTES + 2).to_bytes(4, "big") + b"\x00", OverLimit),
        ((FRAME_MAX_BYTES + 1).to_bytes(4, "big") + b"\x01", OverLimit),
        (CID_BYTES.to_bytes(4, "big") + b"\x01", Malformed),
        ((1).to_bytes(4, "big") + b"\x02", UnknownType),
        (b"GET / HTTP/1.1", UnknownType),
    ],
)
def test_a_bad_header_is_refused_before_its_body_comes(header: bytes, error: type[DecodeError]) -> None:
    decoder = FrameDecoder()
    decoder.feed(header[:4])
    assert decoder.next_frame() is None
    decoder.feed(header[4:])
    with pytest.raises(error):
        decoder.next_frame()


def test_after_an_error_the_stream_is_lost() -> None:
    decoder = FrameDecoder()
    decoder.feed(b"\xff" * 5 + STREAM)
    for call in (decoder.next_frame, decoder.next_frame, decoder.at_eof):
        with pytest.raises(UnknownType):
            call()


def test_byte_by_byte_costs_little_memory() -> None:
    """A peer that sends a large frame in tiny pieces must not cost an object for each of them."""
    tracemalloc.start()
    try:
        decoder = FrameDecoder()
        decoder.feed(FRAME_MAX_BYTES.to_bytes(4, "big") + b"\x01")
        for number in range(200_000):
            decoder.feed(number.to_bytes(3, "big"))
        assert decoder.next_frame() is None
        assert tracemalloc.get_traced_memory()[0] < 1_500_000
    finally:
        tracemalloc.stop()
