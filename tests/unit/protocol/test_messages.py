from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from protocol import canonical, messages
from protocol.cid import DAG_PB, LIBP2P_KEY, RAW, Cid
from protocol.errors import DecodeError, Malformed, OverLimit, UnknownType
from protocol.limits import BLOCK_MAX_BYTES, MESSAGE_MAX_BYTES, REASON_MAX_CHARS, SEQ_MAX, WANT_MAX_CIDS
from protocol.messages import (
    Ask,
    Block,
    Fetch,
    Have,
    Kind,
    Message,
    Missing,
    Offer,
    Progress,
    Refuse,
    RefuseCode,
    Want,
    clip_reason,
    decode_message,
    encode,
)
from protocol.site_id import SiteId
from tests.vectors.make_ids import SITES
from tests.vectors.make_notices import MESSAGES as ABOUT_NOTICES
from tests.vectors.make_wire import MESSAGES

CID = Cid.of(RAW, b"x")


def cids(count: int) -> tuple[Cid, ...]:
    return tuple(Cid.of(DAG_PB, b"%d" % number) for number in range(count))


def sites(count: int) -> tuple[SiteId, ...]:
    return tuple(SiteId(Cid.of(RAW, b"%d" % number).digest) for number in range(count))


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_round_trip(message: Message) -> None:
    if isinstance(message, Block):
        assert decode_message(Kind.BLOCK, message.cid + message.data) == message
    else:
        assert decode_message(Kind.MESSAGE, encode(message)) == message


def test_every_type_is_covered_by_the_vectors() -> None:
    covered = {type(message) for message in (MESSAGES | ABOUT_NOTICES).values()}
    assert covered == set(Message.__args__)


def test_decoded_ids_have_their_types() -> None:
    want = decode_message(Kind.MESSAGE, encode(Want((CID,))))
    assert isinstance(want, Want)
    assert type(want.cids[0]) is Cid
    block = decode_message(Kind.BLOCK, CID + b"x")
    assert isinstance(block, Block)
    assert type(block.cid) is Cid


def test_the_largest_of_each_type_fits() -> None:
    largest: list[Message] = [
        Want(cids(WANT_MAX_CIDS)),
        Refuse("f" * 32, "\U0001f310" * REASON_MAX_CHARS, bytes(64)),
        Have(SITES[0], SEQ_MAX, SEQ_MAX, SEQ_MAX),
        Progress(SEQ_MAX, SEQ_MAX, SEQ_MAX),
    ]
    for message in largest:
        body = encode(message)
        assert len(body) <= MESSAGE_MAX_BYTES
        assert decode_message(Kind.MESSAGE, body) == message


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: Ask(SiteId(b"short")), Malformed),
        (lambda: Fetch(SITES[0], Cid.of(LIBP2P_KEY, b"")), Malformed),
        (lambda: Want(()), Malformed),
        (lambda: Want(cids(WANT_MAX_CIDS + 1)), OverLimit),
        (lambda: Want((CID, CID)), Malformed),
        (lambda: Missing(Cid(b"")), Malformed),
        (lambda: Block(CID, bytes(BLOCK_MAX_BYTES + 1)), OverLimit),
        (lambda: Have(SITES[0], 1, -1, 0), Malformed),
        (lambda: Refuse("full", "a\x07b"), Malformed),
        (lambda: Refuse("full", "r" * (REASON_MAX_CHARS + 1)), OverLimit),
        (lambda: Refuse("Full", ""), Malformed),
        (lambda: Progress(2, 1, 0), OverLimit),
    ],
)
def test_a_message_that_may_not_be_sent_cannot_be_made(make: Callable[[], Any], error: type[DecodeError]) -> None:
    with pytest.raises(error):
        make()


def test_a_block_has_no_message_form() -> None:
    with pytest.raises(ValueError, match="block"):
        encode(Block(CID, b"x"))


@pytest.mark.parametrize("kind", [2, 255, -1])
def test_an_unknown_kind(kind: int) -> None:
    with pytest.raises(UnknownType):
        decode_message(kind, b"")


def test_an_offer_must_carry_a_release_that_is_signed() -> None:
    offer = MESSAGES["offer"]
    assert isinstance(offer, Offer)
    raw = bytearray(offer.release.encode())
    raw[-1] ^= 1
    with pytest.raises(DecodeError) as caught:
        decode_message(Kind.MESSAGE, canonical.pack({"type": "offer", "release": bytes(raw)}))
    assert caught.value.code == "bad-ipns-record"
    raw[-1] ^= 1
    raw[raw.index(offer.release.signature)] ^= 1
    with pytest.raises(DecodeError) as caught:
        decode_message(Kind.MESSAGE, canonical.pack({"type": "offer", "release": bytes(raw)}))
    assert caught.value.code == "bad-signature"


def test_refuse_codes() -> None:
    for code in RefuseCode:
        assert decode_message(Kind.MESSAGE, encode(Refuse(code, "why"))) == Refuse(code.value, "why")
    assert {code.value for code in RefuseCode} == messages.REFUSE_CODES


@pytest.mark.parametrize(
    ("text", "clipped"),
    [
        ("", ""),
        ("plain, with ümlauts and \U0001f310", "plain, with ümlauts and \U0001f310"),
        ("two\nlines\tand a tab", "two lines and a tab"),
        ("\x1b[31mred\x1b[0m", " [31mred [0m"),
        ("a\u202eb\u2066c\u2028d", "a b c d"),
        ("lone \ud800 surrogate", "lone   surrogate"),
        ("r" * REASON_MAX_CHARS, "r" * REASON_MAX_CHARS),
        ("r" * (REASON_MAX_CHARS + 1), "r" * (REASON_MAX_CHARS - 1) + "…"),
        ("\n" * 10**6, " " * (REASON_MAX_CHARS - 1) + "…"),
    ],
)
def test_clip_reason(text: str, clipped: str) -> None:
    assert clip_reason(text) == clipped
    assert Refuse("full", clip_reason(text)).reason == clipped
