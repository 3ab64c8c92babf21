"""A real node process against nonsense on libp2p's own protocols: it goes on.

Each test ends with the `node` fixture asking the node for an echo over a fresh connection and for its health.
"""

from __future__ import annotations

import os
import random

import pytest
import trio
import trio.lowlevel
from libp2p.identity.identify.pb.identify_pb2 import Identify
from libp2p.kad_dht.pb.kademlia_pb2 import Message

from node.net import multistream
from node.net.delimited import delimited
from node.net.libp2p_dht import PROTOCOLS
from node.net.yamux_frames import Flag, FrameType
from tests.integration.hostile_kit import (
    JUNK,
    LIMITS,
    kad,
    key_of_type,
    serves_others,
    stream_reset,
)
from tests.integration.net_kit import NodeProcess, RawYamux, eventually, proved

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    "protocol", ["/ipfs/kad/1.0.0", "/ipfs/id/push/1.0.0", "/ipfs/id/1.0.0", "/ipfs/ping/1.0.0", "/echo/1"]
)
async def test_garbage_on_known_protocols(node: NodeProcess, protocol: str) -> None:
    rng = random.Random(protocol)
    async with proved(node) as peer:
        for number in range(20):
            stream_id = 2 * number + 1
            await peer.open(stream_id, protocol)
            junk = rng.randbytes(rng.choice([1, 10, 1000, 60_000]))
            await peer.send_data(stream_id, bytes([len(junk) & 0x7F]) + junk, Flag.FIN)
        with trio.move_on_after(0.2):
            await peer.until_closed()


@pytest.mark.parametrize(
    "request_",
    [
        kad(Message.FIND_NODE, b""),
        kad(Message.FIND_NODE, JUNK(60_000)),
        kad(Message.GET_PROVIDERS, b""),
        kad(Message.ADD_PROVIDER, JUNK(34)),
        kad(Message.ADD_PROVIDER, JUNK(34), providerPeers=[Message.Peer(id=b"\xff" * 50)]),
        kad(Message.PUT_VALUE, b"/pk/x"),
        delimited(b"\x08\x63\x12\x01x"),
        b"\xff\xff\xff\xff\x7f",
    ],
    ids=lambda _: "case",
)
async def test_dht_requests_that_are_refused(node: NodeProcess, request_: bytes) -> None:
    async with proved(node) as peer:
        await peer.open(1, "/ipfs/kad/1.0.0")
        for offset in range(0, len(request_), 60_000):
            await peer.send_data(1, request_[offset : offset + 60_000])
        await stream_reset(peer, 1)


async def test_dht_provider_with_absurd_addresses(node: NodeProcess) -> None:
    async with proved(node) as peer:
        own = peer.session.get_local_peer().to_bytes()
        entry = Message.Peer(id=own, addrs=[os.urandom(40), b"", b"\x04\x7f\x00\x00\x01\x06\x10\x05"] * 300)
        await peer.open(1, "/ipfs/kad/1.0.0")
        await peer.send_data(1, kad(Message.ADD_PROVIDER, b"some key", providerPeers=[entry]))
        await peer.send_data(1, kad(Message.GET_PROVIDERS, b"some key"))
        said = b""
        while b"some key" not in said[said.find(b"some key") + 1 :]:
            kind, flags, stream_id, body = await peer.frame()
            assert not (stream_id == 1 and flags & Flag.RST)
            said += body if kind == FrameType.DATA and stream_id == 1 else b""
        assert len(said) < 2000


async def test_identify_that_claims_the_world(node: NodeProcess) -> None:
    """The node asks every new peer to identify itself: answer with all that a message can hold."""
    claim = Identify(
        public_key=key_of_type(3, os.urandom(91)),
        listen_addrs=[b"\x04\x7f\x00\x00\x01\x06" + port.to_bytes(2, "big") for port in range(1, 2000)],
        protocols=[f"/nonsense/{number}" for number in range(20_000)],
        signedPeerRecord=os.urandom(1000),
    )
    async with proved(node) as peer:
        local = peer.session.get_local_peer().to_base58()
        await identified(peer, claim)
        with trio.fail_after(20):
            while True:
                entry = next((found for found in node.ask("peers") if found["peer"] == local), None)
                if entry is None or len(entry["addresses"]) <= 16:
                    break
                await trio.sleep(0.02)


async def test_addresses_that_a_visitor_claims_are_not_dialled(node: NodeProcess) -> None:
    """Else anybody could have a node knock where they like, many times for one connection."""
    (victim,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port: int = victim.socket.getsockname()[1]
    claim = Identify(
        listen_addrs=[b"\x04\x7f\x00\x00\x01\x06" + port.to_bytes(2, "big")], protocols=list(PROTOCOLS.values())
    )
    async with victim:
        async with proved(node) as peer:
            await identified(peer, claim)
            await eventually(lambda: any(str(port) in str(found["addresses"]) for found in node.ask("peers")))
        with trio.move_on_after(1.5):
            await victim.accept()
            pytest.fail("the node knocked")


async def identified(peer: RawYamux, claim: Identify) -> None:
    """Answers the node's question who is there."""
    while True:
        kind, _, stream_id, body = await peer.frame()
        if kind == FrameType.DATA and b"/ipfs/id/1.0.0" in body:
            break
    hello = multistream.encode(multistream.HEADER) + multistream.encode("/ipfs/id/1.0.0")
    await peer.send_data(stream_id, hello + delimited(claim.SerializeToString())[:200_000], Flag.FIN)


async def test_exception_in_the_task_tree_restarts_the_host_on_the_same_port() -> None:
    """What should never happen: the supervisor makes good for it, and the registrations are there again."""
    with NodeProcess(limits=LIMITS) as broken, trio.fail_after(60):
        await serves_others(broken)
        broken.ask("break")
        await eventually(lambda: broken.ask("health")["restarts"] == 1)
        await eventually(lambda: broken.ask("health")["state"] == "running")
        await serves_others(broken)
        assert "ZeroDivisionError" in broken.ask("health")["last_error"]
