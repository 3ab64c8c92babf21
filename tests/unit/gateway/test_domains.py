"""Sites under domains of their own: DNS names them, they consent, both are believed for as long as they say."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trio

from node.gateway import domains as domains_module
from node.gateway.dns import DnsClient, NoAnswer, Texts
from node.gateway.domains import ABSENT_S, FAILED_S, STALE_S, Domains, NameFailed, Target
from node.gateway.view import StoreView
from node.store.disk import open_store
from node.store.reader import open_reader
from protocol.site_id import SiteId
from tests.unit.gateway.dns_server import DnsServer, dns_server
from tests.unit.gateway.nodes import QUOTA_BYTES, Node, new_key, running_node
from tests.unit.gateway.sites import publish

DOMAIN = "blog.example.org"


@pytest.fixture
def server() -> Iterator[DnsServer]:
    with dns_server() as running:
        yield running


@pytest.fixture
async def node(tmp_path: Path, server: DnsServer) -> AsyncIterator[Node]:
    async with running_node(tmp_path, dns_servers=(server.address,), contact="ops@example.org") as running:
        yield running


def link(server: DnsServer, name: str, target: object) -> None:
    server.txt[f"_dnslink.{name}"] = [f"dnslink=/ipns/{target}"]


async def test_a_site_under_its_domain(node: Node, server: DnsServer) -> None:
    site, _ = node.publish(new_key(), {"index.html": b"home", "_redirects": b"/old /new"}, domains=(DOMAIN,))
    link(server, DOMAIN, site)
    answer = await node.ask("GET", f"{DOMAIN.upper()}:{node.port}", "/")
    assert (answer.status, answer.body) == (200, b"home")
    assert answer.headers["x-ipfs-path"] == f"/ipns/{DOMAIN}/"
    assert (await node.ask("GET", DOMAIN, "/old")).headers["location"] == "/new"
    assert (await node.ask("GET", DOMAIN, f"/ipns/{site}/")).status == 404
    assert server.asked[f"_dnslink.{DOMAIN}"] == 1
    inlined = await node.ask("GET", "blog-example-org.ipns.localhost", "/")
    assert inlined.body == b"home"
    shared = await node.ask("GET", "127.0.0.1", f"/ipns/{DOMAIN}/")
    assert (shared.body, "sandbox" in shared.headers["content-security-policy"]) == (b"home", True)
    node.block(site)
    assert (await node.ask("GET", DOMAIN, "/")).status == 410


async def test_no_consent_no_site(node: Node, server: DnsServer) -> None:
    other, _ = node.publish(new_key(), {"index.html": b"other"})
    node.publish(new_key(), {"index.html": b"claims it"}, domains=(DOMAIN,))
    link(server, DOMAIN, other)
    answer = await node.ask("GET", DOMAIN, "/")
    assert (answer.status, "does not list this name" in answer.text) == (404, True)


async def test_names_that_no_site_lists_are_not_looked_up(node: Node, server: DnsServer) -> None:
    site, _ = node.publish(new_key(), {"index.html": b"x"})
    link(server, DOMAIN, site)
    assert b"fednode node" in (await node.ask("GET", DOMAIN, "/")).body
    assert not server.asked


async def test_dns_that_says_nothing(node: Node, server: DnsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.gateway.dns.ANSWER_S", 0.3)
    node.publish(new_key(), {"index.html": b"x"}, domains=(DOMAIN, "loop.example.org", "quiet.example.org"))
    assert (await node.ask("GET", DOMAIN, "/")).status == 404
    link(server, "loop.example.org", "loop.example.org")
    assert (await node.ask("GET", "loop.example.org", "/")).status == 400
    server.silent.add("_dnslink.quiet.example.org")
    assert (await node.ask("GET", "quiet.example.org", "/")).status == 503


async def test_names_of_names(node: Node, server: DnsServer) -> None:
    site, _ = node.publish(new_key(), {"index.html": b"home"}, domains=(DOMAIN,))
    link(server, DOMAIN, "step1.example.org")
    link(server, "step1.example.org", "step2.example.org")
    link(server, "step2.example.org", site)
    assert (await node.ask("GET", DOMAIN, "/")).body == b"home"
    assert (await node.ask("GET", "step1.example.org", "/")).body != b"home"


@pytest.mark.parametrize(
    ("domain", "status"),
    [
        (DOMAIN, 200),
        ("localhost", 200),
        ("unknown.example.org", 404),
        ("claimed.example.org", 404),
        ("127.0.0.1", 404),
        ("x.localhost", 404),
        ("localhost:80", 404),
        ("", 404),
        ("%00", 404),
    ],
)
async def test_which_names_deserve_a_certificate(node: Node, server: DnsServer, domain: str, status: int) -> None:
    site, built = node.publish(new_key(), {"index.html": b"x"}, domains=(DOMAIN, "claimed.example.org"))
    link(server, DOMAIN, site)
    ask = "/.well-known/fednode/tls?domain="
    assert (await node.ask("GET", "127.0.0.1", ask + domain)).status == status
    assert (await node.ask("GET", "127.0.0.1", f"{ask}{site}.ipns.localhost")).status == 200
    assert (await node.ask("GET", "127.0.0.1", f"{ask}{SiteId.of(new_key())}.ipns.localhost")).status == 404
    assert (await node.ask("GET", "127.0.0.1", f"{ask}{built.root}.ipfs.localhost")).status == 200
    assert (await node.ask("GET", "127.0.0.1", f"{ask}{built.cids['index.html']}.ipfs.localhost")).status == 404
    assert (await node.ask("GET", "127.0.0.1", f"{ask}a.b&domain={DOMAIN}")).status == 404


class Answers:
    """A Dns that a test steers."""

    def __init__(self) -> None:
        self.now: Texts | None = None
        self.asked = 0

    async def texts(self, name: str) -> Texts:
        assert name == f"_dnslink.{DOMAIN}"
        self.asked += 1
        if self.now is None:
            raise NoAnswer(name)
        return self.now


async def test_answers_are_kept_for_as_long_as_they_say(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    store = open_store(tmp_path / "store", quota_bytes=QUOTA_BYTES, cache_bytes=QUOTA_BYTES)
    key, dns = new_key(), Answers()
    publish(store, key, {"a": b""}, domains=(DOMAIN,))
    reader = open_reader(tmp_path / "store")
    view = StoreView(reader)
    await view.refresh()
    names = Domains(view, dns)
    site = SiteId.of(key)
    try:
        assert await names.target_of(DOMAIN) == NameFailed("no-answer")
        assert await names.target_of(DOMAIN) == NameFailed("no-answer")
        assert dns.asked == 1
        await trio.sleep(FAILED_S + 0.1)
        dns.now = Texts((), None)
        assert await names.target_of(DOMAIN) == NameFailed("no-record")
        await trio.sleep(ABSENT_S - 1)
        dns.now = Texts((f"dnslink=/ipns/{site}",), 100)
        assert await names.target_of(DOMAIN) == NameFailed("no-record")
        await trio.sleep(1.1)
        assert await names.target_of(DOMAIN) == Target(site)
        dns.now = None
        await trio.sleep(99)
        assert (await names.target_of(DOMAIN), dns.asked) == (Target(site), 3)
        await trio.sleep(2)
        assert (await names.target_of(DOMAIN), dns.asked) == (Target(site), 4)  # stale, but nobody says otherwise
        await trio.sleep(STALE_S)
        assert await names.target_of(DOMAIN) == NameFailed("no-answer")
        dns.now = Texts((f"dnslink=/ipns/{site}",), 10**9)
        await trio.sleep(FAILED_S + 0.1)
        assert await names.target_of(DOMAIN) == Target(site)
        await trio.sleep(domains_module.TTL_MAX_S + 1)
        dns.now = Texts((), 5)
        assert await names.target_of(DOMAIN) == NameFailed("no-record")
    finally:
        reader.close()
        store.close()


async def test_negative_answers_have_their_ttl(server: DnsServer) -> None:
    client = DnsClient((server.address,))
    server.ttl_s = 77
    assert await client.texts("_dnslink.none.example") == Texts((), 77)
    server.txt["_dnslink.some.example"] = ["a", "b c"]
    found = await client.texts("_dnslink.some.example")
    assert (sorted(found.texts), found.ttl_s) == (["a", "b c"], 77)
    with pytest.raises(NoAnswer):
        await client.texts("a..b")
