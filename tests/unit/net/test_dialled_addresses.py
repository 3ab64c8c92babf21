"""Which addresses of a peer are dialled, and in what order: real sockets, the real network."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
import trio

from node.net.address_book import AddressBook
from node.net.addresses import Address
from node.net.opening import open_network
from node.net.port import NetLimits, NetSettings, Network, PeerUnreachable
from tests.conformance.net_kit import DEADLINE_S

V4, V6 = "/ip4/127.0.0.1/tcp/0", "/ip6/::1/tcp/0"


def node(*listen: str) -> NetSettings:
    return NetSettings(listen, os.urandom(32), dht=False)


def address_of(network: Network, kind: str) -> str:
    return next(text for text in network.addresses() if text.startswith(f"/{kind}/"))


async def test_ipv6_alone_is_dialled_and_listened_on() -> None:
    async with open_network(node(V6)) as one, open_network(node(V6)) as other:
        with trio.fail_after(2 * DEADLINE_S):
            assert await one.connect(address_of(other, "ip6"), deadline_s=DEADLINE_S) == other.local_peer
            assert address_of(other, "ip6") in one.known_addresses(other.local_peer)


@pytest.mark.parametrize("first", ["ip4", "ip6"])
async def test_address_that_leads_nowhere_does_not_delay_the_other_family(first: str) -> None:
    """A backlog that is full answers nothing, like a host that is gone."""
    async with open_network(node(V4, V6)) as one, open_network(node(V4, V6)) as other:
        with full_listener("127.0.0.1" if first == "ip4" else "::1") as port:
            stale = f"/{first}/{'127.0.0.1' if first == 'ip4' else '::1'}/tcp/{port}"
            good = address_of(other, "ip6" if first == "ip4" else "ip4")
            one.remember(other.local_peer, [stale, good])
            assert one.known_addresses(other.local_peer)[0].startswith(stale)  # it is tried first
            other.serve("/x/1", lambda stream: stream.aclose())
            with trio.fail_after(DEADLINE_S):
                await (await one.open(other.local_peer, "/x/1", deadline_s=DEADLINE_S)).aclose()


async def test_a_peer_is_reached_though_most_of_its_addresses_lead_nowhere() -> None:
    async with open_network(node(V4)) as one, open_network(node(V4)) as other:
        with full_listener("127.0.0.1") as port:
            one.remember(other.local_peer, other.addresses())
            one.remember(other.local_peer, [f"/ip4/127.0.0.{last}/tcp/{port}" for last in range(1, 9)])
            with trio.fail_after(4.5):
                await one.reach(other.local_peer, deadline_s=4.5)
        assert [info.peer for info in one.peers()] == [other.local_peer]


async def test_own_address_under_another_id_is_refused_and_under_the_own_id_not_dialled() -> None:
    async with open_network(node(V4)) as one, open_network(node(V4)) as other:
        endpoint = one.addresses()[0].partition("/p2p/")[0]
        with trio.fail_after(2 * DEADLINE_S):
            with pytest.raises(PeerUnreachable):
                await one.connect(f"{endpoint}/p2p/{other.local_peer}", deadline_s=DEADLINE_S)
            assert one.peers() == []
            assert one.health().twin_at is None
            one.remember(one.local_peer, [endpoint])
            assert one.known_addresses(one.local_peer) == []


def test_told_addresses_go_before_claimed_ones_and_the_newest_first() -> None:
    book = AddressBook("us", NetLimits(addresses_per_peer=3))
    first, second, third, fourth = (Address("ip4", "192.0.2.1", port) for port in range(1, 5))
    book.add_claimed("peer", [first])
    book.add("peer", [second])
    book.add("peer", [third])
    book.add_claimed("peer", [fourth])
    assert [address.port for address in book.of("peer")] == [3, 2, 1]


@contextmanager
def full_listener(host: str) -> Iterator[int]:
    """A port of which connects get no answer."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((host, 0), family=family, backlog=0))
        port: int = listener.getsockname()[1]
        for _ in range(3):
            client = stack.enter_context(socket.socket(family))
            client.setblocking(False)
            client.connect_ex((host, port))
        yield port
