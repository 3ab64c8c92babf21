from __future__ import annotations

import random
import tracemalloc

import pytest

from protocol import varint
from protocol.car import CarDecoder, Section, decode_header, encode_header, section_prefix
from protocol.cid import DAG_PB, RAW, Cid
from protocol.errors import (
    DecodeError,
    Malformed,
    NotCanonical,
    OverLimit,
    TrailingBytes,
    Truncated,
    UnknownVersion,
)
from protocol.limits import CAR_HEADER_MAX_BYTES, CAR_MAX_ROOTS, FOREIGN_BLOCK_MAX_BYTES

DATA = [b"hello", b"", b"x" * 5000, bytes(range(256))]
BLOCKS = [(Cid.of(RAW, data), data) for data in DATA]
IDENTITY = Cid.from_text("bafkqaaa")
VERSION_0 = Cid(Cid.of(DAG_PB, b"").multihash)


def car(roots: list[Cid], blocks: list[tuple[Cid, bytes]]) -> bytes:
    return encode_header(roots) + b"".join(section_prefix(cid, len(data)) + data for cid, data in blocks)


FILE = car([BLOCKS[0][0], VERSION_0], [*BLOCKS, (VERSION_0, b"")])


def decode(raw: bytes, piece_bytes: int | None = None) -> tuple[tuple[Cid, ...] | None, list[Section]]:
    decoder = CarDecoder()
    found: list[Section] = []
    size = piece_bytes or max(len(raw), 1)
    for at in range(0, len(raw), size):
        found += decoder.feed(raw[at : at + size])
    decoder.close()
    return decoder.roots, found


def test_what_is_encoded_is_decoded() -> None:
    roots, found = decode(FILE)
    assert roots == (BLOCKS[0][0], VERSION_0)
    assert [(section.cid, section.data) for section in found] == [*BLOCKS, (VERSION_0, b"")]


def test_offsets_lead_to_the_bytes() -> None:
    _, found = decode(FILE)
    end = len(encode_header([BLOCKS[0][0], VERSION_0]))
    for section in found:
        assert section.offset == end
        assert FILE[section.data_offset : section.end] == section.data
        assert FILE[section.data_offset - len(section.cid) : section.data_offset] == section.cid
        end = section.end
    assert end == len(FILE)


@pytest.mark.parametrize("piece_bytes", [1, 2, 3, 7, 40, 64, 1000, 4096])
def test_pieces_of_any_size_give_the_same(piece_bytes: int) -> None:
    assert decode(FILE, piece_bytes) == decode(FILE)


def test_pieces_of_random_sizes_give_the_same_and_the_offset_tells_what_is_complete() -> None:
    chosen = random.Random(1)
    ends = [len(encode_header([BLOCKS[0][0], VERSION_0]))] + [section.end for section in decode(FILE)[1]]
    decoder = CarDecoder()
    at = 0
    found = []
    while at < len(FILE):
        size = chosen.choice([0, 1, 5, 100, 3000])
        found += decoder.feed(memoryview(FILE)[at : at + size])
        at = min(at + size, len(FILE))
        assert decoder.offset == max((end for end in ends if end <= at), default=0)
    decoder.close()
    assert found == decode(FILE)[1]


def test_every_cut_is_found() -> None:
    ends = {len(encode_header([BLOCKS[0][0], VERSION_0]))} | {section.end for section in decode(FILE)[1]}
    for cut in range(len(FILE)):
        decoder = CarDecoder()
        decoder.feed(FILE[:cut])
        if cut in ends:
            decoder.close()
        else:
            with pytest.raises(Truncated) as caught:
                decoder.close()
            assert caught.value.offset == cut


@pytest.mark.parametrize("count", [0, 1, 2, 23, 24, 255, CAR_MAX_ROOTS])
def test_any_number_of_roots(count: int) -> None:
    roots = tuple(Cid.of(RAW, b"%d" % number) for number in range(count))
    header = encode_header(roots)
    length, at = varint.decode(header)
    assert at + length == len(header)
    assert decode_header(header[at:]) == roots
    assert decode(header) == (roots, [])


