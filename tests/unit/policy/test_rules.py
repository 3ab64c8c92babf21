"""Target text ↔ target, rows ↔ rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.policy.model import CidPath, Rule
from node.policy.rules import (
    NEVER_BLOCKED,
    BadRuleRow,
    BadTarget,
    list_rules,
    read_target,
    row_of,
    rule_of,
    target_text,
)
from node.store.port import RuleRow
from protocol.cid import DAG_PB, Cid
from protocol.site_id import SiteId

SITE = SiteId(b"\x01" * 32)
CID = Cid.of(DAG_PB, b"content")
V0 = str(Cid(CID.multihash))


@pytest.mark.parametrize(
    "text",
    [str(SITE), f"/ipns/{SITE}", f"/ipns/{SITE}/", f"ipns://{SITE}", f" {SITE} ", f"IPNS://{SITE}", f"{SITE}/"],
)
def test_a_site_in_any_form(text: str) -> None:
    assert read_target(text) == SITE


@pytest.mark.parametrize(
    ("text", "target"),
    [
        (str(CID), CidPath(CID.multihash, "", False)),
        (V0, CidPath(CID.multihash, "", False)),
        (f"/ipfs/{CID}", CidPath(CID.multihash, "", False)),
        (f"ipfs://{CID}", CidPath(CID.multihash, "", False)),
        (f"{CID}/a%20b/*", CidPath(CID.multihash, "a b", True)),
        (f"{V0}/a%20b", CidPath(CID.multihash, "a b", False)),
        (f"/ipfs/{CID}/*", CidPath(CID.multihash, "", True)),
    ],
)
def test_content_in_any_form(text: str, target: CidPath) -> None:
    assert read_target(text) == target


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "/",
        "k51",
        "example.com",
        "/ipns/example.com",
        f"/ipns/{SITE}/path",
        f"{SITE}/path",
        "/ipfs/",
        "/ipfs/x/y",
        "http://example.com/",
        f"/ipld/{CID}",
        f"!/ipfs/{CID}",
        "ipfs://",
        f"/ipfs/{CID}/%zz",
        "k" * 9000,
    ],
)
def test_nonsense_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(BadTarget) as caught:
        read_target(text)
    assert caught.value.hint
    assert len(str(caught.value)) < 1000


def test_the_empty_file_and_folder_cannot_be_blocked() -> None:
    assert Cid.of(DAG_PB, b"\x0a\x02\x08\x01").multihash in NEVER_BLOCKED
    assert Cid.of(DAG_PB, b"").multihash in NEVER_BLOCKED
    assert Cid.of(DAG_PB, b"\x0a\x04\x08\x02\x18\x00").multihash in NEVER_BLOCKED
    for multihash in NEVER_BLOCKED:
        with pytest.raises(BadTarget):
            read_target(target_text(CidPath(multihash, "", False)))


@given(st.text(max_size=60))
def test_no_text_does_more_than_raise_bad_target(text: str) -> None:
    try:
        target = read_target(text)
    except BadTarget:
        return
    assert read_target(target_text(target)) == target


paths = st.text(st.characters(codec="utf-8"), max_size=20).map(lambda text: text.strip("/"))


@given(st.builds(CidPath, st.just(CID.multihash), paths, st.booleans()))
def test_target_text_reads_back(target: CidPath) -> None:
    assert read_target(target_text(target)) == target


def test_rows_and_rules() -> None:
    rule = Rule(CidPath(CID.multihash, "a*b", True), "refuse", "legal", "a court said so", 5, "/etc/a.deny")
    assert rule_of(row_of(rule)) == rule


@pytest.mark.parametrize(
    "row",
    [
        RuleRow("/ipns/nonsense", "refuse", "policy", "", 0),
        RuleRow(f"/ipns/{SITE}", "allow", "policy", "", 0),
        RuleRow(f"/ipns/{SITE}", "refuse", "taste", "", 0),
    ],
)
def test_a_row_that_cannot_be_read_is_an_error(row: RuleRow) -> None:
    with pytest.raises(BadRuleRow):
        rule_of(row)


def test_lines_of_a_list() -> None:
    raw = (
        f"name: court\n---\n# a comment\n/ipns/{SITE} reason:spam\n/ipfs/{CID}/x*\n\n"
        f"!/ipfs/{CID}/y\n/ipns/example.com\nnonsense\n/ipns/{SITE} reason:again\n/ipfs/bafkqaaa\n"
    ).encode()
    rows, problems, problem_count = list_rules(raw, list_name="/etc/a.deny", now_s=7)
    assert [row.target for row in rows] == [f"/ipns/{SITE}", target_text(CidPath(CID.multihash, "x", True))]
    assert rows[0] == RuleRow(f"/ipns/{SITE}", "quarantine", "policy", "spam", 7, "/etc/a.deny")
    assert [line for line, _ in problems] == [7, 8, 9]
    assert problem_count == 4  # the empty file has no line number any more
