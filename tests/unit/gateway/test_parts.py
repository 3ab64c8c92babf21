"""Small parts: block cache, settings on their way to a worker, listening sockets, addresses of sites, pages."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from config import Config, Paths
from config.schema import GatewaySettings, LogSettings, NodeSettings
from node.gateway import listing_page, pages
from node.gateway.blocks import BlockCache
from node.gateway.failures import blocked_by
from node.gateway.limits import FetchLimits, Limits
from node.gateway.listening import CannotListen, bound_address, listening_sockets
from node.gateway.pages import Self
from node.gateway.response import Response, encode_head
from node.gateway.routing import SitePath
from node.gateway.settings import WorkerSettings
from node.gateway.supervisor import site_urls, worker_settings
from protocol.cid import RAW, Cid
from protocol.site_id import SiteId
from tests.unit.gateway.nodes import new_key

SITE = SiteId.of(new_key())
CID = Cid.of(RAW, b"x")


def block(n: int, size: int = 100) -> tuple[Cid, bytes]:
    data = bytes([n]) * size
    return Cid.of(RAW, data), data


def test_the_cache_is_bounded_and_forgets_what_was_used_least() -> None:
    cache = BlockCache(300)
    blocks = [block(n) for n in range(4)]
    for cid, data in blocks[:3]:
        cache.put(cid, data)
        cache.put(cid, data)
    assert cache.get(blocks[0][0]) == blocks[0][1]
    cache.put(*blocks[3])
    assert [cache.get(cid) is not None for cid, _ in blocks] == [True, False, True, True]


def test_large_blocks_do_not_wash_out_the_cache() -> None:
    cache = BlockCache(10 * 1024 * 1024)
    small, large = block(1), block(2, 1024 * 1024)
    cache.put(*small)
    cache.put(*large)
    assert cache.get(large[0]) is None
    assert cache.get(small[0]) == small[1]


def test_settings_arrive_in_the_worker_as_they_were_sent() -> None:
    settings = WorkerSettings(
        store_dir=Path("/a b/\u00e4"),
        backend_socket=Path("/run/x.sock"),
        node_name='n"ame\n',
        domains=("localhost", "b.example"),
        fetch_on_miss=False,
        limits=Limits(head_s=0.5),
        fetch_limits=FetchLimits(block_s=1.5),
    )
    text = settings.to_json()
    assert "\n" not in text
    assert WorkerSettings.from_json(text) == settings


def test_settings_of_a_worker_come_from_the_nodes(tmp_path: Path) -> None:
    config = Config(
        data_dir=tmp_path,
        node=NodeSettings(name="n", contact="c"),
        gateway=GatewaySettings(domains=("d.example",), fetch_on_miss="off", list_sites=True),
        log=LogSettings(format="json", level="debug"),
    )
    settings = worker_settings(config, Paths(tmp_path), Limits())
    assert (settings.node_name, settings.contact, settings.domains) == ("n", "c", ("d.example",))
    assert (settings.fetch_on_miss, settings.list_sites) == (False, True)
    assert (settings.log_format, settings.log_level) == ("json", "debug")
    assert settings.store_dir == Paths(tmp_path).store_dir


def test_port_0_gets_a_real_port() -> None:
    with listening_sockets(["127.0.0.1:0", "[::1]:0"]) as listeners:
        four, six = map(bound_address, listeners)
        assert four.startswith("127.0.0.1:")
        assert six.startswith("[::1]:")
        assert not four.endswith(":0")
        with socket.create_connection(("127.0.0.1", int(four.rpartition(":")[2]))):
            pass


def test_an_address_in_use_is_an_error_with_a_hint() -> None:
    with listening_sockets(["127.0.0.1:0"]) as (listener,):
        with (
            pytest.raises(CannotListen, match=r"cannot listen at 127\.0\.0\.1") as caught,
            listening_sockets([bound_address(listener)]),
        ):
            pass
        assert "gateway.listen" in str(caught.value.hint)


def test_an_address_that_is_not_ours_is_an_error() -> None:
    with pytest.raises(CannotListen) as caught, listening_sockets(["192.0.2.1:0"]):
        pass
    assert "no such address" in str(caught.value.hint)


def test_all_of_ipv4_and_all_of_ipv6_can_share_a_port() -> None:
    with listening_sockets(["0.0.0.0:0"]) as (four,):
        port = four.getsockname()[1]
        with listening_sockets([f"[::]:{port}"]) as (six,):
            assert six.getsockname()[1] == port


@pytest.mark.parametrize(
    ("addresses", "domains", "expected"),
    [
        (["127.0.0.1:8080"], ["localhost"], [f"http://{SITE}.ipns.localhost:8080/"]),
        (["0.0.0.0:80"], ["gw.example"], [f"http://{SITE}.ipns.gw.example/"]),
        (["127.0.0.1:8080"], ["gw.example"], [f"https://{SITE}.ipns.gw.example/"]),
        (["[::1]:1", "127.0.0.1:2"], [], [f"http://[::1]:1/ipns/{SITE}/"]),
        ([], ["localhost"], []),
    ],
)
def test_addresses_of_a_site(addresses: list[str], domains: list[str], expected: list[str]) -> None:
    assert site_urls(SITE, addresses, domains) == expected


@pytest.mark.parametrize(
    ("contact", "expected"),
    [
        ("https://a.example/x", "https://a.example/x"),
        ("a@b.example", "mailto:a@b.example"),
        ("", "/home"),
        ("call me", "/home"),
        ("a@b>\r\nX: y", "/home"),
        ("javascript:alert(1)", "/home"),
    ],
)
def test_who_blocks_is_a_safe_url(contact: str, expected: str) -> None:
    assert blocked_by(Self("n", contact), "/home") == expected


def place(*segments: str) -> SitePath:
    return SitePath(SITE, str(SITE), segments, True, "", "", "http://localhost/")


def test_pages_escape_whatever_they_show() -> None:
    evil = "<script>alert('1')</script>\"&"
    me = Self(evil, evil)
    for page in (
        pages.plain(evil, evil, me),
        pages.not_in_site(evil, SITE, me),
        listing_page.listing(place(evil), [listing_page.Row(evil, CID, 5)], more=True, me=me),
        listing_page.data(place(evil), CID, b'"%s"' % evil.encode(), me),
        pages.front(me, 3, [(evil, evil)]),
        pages.unavailable(evil, evil, SITE, me),
    ):
        assert b"<script" not in page
        assert b"alert" in page
        assert page.count(b"<h1>") == 1


def test_sizes_in_listings() -> None:
    rows = [listing_page.Row(f"{size}", CID, size) for size in (0, 1023, 1024, 5 * 1024**2, 3 * 1024**4)]
    text = listing_page.listing(place(), rows, more=False, me=Self("", "")).decode()
    for size in ("1023 bytes", "1.0 KiB", "5.0 MiB", "3.0 TiB"):
        assert size in text


@pytest.mark.parametrize("value", ["a\r\nb", "a\nb", "a\0"])
def test_headers_cannot_break_out_of_their_line(value: str) -> None:
    with pytest.raises(ValueError, match="line break"):
        encode_head(Response(200, [("X", value)]), keep_alive=True, date="now")
