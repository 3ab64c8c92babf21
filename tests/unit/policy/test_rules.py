"""Target text ↔ target, rows ↔ rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.policy.model import CidPath, HashTarget, NamePath, PeerTarget, Rule, Target
from node.policy.rules import (
    BadRuleRow,
    BadTarget,
    read_target,
    row_of,
    rule_of,
    target_text,
)
from node.store.port import RuleRow
from protocol.cid import DAG_PB, Cid
from protocol.deny_keys import NEVER_BLOCKED
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
        ("/ipns/Example.com", NamePath("example.com", "", False)),
        (f"{SITE}/path", NamePath(SITE, "path", False)),
        ("//" + "0a" * 32, HashTarget("0a" * 32, None, b"\x0a" * 32)),
    ],
)
def test_content_in_any_form(text: str, target: Target) -> None:
    assert read_target(text) == target


PEER = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5"
RSA_PEER = "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH"


@pytest.mark.parametrize(
    "text",
    [
        f"/p2p/{PEER}",
        f"/p2p/{PEER}/",
        "/p2p/k51qzi5uqu5djmw2yvf8kk5cdjc1ddc00o4d5sjwi6f79xzcay9j3gkddw5uu4",
        "/p2p/bafzaajaiaejcbcui4poxicprsx6vfwznhs5f24wkm4e36hmucin7g5eiag2a6324",
        f"/ip4/192.0.2.1/tcp/4101/p2p/{PEER}",
        f"/ip6/::1/tcp/4101/p2p/{PEER}",
        f"/dns4/node.example/tcp/4101/p2p/{PEER}",
    ],
)
def test_a_peer_in_any_form(text: str) -> None:
    target = read_target(text)
    assert isinstance(target, PeerTarget)
    assert target_text(target) == f"/p2p/{PEER}"


def test_a_peer_whose_key_is_no_ed25519_key() -> None:
    assert target_text(read_target(f"/p2p/{RSA_PEER}")) == f"/p2p/{RSA_PEER}"


@pytest.mark.parametrize("rest", ["", PEER[:-1], f"{PEER}/path", f"{PEER}*", str(CID), "example.org"])
def test_what_is_no_peer(rest: str) -> None:
    with pytest.raises(BadTarget):
        read_target(f"/p2p/{rest}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "/",
        "k51",
        "example.com",
        "/ipns/exa mple.com",
        "//nonsense0",
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


paths = (
    st.text(st.characters(codec="utf-8"), max_size=20)
    .map(lambda text: text.strip("/"))
    .filter(lambda path: {"", ".", ".."}.isdisjoint(path.split("/")) or not path)
)


@given(st.builds(CidPath, st.just(CID.multihash), paths, st.booleans()))
def test_target_text_reads_back(target: CidPath) -> None:
    assert read_target(target_text(target)) == target


def test_rows_and_rules() -> None:
    rule = Rule(CidPath(CID.multihash, "a*b", True), "refuse", "legal", "a court said so", 5)
    assert rule_of(row_of(rule)) == rule


@pytest.mark.parametrize(
    "row",
    [
        RuleRow("/ipns/nonsense", "refuse", "policy", "", 0),
        RuleRow(f"/ipns/{SITE}", "permit", "policy", "", 0),
        RuleRow(f"/ipns/{SITE}", "refuse", "taste", "", 0),
    ],
)
def test_a_row_that_cannot_be_read_is_an_error(row: RuleRow) -> None:
    with pytest.raises(BadRuleRow):
        rule_of(row)
