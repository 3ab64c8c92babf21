"""Two nodes with one key, as a copied data directory makes them: both notice it and say so, and others go on."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio

from node.net.addresses import Address
from node.net.opening import open_network
from node.net.own_key import OwnKeyWatch
from node.net.peer_ids import peer_id_of_seed
from node.net.port import NetSettings, Network, Stream
from tests.conformance.net_kit import DEADLINE_S

LISTEN = ("/ip4/127.0.0.1/tcp/0",)


async def echo(stream: Stream) -> None:
    while data := await stream.receive_some():
        await stream.send_all(data)


@asynccontextmanager
async def twins_and_hub() -> AsyncIterator[tuple[Network, Network, Network]]:
    seed = os.urandom(32)
    async with AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(open_network(NetSettings(LISTEN, key)))
            for key in (seed, seed, os.urandom(32))
        ]
        for network in opened:
            network.serve("/echo/1", echo)
        with trio.fail_after(3 * DEADLINE_S):
            yield opened[0], opened[1], opened[2]


async def until(check: Callable[[], bool]) -> None:
    while not check():  # noqa: ASYNC110 - the network has no event for these
        await trio.sleep(0.01)


def endpoint(network: Network) -> str:
    address = Address.parse(network.addresses()[0])
    return f"{address.host}:{address.port}"


async def test_a_copy_is_found_through_a_third_node_and_both_say_so() -> None:
    async with twins_and_hub() as (old, copy, hub):
        await old.connect(hub.addresses()[0], deadline_s=DEADLINE_S)
        await until(lambda: bool(hub.known_addresses(old.local_peer)))
        assert old.health().twin_at is None
        await copy.connect(hub.addresses()[0], deadline_s=DEADLINE_S)
        await until(lambda: copy.health().twin_at is not None and old.health().twin_at is not None)
        # Whoever was dialled knows no more than an IP: the port of a dialler says nothing.
        assert copy.health().twin_at in ("127.0.0.1", endpoint(old))
        assert old.health().twin_at in ("127.0.0.1", endpoint(copy))
        assert [peer.peer for peer in old.peers()] == [peer.peer for peer in copy.peers()] == [hub.local_peer]


async def test_others_see_one_peer_and_are_served_by_one_of_the_two() -> None:
    async with twins_and_hub() as (old, copy, hub):
        for twin in (old, copy):
            await twin.connect(hub.addresses()[0], deadline_s=DEADLINE_S)
        assert [peer.peer for peer in hub.peers()] == [old.local_peer]
        for _ in range(4):
            stream = await hub.open(old.local_peer, "/echo/1", deadline_s=DEADLINE_S)
            await stream.send_all(b"hello")
            assert await stream.receive_some() == b"hello"
            await stream.aclose()
        for twin in (old, copy):
            stream = await twin.open(hub.local_peer, "/echo/1", deadline_s=DEADLINE_S)
            await stream.send_all(b"hello")
            assert await stream.receive_some() == b"hello"
        assert hub.health().twin_at is None


async def test_an_own_address_under_another_name_is_no_twin() -> None:
    """Behind a NAT, say: it leads back to the same process, and nobody is alarmed."""
    seed = os.urandom(32)
    async with (
        open_network(NetSettings(LISTEN, seed)) as network,
        open_network(NetSettings((), os.urandom(32))) as other,
    ):
        with trio.fail_after(3 * DEADLINE_S):
            await other.connect(network.addresses()[0], deadline_s=DEADLINE_S)
            found = Address.parse(network.addresses()[0])
            named = Address("dns4", "localhost", found.port).at(network.local_peer)
            getattr(network, "claim")(network.local_peer, [str(named)])  # noqa: B009 - what a DHT node said
            await until(lambda: network.health().failed_handshakes > 0)
            assert network.health().twin_at is None
            assert network.known_addresses(network.local_peer) == []


async def test_suspects_are_bounded_and_looked_at_once_in_a_while() -> None:
    watch = OwnKeyWatch()
    peer = peer_id_of_seed(bytes(32))
    addresses = [Address("ip4", "192.0.2.1", port).at(peer) for port in range(1, 200)]
    for _ in range(2):
        watch.suspect(addresses, 0.0)
    taken = []
    with trio.move_on_after(0.05):
        while True:
            taken.append(await watch.next_suspect())
    assert taken == addresses[:64]
    watch.suspect(addresses[:1], 599.0)
    watch.suspect(addresses[1:2], 601.0)
    assert await watch.next_suspect() == addresses[1]


@pytest.mark.parametrize(("now_s", "found"), [(10.0, "192.0.2.1"), (3611.0, None)])
async def test_a_twin_is_forgotten_after_an_hour(now_s: float, found: str | None) -> None:
    watch = OwnKeyWatch()
    assert watch.twin_at(0.0) is None
    watch.met("192.0.2.1", 10.0)
    assert watch.twin_at(now_s) == found
