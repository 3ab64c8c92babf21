"""A peer of the tests' own: speaks fednode's protocols over real libp2p to a real daemon."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.net.channel import FrameChannel
from node.net.opening import open_network
from node.net.port import NetSettings, Network
from node.replication.comparing import receive_listing, send_listing
from protocol import messages as msg
from protocol.member_messages import Of, Summary
from protocol.messages import SYNC_PROTOCOL
from protocol.release import SignedRelease
from protocol.site_id import SiteId
from protocol.summary import BUCKETS_MIN, SUM_BYTES
from tests.integration.daemons import Daemon

DEADLINE_S = 15.0


@asynccontextmanager
async def peer_of(daemon: Daemon) -> AsyncIterator[tuple[Network, str]]:
    """A connected network and the daemon's peer id."""
    key = Ed25519PrivateKey.generate().private_bytes_raw()
    async with open_network(NetSettings(listen=("/ip4/127.0.0.1/tcp/0",), private_key=key, dht=False)) as network:
        yield network, await network.connect(daemon.address, deadline_s=DEADLINE_S)


async def say(network: Network, peer: str, protocol: str, *messages: msg.Message | bytes) -> msg.Message | None:
    """Sends messages (or raw bytes that are none) on a new stream; the first answer."""
    stream = await network.open(peer, protocol, deadline_s=DEADLINE_S)
    async with FrameChannel(stream, idle_s=DEADLINE_S, write_s=DEADLINE_S) as channel:
        for message in messages:
            if isinstance(message, bytes):
                await stream.send_all(message)
            else:
                await channel.send(message)
        return await channel.receive()


async def offered_heads(network: Network, peer: str) -> list[SignedRelease]:
    """What the daemon offers to a peer that knows nothing."""
    stream = await network.open(peer, SYNC_PROTOCOL, deadline_s=DEADLINE_S)
    found = []
    async with FrameChannel(stream, idle_s=DEADLINE_S, write_s=DEADLINE_S) as channel:
        await channel.send(Summary(Of.SITES, bytes(SUM_BYTES * BUCKETS_MIN), int(time.time())))
        await channel.receive()
        await receive_listing(channel, Of.SITES)
        await send_listing(channel, Of.SITES, [])
        await channel.send(msg.End())
        while isinstance(answer := await channel.receive(), msg.Offer):
            found.append(answer.release)
        assert isinstance(answer, msg.End)
    return found


async def head_of(network: Network, peer: str, site: str) -> SignedRelease:
    """The head that the daemon offers when asked for it."""
    answer = await say(network, peer, SYNC_PROTOCOL, msg.Ask(SiteId.from_text(site)))
    assert isinstance(answer, msg.Offer), answer
    return answer.release
