"""Sizes and addresses, as people write them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.addresses import check_dial_address, check_listen_address, parse_host_port, parse_hostname
from config.sizes import SIZE_MAX_BYTES, format_size, human_size, parse_size

PEER = "12D3KooWDVgXx4zcLZT6vhXA8m3LVYSum33U5XKfRo65pWHgqJTN"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (0, 0),
        ("4096", 4096),
        ("10 GiB", 10 * 2**30),
        ("10gib", 10 * 2**30),
        ("500MB", 500_000_000),
        ("1.5 KiB", 1536),
        ("0.1 GB", 100_000_000),
        (" 7 B ", 7),
    ],
)
def test_sizes(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "GiB", "1,5 GiB", "-1", "1.5", "1.5 B", "10 Gi", "1e3", "٣ GiB", True, None, 2.0, -1]
)
def test_bad_sizes(text: object) -> None:
    with pytest.raises(ValueError):
        parse_size(text)


def test_sizes_are_bounded() -> None:
    assert parse_size(SIZE_MAX_BYTES) == SIZE_MAX_BYTES
    for text in (SIZE_MAX_BYTES + 1, "9999999999999999999 TiB"):
        with pytest.raises(ValueError, match="from 0 to"):
            parse_size(text)


@given(st.integers(0, SIZE_MAX_BYTES))
def test_formatted_sizes_are_exact(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(st.text(max_size=30))
def test_any_text_is_a_size_or_an_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert 0 <= parse_size(text) <= SIZE_MAX_BYTES


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (2**20 - 1, "1.0 MiB"),
        (73_400_320, "70.0 MiB"),
        (2**52, "4096.0 TiB"),
    ],
)
def test_human_sizes(size: int, text: str) -> None:
    assert human_size(size) == text


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("127.0.0.1:8080", "127.0.0.1:8080"),
        ("[::1]:8080", "[::1]:8080"),
        ("[0:0::1]:0", "[::1]:0"),
        ("localhost:80", "127.0.0.1:80"),
    ],
)
def test_host_ports(text: str, parsed: str) -> None:
    assert str(parse_host_port(text)) == parsed


@pytest.mark.parametrize(
    "text",
    ["", ":", "8080", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "::1:80", "host:80", "127.1:80", "1.2.3.4:８０"],
)
def test_bad_host_ports(text: str) -> None:
    with pytest.raises(ValueError):
        parse_host_port(text)


@given(st.text(max_size=40))
def test_any_text_is_a_host_port_or_an_error(text: str) -> None:
    try:
        parsed = parse_host_port(text)
    except ValueError:
        return
    assert parse_host_port(str(parsed)) == parsed


@pytest.mark.parametrize("text", ["/ip4/127.0.0.1/tcp/0", "/ip6/::1/tcp/4101"])
def test_listen_addresses(text: str) -> None:
    assert check_listen_address(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "ip4/127.0.0.1/tcp/1",
        "/ip4/127.0.0.1",
        "/ip4/127.0.0.1/tcp/",
        "/ip4/127.0.0.1/tcp/70000",
        "/ip4/::1/tcp/1",
        "/ip6/127.0.0.1/tcp/1",
        "/dns4/example.org/tcp/1",
        f"/ip4/127.0.0.1/tcp/1/p2p/{PEER}",
        "/ip4/127.0.0.1/tcp/1/ws",
    ],
)
def test_bad_listen_addresses(text: str) -> None:
    with pytest.raises(ValueError):
        check_listen_address(text)


@pytest.mark.parametrize("start", ["/ip4/192.0.2.1", "/ip6/2001:db8::1", "/dns4/host.example.org", "/dns/localhost"])
def test_dial_addresses(start: str) -> None:
    address = f"{start}/tcp/4101/p2p/{PEER}"
    assert check_dial_address(address) == address


@pytest.mark.parametrize(
    "text",
    [
        "/ip4/192.0.2.1/tcp/4101",
        "/ip4/192.0.2.1/tcp/4101/p2p/",
        "/ip4/192.0.2.1/tcp/4101/p2p/short",
        f"/ip4/192.0.2.1/tcp/0/p2p/{PEER}",
        f"/ip4/192.0.2.1/tcp/4101/p2p/{PEER}/p2p-circuit",
        f"/dns4/bad host/tcp/4101/p2p/{PEER}",
        f"/unix/x/tcp/4101/p2p/{PEER}",
    ],
)
def test_bad_dial_addresses(text: str) -> None:
    with pytest.raises(ValueError):
        check_dial_address(text)


@given(st.text(alphabet="/ip46dnstcp2:.0123456789abK", max_size=80))
def test_any_text_is_an_address_or_an_error(text: str) -> None:
    for check in (check_listen_address, check_dial_address):
        with contextlib.suppress(ValueError):
            assert check(text) == text


@pytest.mark.parametrize("text", ["a..b", "", ".", "-a.org", "a" * 64, "ü.org", "a b", ".".join(["abc"] * 70)])
def test_bad_hostnames(text: str) -> None:
    with pytest.raises(ValueError):
        parse_hostname(text)
