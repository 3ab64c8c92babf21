"""Hosts and paths → what they are for."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.gateway.http1 import BadRequest
from node.gateway.routing import (
    NamePath,
    NodePath,
    Nothing,
    Redirect,
    SitePath,
    address_of,
    decode_segments,
    parse_host,
    route,
)
from protocol import multibase
from protocol.cid import Cid
from protocol.site_id import SiteId

SITE = SiteId.of(Ed25519PrivateKey.from_private_bytes(bytes(32)))
BASE32 = multibase.encode("base32", SITE.cid)
BASE58 = multibase.encode("base58btc", SITE.cid)
DOMAINS = ("localhost", "gw.example")


def at(host: str | None, target: str) -> object:
    return route(host, target, DOMAINS)


def test_the_origin_of_a_site_is_its_root() -> None:
    found = at(f"{SITE}.ipns.localhost:8080", "/a/b%20c/?x=1&y")
    assert found == SitePath(SITE, str(SITE), ("a", "b c"), True, "?x=1&y", "", "http://localhost:8080/")
    assert found.isolated


@pytest.mark.parametrize(
    "host",
    [
        f"{SITE}.ipns.localhost",
        f"{SITE}.IPNS.LocalHost",
        f"{str(SITE).upper()}.ipns.gw.example:1",
        f"{SITE}.ipns.localhost.",
    ],
)
def test_hosts_know_no_case(host: str) -> None:
    found = at(host, "/")
    assert isinstance(found, SitePath)
    assert found.site == SITE


def test_other_forms_of_the_id_lead_to_the_one_form() -> None:
    assert at(f"{BASE32}.ipns.localhost:81", "/a%20b?c") == Redirect(f"http://{SITE}.ipns.localhost:81/a%20b?c")
    for form in (BASE32, BASE58, str(SITE), str(SITE).upper()):
        assert at("localhost", f"/ipns/{form}/a") == Redirect(f"http://{SITE}.ipns.localhost/a")
    assert at("127.0.0.1", f"/ipns/{BASE32}/a?b") == Redirect(f"/ipns/{SITE}/a?b", 302)


def test_paths_on_a_domain_lead_to_the_sites_origin() -> None:
    assert at("localhost:8080", f"/ipns/{SITE}/a%2Bb//c/?x=%20") == Redirect(
        f"http://{SITE}.ipns.localhost:8080/a%2Bb//c/?x=%20"
    )
    assert at("localhost", f"/ipns/{SITE}") == Redirect(f"http://{SITE}.ipns.localhost/")
    assert at("localhost", f"/ipns/{SITE}?q") == Redirect(f"http://{SITE}.ipns.localhost/?q")
    assert route("gw.example", f"/ipns/{SITE}/x", DOMAINS, "https") == Redirect(f"https://{SITE}.ipns.gw.example/x")


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "[::1]:8080", "[::1]", "192.168.0.7", "box", None, ""])
def test_addresses_serve_sites_as_paths(host: str | None) -> None:
    found = at(host, f"/ipns/{SITE}/a/b?c")
    assert found == SitePath(SITE, str(SITE), ("a", "b"), False, "?c", f"/ipns/{SITE}", "/")
    assert not found.isolated
    assert at(host, f"/ipns/{SITE}?c") == SitePath(SITE, str(SITE), (), False, "?c", f"/ipns/{SITE}", "/")
    assert at(host, "/") == NodePath("/")


def test_other_names_may_be_domains_of_sites() -> None:
    found = at("Box.lan:80", f"/ipns/{SITE}/a?b")
    assert isinstance(found, NamePath)
    assert (found.name, found.path, found.query, found.base) == ("box.lan", f"/ipns/{SITE}/a", "?b", "")
    assert found.otherwise == at("127.0.0.1", f"/ipns/{SITE}/a?b")
    assert found.of_owner(SITE) == SitePath(SITE, "box.lan", ("ipns", str(SITE), "a"), False, "?b", "", found.home)


@pytest.mark.parametrize(("name", "label"), [("my-site.example.org", "my--site-example-org"), ("a.b", "a-b")])
def test_domains_below_the_gateways(name: str, label: str) -> None:
    assert at("localhost:81", f"/ipns/{name.upper()}/x?y") == Redirect(f"http://{label}.ipns.localhost:81/x?y")
    found = at(f"{label}.ipns.localhost", "/x")
    assert isinstance(found, NamePath)
    assert (found.name, found.base, found.home) == (name, "", "http://localhost/")
    found = at("127.0.0.1", f"/ipns/{name}/x")
    assert isinstance(found, NamePath)
    assert (found.name, found.path, found.base) == (name, "/x", f"/ipns/{name}")


RSA = "QmVujd5Vb7moysJj8itnGufN7MEtPRCNHkKpNuA4onsRa3"
RSA_NAME = "k2k4r8m7xvggw5pxxk3abrkwyer625hg01hfyggrai7lk1m63fuihi7w"


def test_names_with_keys_of_other_kinds() -> None:
    assert at("localhost", f"/ipns/{RSA}/a") == Redirect(f"http://{RSA_NAME}.ipns.localhost/a")
    assert at("127.0.0.1", f"/ipns/{RSA}/a?b") == Redirect(f"/ipns/{RSA_NAME}/a?b", 302)
    found = at(f"{RSA_NAME}.ipns.localhost", "/a")
    assert isinstance(found, SitePath)
    assert (found.name, address_of(found.site), found.address) == (RSA_NAME, *[f"/ipns/{RSA_NAME}"] * 2)
    as_node = multibase.encode("base36", Cid(bytes((1, 0x70)) + Cid.from_text(RSA).multihash))
    assert at(f"{as_node}.ipns.localhost", "/a") == Redirect(f"http://{RSA_NAME}.ipns.localhost/a")
    secp256k1 = Cid(bytes((1, 0x72, 0, 37)) + bytes(37))
    assert isinstance(at("127.0.0.1", f"/ipns/{multibase.encode('base36', secp256k1)}/"), SitePath)


def test_a_whole_domain_below_the_gateways() -> None:
    found = at("My-site.example.org.ipns.localhost", "/x")
    assert isinstance(found, NamePath)
    assert (found.name, found.base) == ("my-site.example.org", "")
    assert isinstance(found.otherwise, Nothing)
    assert isinstance(at("a.b.ipfs.localhost", "/"), Nothing)


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/ipfs/?uri=ipfs%3A%2F%2Fbafy%2Fa%20b%3Fc", "/ipfs/bafy/a%20b?c"),
        ("/ipns/?uri=ipns://example.org", "/ipns/example.org"),
        ("/ipfs/?uri=ipns://example.org/%0d%0aX:1", None),
        ("/ipfs/?uri=https://example.org", None),
        ("/ipfs/?uri=ipfs:////evil.example", None),
        ("/ipfs/?" + "a&" * 20 + "uri=ipfs://bafy", None),
        ("/x/?uri=ipfs://bafy", None),
    ],
)
def test_links_that_a_browser_hands_over(target: str, location: str | None) -> None:
    for host in ("localhost", "127.0.0.1"):
        found = at(host, target)
        if location is None:
            assert isinstance(found, NodePath)
        else:
            assert found == Redirect(location)


def test_a_domain_too_long_for_a_label_has_no_place_below_the_gateways() -> None:
    assert isinstance(at("localhost", f"/ipns/{'a.' * 32}b/"), Nothing)


LONG = str(Cid(b"\x01\x55\x13\x40" + bytes(64)))


@pytest.mark.parametrize(
    ("host", "target", "status"),
    [
        ("localhost", "/ipns/nonsense/", 400),
        ("127.0.0.1", "/ipns/k51nonsense/", 400),
        ("nonsense.ipns.localhost", "/", 400),
        ("12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X.ipns.localhost", "/", 400),
        ("x.localhost", "/", 404),
        (f"{SITE}.ipfs.localhost", "/", 400),
        ("localhost", "/ipfs/x", 400),
        ("127.0.0.1", "/ipfs/Qm/x", 400),
        ("localhost", f"/ipfs/{LONG}/", 400),
        (f"{LONG}.ipfs.localhost", "/", 400),
        ("127.0.0.1", f"/ipfs/{SITE}/", 400),
        (f"{SITE}.ipns.other.example", "/", 404),
        (f"{SITE}.ipns.localhost", "/" + "a/" * 300, 404),
    ],
)
def test_what_is_nowhere(host: str, target: str, status: int) -> None:
    found = at(host, target)
    assert isinstance(found, Nothing)
    assert found.status == status


@pytest.mark.parametrize("target", ["/", "/healthz", "/ipns", "/ipns/", "/ipfs/", "/favicon.ico", "/IPNS/x"])
def test_what_is_the_nodes_own(target: str) -> None:
    assert at("localhost:1", target) == NodePath(target)


@pytest.mark.parametrize(
    "host",
    [
        "a b",
        "a/b",
        "a:b",
        "a:1:2",
        "a:65536",
        "a@b",
        "[::1",
        "::1",
        "[zz]",
        "a..b",
        "-a",
        "a-",
        ".",
        "a%00",
        "é",
        "a" * 300,
        "a_\t",
    ],
)
def test_bad_hosts(host: str) -> None:
    with pytest.raises(BadRequest):
        parse_host(host)


@pytest.mark.parametrize(
    "path",
    [
        "/..",
        "/../etc/passwd",
        "/a/../b",
        "/./a",
        "/%2e%2e/a",
        "/%2E./a",
        "/.%2e",
        "/a/%2e",
        "/a%2fb",
        "/..%2f..%2fetc",
        "/%2f",
        "/a%00b",
        "/%00",
        "/%",
        "/%2",
        "/%zz",
        "/%u0041",
        "/%c0%ae%c0%ae/a",
        "/%e0%80%ae",
        "/%ff",
        "/%ed%a0%80",
    ],
)
def test_paths_that_are_none(path: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decode_segments(path)
    assert caught.value.status == 400


def test_paths_are_decoded_once() -> None:
    assert decode_segments("/%252e%252e/a%2520b") == ("%2e%2e", "a%20b")
    assert decode_segments("//a///b/") == ("a", "b")
    assert decode_segments("/%C3%A4/\\..\\x") == ("ä", "\\..\\x")


def test_a_slash_redirect_cannot_name_another_host() -> None:
    found = at(f"{SITE}.ipns.localhost", "//evil.example/%5C/x")
    assert isinstance(found, SitePath)
    assert found.url_path == "/evil.example/%5C/x"
