"""What matches in a whole list, and which line decides."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import multibase
from protocol.cid import DAG_PB, RAW, Cid
from protocol.deny_index import DenyIndex, build
from protocol.deny_keys import Question, cid_question, name_question
from protocol.errors import Malformed, UnsupportedRule
from protocol.site_id import SiteId

CID = Cid.of(DAG_PB, b"content")
SITE = SiteId(b"\x01" * 32)


def index(text: str, *, now_s: int = 7, before: DenyIndex | None = None) -> DenyIndex:
    raw = text.encode()
    return DenyIndex(build(raw, now_s=now_s, before=before).table, raw)


def about(cid: Cid, path: str = "") -> Question:
    question = cid_question(cid, path)
    assert question is not None
    return question


def deciding(text: str, question: Question, *, wide: bool = True) -> str | None:
    hits = index(text).matches(question, wide=wide)
    return hits[0].line if hits else None


def modern(text: str) -> str:
    return "//" + multibase.encode_bare("base58btc", b"\x12\x20" + hashlib.sha256(text.encode()).digest())


def test_the_last_line_that_matches_decides() -> None:
    lines = [f"/ipfs/{CID}/a*", f"!/ipfs/{CID}/ab", f"/ipfs/{CID}/abc reason:x", f"!/ipfs/{CID}/abcd*"]
    text = "\n".join(lines)
    assert deciding(text, about(CID, "a")) == lines[0]
    assert deciding(text, about(CID, "ab")) == lines[1]
    assert deciding(text, about(CID, "abc")) == lines[2]
    assert deciding(text, about(CID, "abcdef/g")) == lines[3]
    assert deciding("\n".join(reversed(lines)), about(CID, "abcdef/g")) == lines[0]
    assert deciding(text, about(CID, "b")) is None


def test_a_rule_on_the_whole_matches_its_parts_when_asked_widely() -> None:
    text = f"/ipfs/{CID}\n/ipns/{SITE}\n"
    for question in (about(CID, "a/b"), name_question(SITE, "x")):
        assert deciding(text, question) is not None
        assert deciding(text, question, wide=False) is None


def test_hashed_rules_of_the_newer_generation() -> None:
    key = multibase.encode_bare("base58btc", SITE.cid.multihash)
    content = multibase.encode_bare("base58btc", CID.multihash)
    for text, question in (
        (key, name_question(SITE)),
        (f"{key}/a b", name_question(SITE, "a b")),
        (content, about(CID)),
        (f"{content}/a/b", about(CID, "a/b")),
        ("/ipns/domain.example/x", name_question("domain.example", "x")),
    ):
        assert deciding(modern(text), question, wide=False) == modern(text)
        assert deciding(f"{modern(text)}\n!{modern(text)}", question) == f"!{modern(text)}"
    assert deciding(modern(f"{content}/a"), about(CID, "b")) is None


def test_hashed_rules_of_the_older_generation_hold_for_every_codec() -> None:
    digest = hashlib.sha256(f"{CID}/".encode()).hexdigest()
    for asked in (CID, Cid(CID.multihash), Cid(b"\x01\x55" + CID.multihash)):
        assert deciding(f"//{digest}", about(asked)) is not None
        assert deciding(f"//{digest.upper()}", about(asked)) is not None
    assert Cid(b"\x01\x55" + CID.multihash).codec == RAW


@pytest.mark.parametrize(("code", "name"), [(0x13, "sha512"), (0xB220, "blake2b")])
def test_hashed_rules_under_other_functions(code: int, name: str) -> None:
    text = multibase.encode_bare("base58btc", CID.multihash) + "/x"
    digest = hashlib.sha512(text.encode()).digest() if name == "sha512" else None
    digest = digest or hashlib.blake2b(text.encode(), digest_size=32).digest()
    head = b"\x13\x40" if code == 0x13 else b"\xa0\xe4\x02\x20"
    line = "//" + multibase.encode_bare("base58btc", head + digest)
    assert deciding(line, about(CID, "x")) == line
    assert deciding(line, about(CID, "x"), wide=False) == line
    assert deciding(line, about(CID)) is None


def test_a_hash_that_can_be_read_both_ways_is_read_both_ways() -> None:
    both = "fec6b1388de117bcf7cfe24eb7ce678772839b432c7d6437ca6ca639b3dd4594"
    assert index(f"//{both}").lookup(bytes.fromhex(both)[:16]) == [(0, 7)]


def test_what_nobody_can_look_up_is_an_error() -> None:
    built = build(b"//" + multibase.encode_bare("base58btc", b"\x11\x14" + bytes(20)).encode(), now_s=1)
    assert (built.rule_count, built.error_count, built.errors[0].error.code) == (0, 1, "unsupported-hash")


def test_the_empty_file_cannot_be_named_in_any_way() -> None:
    empty = Cid.of(RAW, b"")
    assert build(f"/ipfs/{empty}\n/ipfs/{empty}/x".encode(), now_s=1).error_count == 2
    assert cid_question(empty) is None


def test_a_rule_that_stays_keeps_its_date() -> None:
    first = index(f"/ipfs/{CID}\n", now_s=5)
    second = index(f"# moved down\n/ipns/{SITE}\n/ipfs/{CID} reason:new\n", now_s=9, before=first)
    assert [hit.since_s for hit in second.matches(about(CID))] == [5]
    assert [hit.since_s for hit in second.matches(name_question(SITE))] == [9]


def test_too_many_rules_and_broken_tables() -> None:
    with pytest.raises(UnsupportedRule):
        build(f"/ipfs/{CID}\n/ipns/{SITE}".encode(), now_s=1, rules_max=1)
    table = build(f"/ipfs/{CID}".encode(), now_s=1).table
    for broken in (b"", table[:-1], table + b"x", b"x" + table[1:]):
        with pytest.raises(Malformed):
            DenyIndex(broken, b"")


def test_no_rules() -> None:
    assert deciding("# nothing\n", about(CID)) is None
    assert list(index("").rules()) == []


@given(st.lists(st.integers(0, 300), max_size=300))
def test_every_rule_is_found_and_no_other(numbers: list[int]) -> None:
    cids = [Cid.of(RAW, number.to_bytes(2, "big")) for number in range(301)]
    listed = index("\n".join(f"/ipfs/{cids[number]}" for number in numbers))
    assert listed.rule_count == len(list(listed.rules())) == len(numbers)
    assert {n for n in range(301) if listed.matches(about(cids[n]))} == set(numbers)
