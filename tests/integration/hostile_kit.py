"""What the tests of hostile peers share: tight limits, ways to see that a node serves others, messages to break."""

from __future__ import annotations

import os
import random
from typing import Any

import trio
from libp2p.crypto.pb import crypto_pb2
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.kad_dht.pb.kademlia_pb2 import Message
from libp2p.peer.id import ID
from libp2p.security.noise.patterns import PatternXX

from node.net import multistream
from node.net.delimited import delimited
from node.net.libp2p_host import Keys
from node.net.libp2p_raw import RawConnection
from node.net.yamux_frames import Flag, FrameType
from tests.integration.net_kit import NodeProcess, RawYamux, proved, tcp

LIMITS: dict[str, float] = {
    "handshake_s": 1.0,
    "negotiate_s": 1.0,
    "write_stall_s": 1.0,
    "idle_ping_s": 1.0,
    "ping_s": 1.0,
    "connections": 96,
    "inbound_connections": 64,
    "handshakes": 48,
    "connections_per_address": 32,
}
JUNK = random.Random(7).randbytes  # the same in every worker of pytest-xdist
INVALID_UTF8 = b"/multistream/\xff\xfe\xfa\n"


async def serves_others(node: NodeProcess) -> None:
    """Somebody else, at another address, is served."""
    keys = Keys(os.urandom(32))
    async with proved(node, keys, source="127.0.0.9") as peer:
        assert await echoed(peer, b"are you there") == b"are you there"


async def is_served(node: NodeProcess) -> bool:
    try:
        await serves_others(node)
    except (OSError, trio.BrokenResourceError, ConnectionClosedError, multistream.NegotiationFailed):
        return False
    return True


async def eventually_served(node: NodeProcess) -> None:
    while not await is_served(node):  # noqa: ASYNC110 - it asks another process, which has no event for us
        await trio.sleep(0.1)


async def echoed(peer: RawYamux, text: bytes) -> bytes:
    await peer.open(1, "/echo/1")
    await peer.send_data(1, text, Flag.FIN)
    said = b""
    while True:
        kind, flags, stream_id, body = await peer.frame()
        if stream_id == 1 and kind == FrameType.DATA:
            said += body
        if stream_id == 1 and flags & (Flag.FIN | Flag.RST):
            return said.rpartition(b"\n")[2]


async def closed(stream: trio.SocketStream) -> None:
    """Wait until the node closes the connection."""
    try:
        while await stream.receive_some():
            pass
    except trio.BrokenResourceError:
        return


async def stream_reset(peer: RawYamux, stream_id: int) -> None:
    while True:
        _, flags, found, _ = await peer.frame()
        if found == stream_id and flags & Flag.RST:
            return


async def stream_says(peer: RawYamux, stream_id: int, text: bytes) -> bool:
    said = b""
    while not said.endswith(text):
        kind, flags, found, body = await peer.frame()
        if found == stream_id:
            if flags & Flag.RST:
                return False
            if kind == FrameType.DATA:
                said += body
    return True


def key_of_type(kind: Any, data: bytes) -> bytes:
    return crypto_pb2.PublicKey(key_type=kind, data=data).SerializeToString()


class OddKey:
    """Stands in for a node key and serialises to whatever a test wants."""

    def __init__(self, serialized: bytes) -> None:
        self._serialized = serialized

    def get_public_key(self) -> OddKey:
        return self

    def sign(self, _: bytes) -> bytes:
        return os.urandom(64)

    def serialize(self) -> bytes:
        return self._serialized


async def shake_hands_with(node: NodeProcess, identity_key: bytes, source: str = "127.0.0.1") -> None:
    """Claim this key in the handshake; the node ends the connection."""
    keys = Keys(os.urandom(32))
    async with await tcp(node, source) as stream:
        raw = RawConnection(stream, is_initiator=True, remote=node.endpoint)
        await multistream.propose(raw.read, raw.write, ["/noise"])
        pattern = PatternXX(keys.peer, OddKey(identity_key), keys.noise)
        await pattern.handshake_outbound(raw, ID.from_base58(node.peer))
        await closed(stream)


def kad(kind: Any, key: bytes, **fields: Any) -> bytes:
    return delimited(Message(type=kind, key=key, **fields).SerializeToString())
