"""Nothing stays behind when peers come and go, and the DHT does not keep everybody it meets."""

from __future__ import annotations

import gc
import os
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
import trio

from node.net.libp2p_connection import Connection
from node.net.libp2p_stream import LibP2PStream
from node.net.opening import open_network
from node.net.port import NetLimits, NetSettings, Network, Stream
from tests.conformance.net_kit import DEADLINE_S
from tests.integration.net_kit import eventually

pytestmark = pytest.mark.integration

LISTEN = NetSettings(("/ip4/127.0.0.1/tcp/0",), b"", dht=False)


def fresh(settings: NetSettings = LISTEN) -> NetSettings:
    return replace(settings, private_key=os.urandom(32))


async def test_connections_and_streams_leave_nothing_behind() -> None:
    async def hold(stream: Stream) -> None:
        await stream.send_all(b"here")
        await stream.receive_some()

    async with open_network(fresh()) as host:
        host.serve("/hold/1", hold)
        for _ in range(10):
            async with open_network(fresh(replace(LISTEN, listen=()))) as peer:
                await peer.connect(host.addresses()[0], deadline_s=DEADLINE_S)
                stream = await peer.open(host.local_peer, "/hold/1", deadline_s=DEADLINE_S)
                assert await stream.receive_some() == b"here"
        del peer, stream
        with trio.fail_after(DEADLINE_S):
            await eventually(lambda: not host.peers() and not host.health().streams)
            await eventually(lambda: left_behind() <= 2)  # of the last one, until its tasks' frames are gone


def left_behind() -> int:
    gc.collect()
    return sum(isinstance(item, Connection | LibP2PStream) for item in gc.get_objects())


async def test_walk_of_the_dht_keeps_few_of_those_it_met() -> None:
    limits = NetLimits(casual_connections=3)
    async with AsyncExitStack() as stack:

        async def start(settings: NetSettings) -> Network:
            return await stack.enter_async_context(open_network(settings))

        nodes = [await start(fresh(replace(LISTEN, dht=True))) for _ in range(12)]
        hub = nodes[0]
        for node in nodes[1:]:
            await node.connect(hub.addresses()[0], deadline_s=DEADLINE_S)
        key = os.urandom(34)
        assert await nodes[5].provide(key) >= 1
        asker = await start(fresh(replace(LISTEN, listen=(), dht=True, limits=limits)))
        await asker.connect(hub.addresses()[0], deadline_s=DEADLINE_S)
        met = asker.events()
        with trio.fail_after(3 * DEADLINE_S):
            while met.statistics().current_buffer_used <= 3:  # the hub asks the others before it names them
                found = await asker.find_providers(key, limit=20, deadline_s=DEADLINE_S)
                assert [peer for peer, _ in found] == [nodes[5].local_peer]
            await eventually(lambda: len(asker.peers()) <= 1 + limits.casual_connections)
        assert hub.local_peer in {peer.peer for peer in asker.peers()}
