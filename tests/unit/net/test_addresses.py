from __future__ import annotations

import os

import pytest

from node.net.address_book import AddressBook
from node.net.addresses import Address
from node.net.peer_ids import parse_peer_id, peer_id_bytes, peer_id_of_seed, peer_id_text
from node.net.port import BadAddress, NetLimits

PEER = peer_id_of_seed(bytes(32))
OTHER = peer_id_of_seed(bytes(31) + b"\x01")
RSA_PEER = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"


def test_peer_id_of_a_known_key() -> None:
    # The public key of the all-zero seed (RFC 8032 arithmetic), as go-libp2p writes it.
    assert PEER == "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"


@pytest.mark.parametrize(
    ("text", "peer"),
    [
        ("/ip4/127.0.0.1/tcp/4101", None),
        (f"/ip4/203.0.113.7/tcp/4101/p2p/{PEER}", PEER),
        (f"/ip6/::1/tcp/1/p2p/{RSA_PEER}", RSA_PEER),
        ("/dns4/example.org/tcp/443", None),
        ("/dns/a-b.example/tcp/0", None),
    ],
)
def test_canonical_addresses_come_back_as_they_were(text: str, peer: str | None) -> None:
    address = Address.parse(text)
    assert str(address) == text
    assert address.peer == peer


def test_other_spellings_become_canonical() -> None:
    assert str(Address.parse("/ip6/0:0:0::0001/tcp/1")) == "/ip6/::1/tcp/1"
    assert str(Address.parse("/dns/EXAMPLE.org/tcp/1")) == "/dns/example.org/tcp/1"
    assert str(Address.parse(f"/ip4/1.2.3.4/tcp/1/ipfs/{PEER}")) == f"/ip4/1.2.3.4/tcp/1/p2p/{PEER}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "localhost:4101",
        "/ip4/127.0.0.1",
        "/ip4/127.0.0.1/udp/4101/quic-v1",
        "/ip4/127.0.0.1/tcp/4101/ws",
        "/ip4/127.0.0.1/tcp/65536",
        "/ip4/127.0.0.1/tcp/-1",
        "/ip4/127.0.0.1/tcp/01",
        "/ip4/127.0.0.1/tcp/١",
        "/ip4/127.1/tcp/1",
        "/ip4/::1/tcp/1",
        "/ip6/127.0.0.1/tcp/1",
        "/dns/-x/tcp/1",
        "/dns/a..b/tcp/1",
        "/dns/a b/tcp/1",
        f"/dns/{'a' * 64}/tcp/1",
        "/ip4/127.0.0.1/tcp/1/p2p/",
        "/ip4/127.0.0.1/tcp/1/p2p/QmNope",
        f"/ip4/127.0.0.1/tcp/1/p2p/{PEER}0",
        f"/ip4/127.0.0.1/tcp/1/p2p-circuit/{PEER}",
        f"/ip4/127.0.0.1/tcp/1/p2p/{PEER}/p2p-circuit/x",
        "x" * 600,
    ],
)
def test_bad_addresses(text: str) -> None:
    with pytest.raises(BadAddress):
        Address.parse(text)


def test_socket_names() -> None:
    assert str(Address.of_socket(("127.0.0.1", 5))) == "/ip4/127.0.0.1/tcp/5"
    assert str(Address.of_socket(("::ffff:192.0.2.1", 5))) == "/ip4/192.0.2.1/tcp/5"
    assert str(Address.of_socket(("fe80::1%eth0", 5))) == "/ip6/fe80::1/tcp/5"


@pytest.mark.parametrize("peer", [PEER, OTHER, RSA_PEER])
def test_peer_ids_as_bytes(peer: str) -> None:
    assert peer_id_text(peer_id_bytes(peer)) == parse_peer_id(peer) == peer


@pytest.mark.parametrize(
    "raw", [b"", b"\x00", b"\x00\x00", b"\x12\x20" + bytes(31), b"\x00\x25" + bytes(36), bytes(70)]
)
def test_bytes_that_are_no_peer_id(raw: bytes) -> None:
    with pytest.raises(BadAddress):
        peer_id_text(raw)


def book(limits: NetLimits | None = None) -> AddressBook:
    return AddressBook(PEER, limits or NetLimits())


def addresses(*ports: int) -> list[Address]:
    return [Address("ip4", "127.0.0.1", port) for port in ports]


def ports(found: list[Address]) -> list[int]:
    return [address.port for address in found]


def test_book_has_the_newest_first_and_what_peers_claim_last() -> None:
    mine = book()
    mine.add(OTHER, addresses(1, 2))
    mine.add(OTHER, addresses(3, 1))
    mine.add_claimed(OTHER, addresses(9, 2))
    assert ports(mine.of(OTHER)) == [3, 1, 2, 9]
    assert {address.peer for address in mine.of(OTHER)} == {OTHER}


def test_book_takes_no_address_of_oneself_of_another_or_without_a_port() -> None:
    mine = book()
    mine.add(PEER, addresses(1))
    mine.add(OTHER, [address.at(PEER) for address in addresses(1)])
    mine.add(OTHER, addresses(0))
    assert mine.of(PEER) == mine.of(OTHER) == []


def test_book_keeps_first_where_a_peer_was_reached_whatever_it_is_told() -> None:
    mine = book(NetLimits(addresses_per_peer=6))
    mine.add(OTHER, addresses(1, 2))
    mine.add_reached(OTHER, addresses(2))
    mine.add_reached(OTHER, addresses(3))
    for port in range(100, 120):
        mine.add(OTHER, addresses(port))
    assert ports(mine.of(OTHER)) == [3, 2, 119, 118, 117, 116]


def test_book_keeps_the_last_few_where_a_peer_was_reached() -> None:
    mine = book()
    for port in range(1, 20):
        mine.add_reached(OTHER, addresses(port))
    mine.add(OTHER, addresses(99))
    assert ports(mine.of(OTHER)) == [19, 18, 17, 16, 99]


def test_book_forgets_nobody_that_was_reached_for_those_it_is_only_told_of() -> None:
    mine = book(NetLimits(peers_remembered=3))
    mine.add_reached(OTHER, addresses(1))
    for _ in range(9):
        mine.add(peer_id_of_seed(os.urandom(32)), addresses(2))
    assert ports(mine.of(OTHER)) == [1]


def test_book_is_bounded_in_both_ways() -> None:
    mine = book(NetLimits(peers_remembered=3, addresses_per_peer=2))
    peers = [peer_id_of_seed(os.urandom(32)) for _ in range(4)]
    for peer in peers[:3]:
        mine.add(peer, addresses(1, 2, 3))
    mine.of(peers[0])
    mine.add(peers[3], addresses(1))
    assert [len(mine.of(peer)) for peer in peers] == [2, 0, 2, 1]


def test_book_of_those_that_were_reached_is_bounded_in_both_ways() -> None:
    mine = book(NetLimits(peers_remembered=3, addresses_per_peer=2))
    peers = [peer_id_of_seed(os.urandom(32)) for _ in range(4)]
    for peer in peers:
        mine.add_reached(peer, addresses(1, 2, 3))
    assert [len(mine.of(peer)) for peer in peers] == [0, 2, 2, 2]
