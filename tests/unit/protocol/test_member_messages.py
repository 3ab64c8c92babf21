"""Messages between members: what is sent is read again, and nothing else is."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol import canonical
from protocol.cid import RAW, Cid
from protocol.errors import DecodeError
from protocol.member_messages import Challenge, Listing, Of, Proofs, Stated, Summary
from protocol.messages import Kind, Message, decode_message, encode
from protocol.site_filter import SiteFilter
from protocol.site_id import SiteId
from protocol.statement import Statement, Takes, sign_statement
from protocol.summary import Entry

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NODE = SiteId.of(KEY)
CIDS = (Cid.of(RAW, b"1"), Cid.of(RAW, b"2"))
MESSAGES: list[Message] = [
    Stated(sign_statement(Statement(NODE, 7, ("/ip4/127.0.0.1/tcp/1",), Takes.OPEN, 1, 0, SiteFilter()), KEY)),
    Summary(Of.SITES, bytes(128), 1_800_000_000),
    Listing(Of.MEMBERS, (Entry(NODE, 7),), done=True),
    Listing(Of.SITES, (), done=False),
    Challenge(bytes(16), NODE, CIDS),
    Proofs((bytes(32), b"")),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_what_is_sent_is_read_again(message: Message) -> None:
    assert decode_message(Kind.MESSAGE, encode(message)) == message


ENTRY = [bytes(NODE), 1, bytes(8)]


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "summary", "of": "all", "sums": bytes(128), "now_s": 1},
        {"type": "summary", "of": "sites", "sums": bytes(127), "now_s": 1},
        {"type": "summary", "of": "sites", "sums": bytes(128), "now_s": -1},
        {"type": "listing", "of": "sites", "entries": [ENTRY, ENTRY], "done": True},
        {"type": "listing", "of": "sites", "entries": [ENTRY[:2]], "done": True},
        {"type": "listing", "of": "sites", "entries": [[bytes(NODE), -1, bytes(8)]], "done": True},
        {"type": "listing", "of": "sites", "entries": [[bytes(NODE), 1, bytes(7)]], "done": True},
        {"type": "listing", "of": "sites", "entries": [], "done": 1},
        {"type": "audit", "nonce": bytes(15), "site": bytes(NODE), "cids": [bytes(CIDS[0])]},
        {"type": "audit", "nonce": bytes(16), "site": bytes(NODE), "cids": []},
        {"type": "audit", "nonce": bytes(16), "site": bytes(NODE), "cids": [bytes(CIDS[0])] * 2},
        {"type": "proofs", "proofs": [bytes(31)]},
        {"type": "proofs", "proofs": [b""] * 9},
        {"type": "statement", "statement": b"\x93\x01\xc0\xc0"},
    ],
)
def test_what_is_not_exact_is_refused(fields: dict[str, canonical.Packable]) -> None:
    with pytest.raises(DecodeError):
        decode_message(Kind.MESSAGE, canonical.pack(fields))
