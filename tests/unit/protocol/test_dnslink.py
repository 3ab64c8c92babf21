from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from protocol.cid import Cid
from protocol.dnslink import Link, inline, is_domain, read_path, read_records, uninline
from protocol.site_id import SiteId

RSA = Cid.from_text("QmVujd5Vb7moysJj8itnGufN7MEtPRCNHkKpNuA4onsRa3")
SITE = SiteId.of(Ed25519PrivateKey.from_private_bytes(bytes(32)))


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        ([f"dnslink=/ipns/{SITE}"], Link(SITE, None)),
        ([f"dnslink=/ipns/{SITE}/"], Link(SITE, None)),
        (["dnslink=/ipns/Other.Example."], Link(None, "other.example")),
        (["v=spf1 -all", "dnslink=/ipns/b.example", "dnslink=/ipns/a.example"], Link(None, "a.example")),
        (["dnslink=/ipfs/bafkqaaa", "dnslink=/ipns/b.example"], Link(None, "b.example")),
        (["dnslink=/ipns/b.example/path"], None),
        (["dnslink=/ipns/"], None),
        (["dnslink=ipns/b.example"], None),
        (["dnslink=/ipns/localhost"], None),
        (["dnslink=/ipns/b.example" + "/" * 3000], None),
        (["DNSLINK=/ipns/b.example"], None),
        ([], None),
    ],
)
def test_records(texts: list[str], found: Link | None) -> None:
    assert read_records(texts, sites_only=True) == found


TREE = Cid.from_text("bafkqaaa")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/ipfs/bafkqaaa", Link(cid=TREE)),
        ("/ipfs/bafkqaaa/a/b%20c/", Link(cid=TREE, path=("a", "b%20c"))),
        (f"/ipns/{SITE}/a", Link(SITE, path=("a",))),
        ("/ipns/b.example/a", Link(domain="b.example", path=("a",))),
        ("/ipns/QmVujd5Vb7moysJj8itnGufN7MEtPRCNHkKpNuA4onsRa3", Link(name=RSA.multihash)),
        (f"/ipfs/{SITE}", None),
        ("/ipfs/b.example", None),
        ("/ipfs/bafkqaaa/../x", None),
        ("/ipfs/bafkqaaa//x", None),
        ("/ipld/bafkqaaa", None),
        ("x/ipfs/bafkqaaa", None),
        ("/", None),
    ],
)
def test_values_of_records(text: str, found: Link | None) -> None:
    assert read_path(text) == found
    assert read_records([f"dnslink={text}"]) == found


def test_for_sites_alone_the_other_records_count_for_nothing() -> None:
    texts = ["dnslink=/ipfs/bafkqaaa", "dnslink=/ipns/b.example"]
    assert read_records(texts) == Link(cid=TREE)
    assert read_records(texts, sites_only=True) == Link(domain="b.example")


@pytest.mark.parametrize(
    "name", ["localhost", "1.2.3.4", "a..b", "-a.b", "a-.b", "A.b", "a.b.", "ü.b", "a" * 64 + ".b", ""]
)
def test_what_is_no_domain(name: str) -> None:
    assert not is_domain(name)


@given(st.from_regex(r"\A[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,8}[a-z])?){1,3}\Z"))
def test_inlined_names_come_back(name: str) -> None:
    label = inline(name)
    if is_domain(name) and label is not None:
        assert "." not in label
        assert uninline(label) == name


@given(st.text(st.sampled_from("ab-.1ü"), max_size=12))
def test_any_label(label: str) -> None:
    name = uninline(label)
    assert name is None or (is_domain(name) and inline(name) == label)


@given(st.lists(st.text(max_size=60).map("dnslink=".__add__), max_size=4))
def test_any_records(texts: list[str]) -> None:
    found = read_records(texts)
    assert found is None or [found.site, found.domain, found.name, found.cid].count(None) == 3


@given(st.text(max_size=60) | st.from_regex(r"/ip[fn]s/[a-z0-9.]{1,20}(/[a-z.]{0,3}){0,4}", fullmatch=True))
def test_any_value(text: str) -> None:
    found = read_path(text)
    assert found is None or not {"", ".", ".."} & set(found.path)
