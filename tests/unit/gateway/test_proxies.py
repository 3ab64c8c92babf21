from __future__ import annotations

from pathlib import Path

import pytest

from node.gateway.http1 import Request
from node.gateway.proxies import TrustedProxies
from tests.unit.gateway.nodes import new_key, running_node

PROXIES = TrustedProxies(("10.0.0.0/8", "::1", "192.0.2.7"))


def request(**headers: str) -> Request:
    return Request("GET", "/", "inner", {name.replace("_", "-"): value for name, value in headers.items()}, True)


@pytest.mark.parametrize(
    ("peer", "trusted"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("::1", True),
        ("192.0.2.7", True),
        ("192.0.2.8", False),
        ("127.0.0.1", False),
        ("fe80::1%eth0", False),
        ("nonsense", False),
    ],
)
def test_who_is_believed(peer: str, trusted: bool) -> None:
    assert PROXIES.trusts(peer) is trusted
    assert not TrustedProxies(()).trusts(peer)
    asked = request(x_forwarded_proto="https", x_forwarded_host="outer", x_forwarded_for="1.2.3.4", accept="a")
    read = PROXIES.read(asked, peer)
    assert read.host == ("outer" if trusted else "inner")
    assert read.headers == ({"accept": "a", "x-forwarded-proto": "https"} if trusted else {"accept": "a"})


def test_the_nearest_proxy_counts() -> None:
    asked = request(x_forwarded_proto="http, HTTPS", x_forwarded_host="evil, outer")
    read = PROXIES.read(asked, "10.0.0.1")
    assert (read.headers, read.host) == ({"x-forwarded-proto": "https"}, "outer")
    assert PROXIES.read(request(x_forwarded_proto="gopher"), "10.0.0.1").headers == {}


@pytest.mark.parametrize(
    ("forwarded", "reader"),
    [
        ("6.6.6.6, 198.51.100.4, 10.9.9.9", "198.51.100.4"),
        ("198.51.100.4", "198.51.100.4"),
        ("6.6.6.6, nonsense", "10.0.0.1"),
        ("10.2.2.2", "10.0.0.1"),
        ("", "10.0.0.1"),
    ],
)
def test_readers_behind_proxies(forwarded: str, reader: str) -> None:
    assert PROXIES.reader(request(x_forwarded_for=forwarded), "10.0.0.1") == reader
    assert PROXIES.reader(request(x_forwarded_for=forwarded), "203.0.113.1") == "203.0.113.1"


@pytest.mark.parametrize(("proxies", "scheme"), [((), "http"), (("127.0.0.1",), "https")])
async def test_only_a_configured_proxy_says_that_it_is_https(
    tmp_path: Path, proxies: tuple[str, ...], scheme: str
) -> None:
    async with running_node(tmp_path, trusted_proxies=proxies) as node:
        site, _ = node.publish(new_key(), {"a": b""})
        answer = await node.ask("GET", "localhost", f"/ipns/{site}/", X_Forwarded_Proto="https")
        assert answer.headers["location"].startswith(f"{scheme}://{site}.ipns.localhost")
