"""Sites under domains of their own: DNS names them, they consent, both are believed for as long as they say."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trio

from node.gateway.certificate_budget import NEW_PER_HOUR
from node.gateway.dns import DnsClient, NoAnswer, Texts
from node.gateway.dns_cache import ABSENT_S, FAILED_S, STALE_S, TTL_MAX_S
from node.gateway.domains import STRANGE_BURST_S, Domains, NameFailed, Target
from node.gateway.view import StoreView
from node.store.disk import open_store
from node.store.reader import open_reader
from protocol.limits import DOMAINS_MAX
from protocol.site_id import SiteId
from tests.unit.gateway.dns_server import DnsServer, dns_server
from tests.unit.gateway.nodes import QUOTA_BYTES, Node, new_key, running_node
from tests.unit.gateway.sites import Tree, build, publish, sign

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


async def test_names_that_no_site_lists_are_not_looked_up_where_nothing_is_fetched(
    tmp_path: Path, server: DnsServer
) -> None:
    async with running_node(tmp_path, dns_servers=(server.address,), fetch_on_miss=False) as node:
        site, _ = node.publish(new_key(), {"index.html": b"x"})
        link(server, DOMAIN, site)
        assert b"fednode node" in (await node.ask("GET", DOMAIN, "/")).body
        assert not server.asked


def elsewhere(node: Node, tree: Tree, *domains: str) -> SiteId:
    """A site that another node has."""
    key, built = new_key(), build(tree)
    signed = sign(key, built, domains=domains)
    node.backend.heads[signed.site] = signed
    node.backend.blocks.update(built.blocks)
    return signed.site


async def test_a_site_that_is_elsewhere_under_its_domain(node: Node, server: DnsServer) -> None:
    site = elsewhere(node, {"index.html": b"from afar", "_redirects": b"/old /new"}, DOMAIN)
    link(server, DOMAIN, "step.example.org")
    link(server, "step.example.org", site)
    answer = await node.ask("GET", DOMAIN, "/")
    assert (answer.status, answer.body, answer.headers["x-ipfs-path"]) == (200, b"from afar", f"/ipns/{DOMAIN}/")
    assert (await node.ask("GET", DOMAIN, "/old")).headers["location"] == "/new"
    assert (await node.ask("GET", "blog-example-org.ipns.localhost", "/")).body == b"from afar"
    assert (await node.ask("GET", "127.0.0.1", f"/ipns/{DOMAIN}/")).body == b"from afar"
    assert (server.asked[f"_dnslink.{DOMAIN}"], node.backend.resolved) == (1, [site])
    refusal = await node.ask("GET", "step.example.org", "/")
    assert (refusal.status, "does not list this name" in refusal.text) == (404, True)
    row = node.block(site)
    assert (await node.ask("GET", DOMAIN, "/")).status == 410
    node.store.remove_rule(row)
    assert (await node.ask("GET", DOMAIN, "/")).status == 200


async def test_a_domain_of_a_site_that_nobody_has(node: Node, server: DnsServer) -> None:
    link(server, DOMAIN, SiteId.of(new_key()))
    answer = await node.ask("GET", DOMAIN, "/")
    assert (answer.status, "no host of this site answered" in answer.text) == (404, True)


async def test_what_is_no_site_does_not_make_a_name_somebodys(
    node: Node, server: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.gateway.dns.ANSWER_S", 0.3)
    server.txt[f"_dnslink.{DOMAIN}"] = ["dnslink=/ipfs/bafkqaaa"]
    server.silent.add("_dnslink.silent.example.org")
    for name in (DOMAIN, "silent.example.org", "absent.example.org"):
        assert b"fednode node" in (await node.ask("GET", name, "/")).body


async def test_strangers_cannot_make_the_node_ask_dns_without_end(
    tmp_path: Path, server: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.gateway.domains.STRANGE_PER_S", 1)
    async with running_node(tmp_path, dns_servers=(server.address,)) as node:
        known = node.publish(new_key(), {"index.html": b"known"}, domains=(DOMAIN,))[0]
        link(server, DOMAIN, known)
        for number in range(60):
            assert (await node.ask("GET", f"n{number}.example.org", "/")).status == 200
        assert STRANGE_BURST_S <= server.asked.total() < 60
        assert (await node.ask("GET", DOMAIN, "/")).body == b"known"


async def test_sites_that_are_elsewhere_get_few_certificates(node: Node, server: DnsServer) -> None:
    names = [f"n{number}.example.org" for number in range(NEW_PER_HOUR + 1)]
    starts = range(0, len(names), DOMAINS_MAX)
    sites = [elsewhere(node, {"index.html": b"%d" % n}, *names[n : n + DOMAINS_MAX]) for n in starts]
    for number, name in enumerate(names):
        link(server, name, sites[number // DOMAINS_MAX])
    hosted = node.publish(new_key(), {"index.html": b"x"}, domains=(DOMAIN,))[0]
    link(server, DOMAIN, hosted)
    link(server, "unlisted.example.org", sites[0])

    async def asked(name: str) -> int:
        return (await node.ask("GET", "127.0.0.1", f"/.well-known/fednode/tls?domain={name}")).status

    assert await asked("unlisted.example.org") == 404
    assert [await asked(name) for name in names] == [200] * NEW_PER_HOUR + [404]
    assert (await asked(names[0]), await asked(DOMAIN)) == (200, 200)
    node.block(sites[0])
    assert (await asked(names[0]), await asked(names[DOMAINS_MAX])) == (404, 200)


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
        await trio.sleep(TTL_MAX_S + 1)
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
