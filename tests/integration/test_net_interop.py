"""fednode's network against libp2p as it comes: its Yamux, multistream, identify, ping and Kademlia, both ways."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from libp2p import create_yamux_muxer_option, new_host
from libp2p.abc import IHost, INetStream
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.host.ping import PingService
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.network.stream.exceptions import StreamEOF
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.stream_muxer.yamux.yamux import Yamux
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

from node.net import NetSettings, Network, Stream, open_network

pytestmark = pytest.mark.integration

ECHO = TProtocol("/echo/1")
LISTEN = "/ip4/127.0.0.1/tcp/0"
BIG = os.urandom(1_500_000)


async def their_echo(stream: INetStream) -> None:
    try:
        while data := await stream.read(65536):
            await stream.write(data)
    except StreamEOF:
        pass
    await stream.close()


async def our_echo(stream: Stream) -> None:
    while data := await stream.receive_some():
        await stream.send_all(data)


@asynccontextmanager
async def both() -> AsyncIterator[tuple[Network, IHost]]:
    host = new_host(create_new_key_pair(), muxer_opt=create_yamux_muxer_option())
    host.set_stream_handler(ECHO, their_echo)
    with trio.fail_after(30):
        async with open_network(NetSettings((LISTEN,), os.urandom(32))) as network:
            network.serve(ECHO, our_echo)
            async with host.run([Multiaddr(LISTEN)]):
                yield network, host


def address_of(host: IHost) -> str:
    return str(host.get_addrs()[0])


async def they_connect(network: Network, host: IHost) -> ID:
    info = info_from_p2p_addr(Multiaddr(network.addresses()[0]))
    await host.connect(info)
    connections: Any = host.get_network()
    assert all(type(conn.muxed_conn) is Yamux for conn in connections.get_connections())
    return info.peer_id


async def test_we_dial_and_echo_a_megabyte() -> None:
    async with both() as (network, host):
        peer = await network.connect(address_of(host), deadline_s=5)
        stream = await network.open(peer, ECHO, deadline_s=5)
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                await stream.send_all(BIG)
                await stream.send_eof()

            nursery.start_soon(send)
            received = b""
            while data := await stream.receive_some():
                received += data
        assert received == BIG


async def test_they_dial_and_echo_a_megabyte() -> None:
    async with both() as (network, host):
        peer = await they_connect(network, host)
        stream = await host.new_stream(peer, [ECHO])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.write, BIG)
            received = b""
            while len(received) < len(BIG):
                received += await stream.read(65536)
        await stream.close()
        assert received == BIG


async def test_many_streams_both_ways_at_once() -> None:
    async with both() as (network, host):
        peer = await network.connect(address_of(host), deadline_s=5)
        ours = ID.from_base58(network.local_peer)

        async def ask(number: int) -> None:
            stream = await network.open(peer, ECHO, deadline_s=5)
            await stream.send_all(bytes([number]) * 10_000)
            await stream.send_eof()
            received = b""
            while data := await stream.receive_some():
                received += data
            assert received == bytes([number]) * 10_000

        async def be_asked(number: int) -> None:
            stream = await host.new_stream(ours, [ECHO])
            await stream.write(bytes([number]) * 10_000)
            received = b""
            while len(received) < 10_000:
                received += await stream.read(10_000)
            assert received == bytes([number]) * 10_000
            await stream.close()

        async with trio.open_nursery() as nursery:
            for number in range(30):
                nursery.start_soon(ask, number)
                nursery.start_soon(be_asked, number)


async def test_resets_cross_over() -> None:
    async with both() as (network, host):
        reset_seen = trio.Event()

        async def wait_for_reset(stream: Stream) -> None:
            await stream.send_all(b"here")
            with pytest.raises(trio.BrokenResourceError):
                while await stream.receive_some():
                    pass
            reset_seen.set()

        async def reset_at_once(stream: INetStream) -> None:
            await stream.read(2)
            await stream.reset()

        network.serve("/wait/1", wait_for_reset)
        host.set_stream_handler(TProtocol("/reset/1"), reset_at_once)
        peer = await they_connect(network, host)
        theirs = await host.new_stream(peer, [TProtocol("/wait/1")])
        assert await theirs.read(4) == b"here"
        await theirs.reset()
        await reset_seen.wait()
        ours = await network.open(host.get_id().to_base58(), "/reset/1", deadline_s=5)
        await ours.send_all(b"go")
        with pytest.raises(trio.BrokenResourceError):
            await ours.receive_some()


async def test_ping_and_identify() -> None:
    async with both() as (network, host):
        peer = await they_connect(network, host)
        assert len(await PingService(host).ping(peer, 3)) == 3
        while not (network.known_addresses(host.get_id().to_base58())):
            await trio.sleep(0.01)
        assert network.known_addresses(host.get_id().to_base58()) == [address_of(host)]
        while not (host.get_peerstore().supports_protocols(peer, [ECHO])):
            await trio.sleep(0.01)
        assert host.get_peerstore().supports_protocols(peer, ["/ipfs/kad/1.0.0"])


async def test_providers_are_found_both_ways() -> None:
    ours, theirs = os.urandom(34), os.urandom(34)
    async with both() as (network, host):
        dht = KadDHT(host, DHTMode.SERVER)
        async with background_trio_service(dht):
            peer = await they_connect(network, host)
            await dht.add_peer(peer, skip_server_mode_check=True)
            assert await network.provide(ours, deadline_s=5) == 1
            found = await dht.find_providers(ours.hex())
            assert [(each.peer_id, list(map(str, each.addrs))) for each in found] == [(peer, network.addresses())]
            assert await dht.provide(theirs.hex())
            assert await network.find_providers(theirs, limit=3, deadline_s=5) == [
                (host.get_id().to_base58(), [address_of(host)])
            ]
