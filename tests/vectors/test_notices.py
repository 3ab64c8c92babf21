"""Vectors of notices: what is stored is read and made again, what is bad fails in its own way; the spec shows them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from protocol import limits, messages
from protocol.errors import BadSignature
from protocol.frames import FrameDecoder
from protocol.notice import Notice, SignedAppeal, SignedNotice, check_export_proof
from protocol.site_id import SiteId
from tests.vectors.make_notices import MESSAGES, NODE, NONCE, SITE
from tests.vectors.test_protocol import code_of, entries, load

PAGE = (Path(__file__).parents[2] / "docs/spec/notice.md").read_text("utf-8")


@pytest.mark.parametrize("entry", entries("notices.json", "notices"))
def test_a_notice_is_read(entry: dict[str, Any]) -> None:
    signed = SignedNotice.decode(bytes.fromhex(entry["hex"]))
    assert signed.encode().hex() == entry["hex"]
    assert (signed.notice.node, signed.notice.site) == (NODE, SITE)
    assert signed.notice.reason == entry["notice"]["reason"]


@pytest.mark.parametrize("entry", entries("notices.json", "appeals"))
def test_an_appeal_is_read(entry: dict[str, Any]) -> None:
    signed = SignedAppeal.decode(bytes.fromhex(entry["hex"]))
    assert signed.encode().hex() == entry["hex"]
    assert signed.appeal.text == entry["appeal"]["text"]
    assert code_of(lambda: SignedNotice.decode(bytes.fromhex(entry["hex"]))) == "malformed"


@pytest.mark.parametrize("entry", entries("notices.json", "invalid"))
def test_a_bad_notice_is_refused(entry: dict[str, Any]) -> None:
    assert code_of(lambda: SignedNotice.decode(bytes.fromhex(entry["hex"]))) == entry["error"]


def test_a_proof_holds_for_one_nonce_of_one_node() -> None:
    (entry,) = load("notices.json")["proofs"]
    signature = bytes.fromhex(entry["signature"])
    check_export_proof(SITE, NODE, NONCE, signature)
    for site, node, nonce in ((NODE, NODE, NONCE), (SITE, SITE, NONCE), (SITE, NODE, NONCE[::-1])):
        with pytest.raises(BadSignature):
            check_export_proof(SiteId(site), SiteId(node), nonce, signature)


@pytest.mark.parametrize("entry", entries("notices.json", "frames"))
def test_a_message_is_read(entry: dict[str, Any]) -> None:
    decoder = FrameDecoder()
    decoder.feed(bytes.fromhex(entry["hex"]))
    frame = decoder.next_frame()
    assert frame is not None
    assert messages.decode_message(frame.kind, frame.body) == MESSAGES[entry["type"]]


def test_the_spec_shows_vectors_fields_and_limits() -> None:
    stored = (Path(__file__).parent / "notices.json").read_text()
    shown = re.findall(r"^    ([0-9a-f]{40,})$", PAGE, re.MULTILINE)
    assert len(shown) == 2
    assert all(f'"{each}"' in stored for each in shown)
    fields = {"list" if name == "list_name" else name for name in Notice.__dataclass_fields__}
    assert {name for name in fields if f"`{name}`" not in PAGE} == set()
    assert {name for name in MESSAGES if f"| `{name}` |" not in PAGE} == set()
    for limit in (limits.NOTICE_MAX_BYTES, limits.APPEAL_MAX_BYTES):
        assert f"{limit:,} bytes" in PAGE
    for limit in (limits.APPEAL_TEXT_MAX_CHARS, limits.NOTICE_RULE_MAX_CHARS, limits.NOTICE_CONTACT_MAX_CHARS):
        assert f"{limit} characters" in PAGE
