"""Filters of delegated routing, by the text and the examples of IPIP-484."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import OverLimit
from protocol.routing_filter import RoutingFilter, protocols_of

TCP = "/ip4/192.0.2.1/tcp/4001"
QUIC = "/ip4/192.0.2.1/udp/4001/quic-v1"
WEBTRANSPORT = f"{QUIC}/webtransport/certhash/uEiA"
CIRCUIT = "/ip4/192.0.2.2/tcp/4001/p2p/QmRelay/p2p-circuit"
HTTP = "/dns/tcp/tcp/443/tls/http"  # a host of the name "tcp"
ALL = [TCP, QUIC, WEBTRANSPORT, CIRCUIT, HTTP]
BITSWAP, GATEWAY = "transport-bitswap", "transport-ipfs-gateway-http"


@pytest.mark.parametrize(
    ("query", "passed"),
    [
        ("", ALL),
        ("filter-addrs=", ALL),
        ("other=1", ALL),
        ("filter-addrs=webtransport", [WEBTRANSPORT]),
        ("filter-addrs=WebTransport,http", [WEBTRANSPORT, HTTP]),
        ("filter-addrs=webtransport%2Chttp", [WEBTRANSPORT, HTTP]),
        ("filter-addrs=!quic-v1,!tcp", None),
        ("filter-addrs=!p2p-circuit", [TCP, QUIC, WEBTRANSPORT, HTTP]),
        ("filter-addrs=tcp,!p2p-circuit", [TCP, HTTP]),
        ("filter-addrs=192.0.2.1", None),
        ("filter-addrs=unknown", None),
        ("filter-addrs=unknown,udp", [QUIC, WEBTRANSPORT]),
        ("filter-addrs=dns&filter-protocols=transport-bitswap", [HTTP]),
        ("filter-protocols=Transport-Bitswap", ALL),
        ("filter-protocols=transport-graphsync-filecoinv1", None),
        ("filter-protocols=unknown,transport-ipfs-gateway-http", ALL),
        ("filter-protocols=!transport-graphsync-filecoinv1", ALL),
        ("filter-protocols=!transport-bitswap", None),
        ("filter-protocols=unknown", None),
    ],
)
def test_what_passes(query: str, passed: list[str] | None) -> None:
    assert RoutingFilter.parse(query).apply(ALL, [BITSWAP, GATEWAY]) == passed


@pytest.mark.parametrize(
    ("query", "passes"),
    [
        ("", True),
        ("filter-addrs=tcp", False),
        ("filter-addrs=unknown,tcp", True),
        ("filter-addrs=!tcp", False),
        ("filter-protocols=transport-bitswap", False),
        ("filter-protocols=unknown,transport-bitswap", True),
    ],
)
def test_a_peer_of_which_nothing_is_known(query: str, passes: bool) -> None:
    assert RoutingFilter.parse(query).apply([], []) == ([] if passes else None)


@pytest.mark.parametrize(
    "query", ["filter-addrs=" + ",".join(["tcp"] * 65), "filter-protocols=" + "x" * 65, "&".join(["a=1"] * 17)]
)
def test_what_is_too_much(query: str) -> None:
    with pytest.raises(OverLimit):
        RoutingFilter.parse(query)


@given(st.text(max_size=200))
def test_any_query_and_address(raw: str) -> None:
    assert protocols_of(raw)
    try:
        wanted = RoutingFilter.parse(raw)
    except OverLimit:
        return
    passed = wanted.apply(ALL, [BITSWAP])
    assert passed is None or set(passed) <= set(ALL)