def test_too_many_roots() -> None:
    with pytest.raises(ValueError, match="roots"):
        encode_header([IDENTITY] * (CAR_MAX_ROOTS + 1))
    with pytest.raises(OverLimit):
        decode_header(b"\xa2\x65roots\x99\x01\x01")


def test_the_header_of_the_store() -> None:
    """A pack's only root is the identity CID of nothing."""
    assert encode_header([IDENTITY]).hex() == "19a265726f6f747381d82a450001550000" + b"gversion\x01".hex()


ROOT = b"\xd8\x2a\x58\x25\x00" + BLOCKS[0][0]


@pytest.mark.parametrize(
    ("error", "body"),
    [
        (UnknownVersion, b"\xa1\x67version\x02"),  # the beginning of CARv2
        (UnknownVersion, b"\xa2\x65roots\x81" + ROOT + b"\x67version\x02"),
        (UnknownVersion, b"\xa2\x65roots\x81" + ROOT + b"\x67version"),
        (Malformed, b"\xa2\x67version\x01\x65roots\x80"),  # keys in the other order
        (Malformed, b"\xa1\x65roots\x80"),
        (Malformed, b"\xa2\x65roots\x80\x65roots\x80"),
        (Malformed, b"\x80"),
        (Malformed, b"\xa2\x65roots\x40\x67version\x01"),  # bytes instead of an array
        (Malformed, b"\xa2\x65roots\x81\x58\x25\x00" + BLOCKS[0][0] + b"\x67version\x01"),  # no tag
        (Malformed, b"\xa2\x65roots\x81\xd8\x2a\x58\x24" + BLOCKS[0][0] + b"\x67version\x01"),  # no zero byte
        (Malformed, b"\xa2\x65roots\x81\xd8\x2a\x58\x26\x00" + BLOCKS[0][0] + b"\x67version\x01"),
        (Malformed, b"\xa2\x65roots\x82" + ROOT + b"\x67version\x01"),  # one root of two
        (NotCanonical, b"\xa2\x65roots\x98\x01" + ROOT + b"\x67version\x01"),
        (NotCanonical, b"\xa2\x65roots\x81\xd8\x2a\x59\x00\x25\x00" + BLOCKS[0][0] + b"\x67version\x01"),
        (OverLimit, b"\xa2\x65roots\x9a\0\0\0\x01" + ROOT + b"\x67version\x01"),
        (OverLimit, b"\xa2\x65roots\x9f" + ROOT + b"\xff\x67version\x01"),  # indefinite length
        (TrailingBytes, b"\xa2\x65roots\x80\x67version\x01\x00"),
        (Truncated, b"\xa2\x65roots"),
        (Truncated, b"\xa2\x65roots\x98"),
        (Truncated, b"\xa2\x65roots\x81" + ROOT[:-1]),
    ],
)
def test_headers_that_are_refused(error: type[DecodeError], body: bytes) -> None:
    with pytest.raises(error) as direct:
        decode_header(body)
    with pytest.raises(error) as caught:
        CarDecoder(v1_only=True).feed(varint.encode(len(body)) + body)
    assert caught.value.offset == (direct.value.offset or 0) + 1


HEADER = encode_header([BLOCKS[0][0]])


@pytest.mark.parametrize(
    ("error", "section", "offset"),
    [
        (Malformed, b"\x00", 0),
        (OverLimit, varint.encode(FOREIGN_BLOCK_MAX_BYTES + 1000), 0),
        (OverLimit, b"\xff" * 9 + b"\x01", 0),
        (NotCanonical, b"\x80\x00", 0),
        (Truncated, b"\x04\x01\x55\x12\x20", 1),  # section ends inside of its CID
        (UnknownVersion, b"\x04\x02\x55\x12\x20", 1),
        (OverLimit, b"\x06\x01\x55\x00\x81\x01\x00", 6),  # identity digest of 129 bytes
        (Truncated, b"\x02\x01\xff" + b"\x00", 2),
    ],
)
@pytest.mark.parametrize("piece_bytes", [1, 1000])
def test_sections_that_are_refused_say_where(
    error: type[DecodeError], section: bytes, offset: int, piece_bytes: int
) -> None:
    good = section_prefix(*(BLOCKS[0][0], 5)) + b"hello"
    raw = HEADER + good + section
    decoder = CarDecoder()

    def feed() -> None:
        for at in range(0, len(raw), piece_bytes):
            decoder.feed(raw[at : at + piece_bytes])

    with pytest.raises(error) as caught:
        feed()
    assert caught.value.offset == len(HEADER) + len(good) + offset
    assert str(caught.value).count("at byte") == 1
    for use in (lambda: decoder.feed(b"more"), decoder.close):
        with pytest.raises(error):
            use()


