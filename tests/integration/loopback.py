"""Hosts with faults of their own (tests/unit/replication/hosts.py) on a real network, for daemons to fetch from."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from node.net.channel import FrameChannel
from node.net.opening import open_network
from node.net.port import NetSettings, Network, PeerConnected
from protocol import messages as msg
from protocol.errors import PeerError
from protocol.messages import SYNC_PROTOCOL
from tests.unit.replication.hosts import Host

DEADLINE_S = 30.0


async def offering(network: Network, host: Host) -> None:
    """Tells every peer that connects of the site, as a host does that has just got it."""
    async for event in network.events():
        if not isinstance(event, PeerConnected):
            continue
        try:
            stream = await network.open(event.peer, SYNC_PROTOCOL, deadline_s=DEADLINE_S)
            async with FrameChannel(stream, idle_s=DEADLINE_S, write_s=DEADLINE_S) as channel:
                await channel.send(msg.Offer(host.site.signed))
                await channel.receive()
        except PeerError:
            continue  # it was killed meanwhile


@asynccontextmanager
async def on_loopback(host: Host) -> AsyncIterator[Network]:
    """The host on a real network."""
    settings = NetSettings(listen=("/ip4/127.0.0.1/tcp/0",), private_key=secrets.token_bytes(32))
    async with open_network(settings) as network, trio.open_nursery() as nursery:
        network.serve(SYNC_PROTOCOL, host.serve)
        nursery.start_soon(offering, network, host)
        yield network
        nursery.cancel_scope.cancel()
