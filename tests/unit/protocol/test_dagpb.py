from __future__ import annotations

import pytest

from protocol import dagpb
from protocol.cid import RAW, Cid
from protocol.dagpb import PBLink, PBNode
from protocol.errors import DecodeError, Malformed, NotCanonical, OverLimit, Truncated
from protocol.limits import NODE_MAX_LINKS

CID = Cid.of(RAW, b"x")
LINK = dagpb.encode_link(CID, b"name", 300)


def field(tag: int, body: bytes) -> bytes:
    assert len(body) < 0x80
    return bytes((tag, len(body))) + body


HASH = field(0x0A, CID)


def test_absent_and_empty_are_told_apart() -> None:
    node = PBNode((PBLink(CID), PBLink(CID, b"", 0)), b"")
    assert dagpb.decode(dagpb.encode(node)) == node
    assert dagpb.decode(b"") == PBNode((), None)


def test_encoding_sorts_by_name_bytes_and_keeps_the_order_of_equals() -> None:
    other = Cid.of(RAW, b"y")
    links = (PBLink(CID, "é".encode()), PBLink(other, b"z"), PBLink(CID, b"z"), PBLink(other), PBLink(CID, b"Z"))
    found = dagpb.decode(dagpb.encode(PBNode(links))).links
    assert found == (links[3], links[4], links[1], links[2], links[0])


def test_links_may_be_in_any_order_and_data_first() -> None:
    block = field(0x0A, b"d") + dagpb.encode_link(CID, b"b", 1) + dagpb.encode_link(CID, b"a", 1)
    node = dagpb.decode(block)
    assert [link.name for link in node.links] == [b"b", b"a"]
    assert node.data == b"d"


@pytest.mark.parametrize(
    ("error", "block"),
    [
        (Malformed, LINK + field(0x0A, b"d") + LINK),  # data between links
        (Malformed, field(0x0A, b"d") + field(0x0A, b"d")),
        (Malformed, field(0x1A, b"")),  # field 3
        (Malformed, b"\x08\x01"),  # data as a varint
        (Malformed, field(0x12, b"")),  # no hash
        (Malformed, field(0x12, field(0x0A, b""))),  # empty hash
        (Malformed, field(0x12, field(0x12, b"n") + HASH)),  # name before hash
        (Malformed, field(0x12, HASH + b"\x18\x01" + field(0x12, b"n"))),  # tsize before name
        (Malformed, field(0x12, HASH + HASH)),
        (Malformed, field(0x12, HASH + field(0x12, b"n") + field(0x12, b"n"))),
        (Malformed, field(0x12, HASH + b"\x18\x01\x18\x01")),
        (Malformed, field(0x12, HASH + b"\x20\x01")),  # field 4
        (Truncated, b"\x12"),
        (Truncated, field(0x12, HASH)[:-1]),
        (Truncated, field(0x12, b"\x0a\x25" + CID)),  # hash longer than its link
        (Truncated, b"\x12\x80"),
        (NotCanonical, b"\x0a\x80\x00"),  # length in two bytes
        (NotCanonical, field(0x12, HASH + b"\x18\x81\x00")),
        (OverLimit, b"\x0a" + b"\xff" * 9 + b"\x01"),
        (DecodeError, field(0x12, field(0x0A, b"\x01\x55\x12\x21" + bytes(32)))),  # CID that ends early
        (DecodeError, field(0x12, field(0x0A, CID + b"\0"))),
    ],
)
def test_what_is_refused(error: type[DecodeError], block: bytes) -> None:
    with pytest.raises(error):
        dagpb.decode(block)


def test_a_tsize_that_runs_over_the_end_of_its_link() -> None:
    # The varint's last byte is the first of the next field.
    block = bytes((0x12, len(HASH) + 2)) + HASH + b"\x18\xff" + b"\x0a\x00"
    with pytest.raises(Malformed):
        dagpb.decode(block)


def test_links_are_bounded_before_they_are_kept() -> None:
    tiny = field(0x12, field(0x0A, b"\x01\x55\x00\x00"))
    assert len(dagpb.decode(tiny * NODE_MAX_LINKS).links) == NODE_MAX_LINKS
    with pytest.raises(OverLimit):
        dagpb.decode(tiny * (NODE_MAX_LINKS + 1))