def test_an_empty_file_is_no_car() -> None:
    with pytest.raises(Truncated):
        CarDecoder().close()


def test_a_header_over_the_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(OverLimit):
        CarDecoder().feed(varint.encode(CAR_HEADER_MAX_BYTES + 1))


def test_memory_is_one_section_and_one_piece() -> None:
    block = bytes(FOREIGN_BLOCK_MAX_BYTES)
    cid = Cid.of(RAW, block)
    section = section_prefix(cid, len(block)) + block
    decoder = CarDecoder()
    decoder.feed(HEADER)
    tracemalloc.start()
    for _ in range(8):
        for at in range(0, len(section), 1 << 16):
            decoder.feed(section[at : at + (1 << 16)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    decoder.close()
    assert peak < 4 * len(section)


# --- version 2 ---------------------------------------------------------------------------------------------

PRAGMA = b"\x0a\xa1\x67version\x02"


def version_2(data: bytes, *, padding: int = 0, index: bytes = b"", size: int | None = None) -> bytes:
    begin = len(PRAGMA) + 40 + padding
    numbers = (begin, len(data) if size is None else size, begin + len(data) if index else 0)
    header = bytes(16) + b"".join(number.to_bytes(8, "little") for number in numbers)
    return PRAGMA + header + bytes(padding) + data + index


@pytest.mark.parametrize("piece_bytes", [1, 7, 64, 4096])
@pytest.mark.parametrize(("padding", "index"), [(0, b""), (13, b""), (0, b"\x81\x08index"), (500, b"i" * 500)])
def test_version_2_gives_what_it_wraps(piece_bytes: int, padding: int, index: bytes) -> None:
    raw = version_2(FILE, padding=padding, index=index)
    roots, found = decode(raw, piece_bytes)
    assert roots == decode(FILE)[0]
    assert [(section.cid, section.data) for section in found] == [*BLOCKS, (VERSION_0, b"")]
    assert all(raw[section.data_offset : section.end] == section.data for section in found)


@pytest.mark.parametrize("padding", [0, 30])
def test_version_2_that_is_cut_or_shorter_than_it_says_is_refused(padding: int) -> None:
    raw = version_2(FILE, padding=padding)
    ends = {section.end for section in decode(raw)[1]}
    for stop in range(1, len(raw), 97):
        with pytest.raises(Truncated):
            decode(raw[:stop])
        assert stop not in ends or stop < len(raw)
    with pytest.raises(Truncated):
        decode(version_2(FILE, size=len(FILE) + 1))
    with pytest.raises(Truncated):
        decode(version_2(FILE, size=len(FILE) - 1, index=b"i" * 100))


@pytest.mark.parametrize("begin", [0, 50, 2**63])
def test_version_2_with_impossible_offsets_is_refused(begin: int) -> None:
    raw = PRAGMA + bytes(16) + begin.to_bytes(8, "little") + (9).to_bytes(8, "little") + bytes(8) + FILE
    with pytest.raises(Malformed):
        decode(raw)


def test_version_2_in_version_2_and_where_1_must_be_is_refused() -> None:
    with pytest.raises(UnknownVersion):
        decode(version_2(version_2(FILE)))
    with pytest.raises(UnknownVersion):
        CarDecoder(v1_only=True).feed(version_2(FILE))
