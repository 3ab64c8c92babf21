"""What the attackers of bench/soak.py do, each on a connection of its own: everything that is known to hurt libp2p."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import trio
from libp2p.identity.identify.pb.identify_pb2 import Identify
from libp2p.kad_dht.pb.kademlia_pb2 import Message
from libp2p.pubsub.pb import rpc_pb2

from node.net import multistream
from node.net.addresses import Address
from node.net.delimited import delimited
from node.net.yamux_frames import Flag, FrameType, header
from protocol.messages import PUBLISH_PROTOCOL, SYNC_PROTOCOL
from tests.integration.daemons import Daemon
from tests.integration.hostile_kit import INVALID_UTF8, kad, key_of_type, shake_hands_with
from tests.integration.net_kit import RawYamux, proved, reset_hard, tcp

KAD, IDENTIFY, PING = "/ipfs/kad/1.0.0", "/ipfs/id/1.0.0", "/ipfs/ping/1.0.0"
PROTOCOLS = (SYNC_PROTOCOL, PUBLISH_PROTOCOL, KAD, "/fednode/kad/1.0.0", IDENTIFY, "/ipfs/id/push/1.0.0",
             PING, "/ipfs/bitswap/1.2.0", "/meshsub/1.1.0", "/nonsense/1")  # fmt: skip


class Target:
    """What the tests' kit for hostile peers needs to know of a node."""

    def __init__(self, daemon: Daemon) -> None:
        address = Address.parse(daemon.address)
        self.peer = str(address.peer)
        self.addresses = [daemon.address]
        self.endpoint = (address.host, address.port)


Attack = Callable[[Target, str, random.Random], Awaitable[None]]
"""At a target, from a source address, with what chance decides."""


async def garbage_first(target: Target, source: str, rng: random.Random) -> None:
    """Not the handshake, or the begin of one, then an end, a reset or nothing more."""
    async with await tcp(target, source) as stream:  # type: ignore[arg-type]
        hello = multistream.encode(multistream.HEADER)
        noise = hello + multistream.encode("/noise")
        plaintext = hello + multistream.encode("/plaintext/2.0.0")
        first = [
            b"GET / HTTP/1.1\r\n\r\n",
            bytes([len(INVALID_UTF8)]) + INVALID_UTF8,
            hello + b"\x05\xff\xfe\xfd\xfc\n",
            plaintext + rng.randbytes(200),
            b"\xff" * 9 + b"\x7f",
        ]
        first += [noise + b"\x00\x20" + rng.randbytes(32), noise + b"\xff\xff" + rng.randbytes(9000), b""]
        await stream.send_all(rng.choice(first))
        if rng.random() < 0.1:
            await trio.sleep(rng.uniform(0, 6))  # idle past the deadline of a handshake, or nearly
        if rng.random() < 0.5:
            reset_hard(stream)


async def odd_key(target: Target, source: str, rng: random.Random) -> None:
    keys = [key_of_type(kind, rng.randbytes(rng.choice([0, 32, 33, 91, 294]))) for kind in range(4)]
    await shake_hands_with(target, rng.choice([*keys, rng.randbytes(100)]), source)  # type: ignore[arg-type]


async def junk_inside(target: Target, source: str, rng: random.Random) -> None:
    async with proved(target, source=source) as peer:  # type: ignore[arg-type]
        for number in range(rng.choice([1, 5, 60])):
            stream_id = 2 * number + 1
            await peer.open(stream_id, rng.choice(PROTOCOLS))
            junk = rng.randbytes(rng.choice([1, 10, 1000, 30_000]))
            await peer.send_data(stream_id, bytes([len(junk) & 0x7F]) + junk, rng.choice([0, Flag.FIN, Flag.RST]))
        await _listen(peer, rng.uniform(0, 0.1))
        if rng.random() < 0.3:
            reset_hard(peer.stream)


async def broken_frames(target: Target, source: str, rng: random.Random) -> None:
    async with proved(target, source=source) as peer:  # type: ignore[arg-type]
        kind = rng.choice(list(FrameType))
        await peer.send(kind, rng.randrange(16), rng.randrange(8), rng.choice([0, 1, 2**31, 2**32 - 1]))
        await peer.session.write(rng.randbytes(5000))
        await _listen(peer, 0.1)


async def broken_noise(target: Target, source: str, rng: random.Random) -> None:
    async with proved(target, source=source) as peer:  # type: ignore[arg-type]
        await peer.stream.send_all(rng.choice([b"\x00\x20" + rng.randbytes(32), b"\x00\x00", b"\xff\xff" + bytes(100)]))
        await _listen(peer, 0.1)


async def ignored_window(target: Target, source: str, rng: random.Random) -> None:
    async with proved(target, source=source) as peer:  # type: ignore[arg-type]
        await peer.open(1, rng.choice(PROTOCOLS))
        for _ in range(20):
            await peer.send_data(1, bytes(60_000))


async def streams_without_end(target: Target, source: str, rng: random.Random) -> None:
    async with proved(target, source=source) as peer:  # type: ignore[arg-type]
        for first in range(1, 8001, 800):
            opens = (header(FrameType.WINDOW_UPDATE, Flag.SYN, first + 2 * n, 0) for n in range(400))
            await peer.session.write(b"".join(opens))
        await _listen(peer, rng.uniform(0, 0.5))


async def never_reads(target: Target, source: str, rng: random.Random) -> None:
    """Pings, or questions with large answers, whose answers stay in the sockets."""
    async with proved(target, source=source) as peer:  # type: ignore[arg-type]
        if rng.random() < 0.5:
            await peer.session.write(header(FrameType.PING, Flag.SYN, 0, 7) * 4000)
        else:
            for stream_id in range(1, 61, 2):
                await peer.open(stream_id, rng.choice([KAD, IDENTIFY, PING]))
                await peer.send_data(stream_id, kad(Message.FIND_NODE, rng.randbytes(34)) * 50)
        await trio.sleep(rng.uniform(0, 1))


async def dht_records(target: Target, source: str, rng: random.Random) -> None:
    """Provider records, values and questions, more than one peer may leave."""
    async with proved(target, source=source) as peer:  # type: ignore[arg-type]
        own = peer.session.get_local_peer().to_bytes()
        entry = Message.Peer(id=own, addrs=[b"\x04\x7f\x00\x00\x01\x06\x10\x05"])
        await peer.open(1, rng.choice(["/fednode/kad/1.0.0", KAD]))
        for _ in range(50):
            await peer.send_data(1, kad(Message.ADD_PROVIDER, rng.randbytes(34), providerPeers=[entry]))
            await peer.send_data(1, kad(Message.GET_PROVIDERS, rng.randbytes(34)))
        await peer.open(3, "/fednode/kad/1.0.0")
        await peer.send_data(3, kad(Message.PUT_VALUE, b"/ipns/" + rng.randbytes(34)))
        await _listen(peer, 0.1)


async def identify_that_claims_the_world(target: Target, source: str, rng: random.Random) -> None:
    claim = Identify(
        public_key=key_of_type(3, rng.randbytes(91)),
        listen_addrs=[b"\x04\x7f" + rng.randbytes(3) + b"\x06\x00" + rng.randbytes(1) for _ in range(500)],
        protocols=[KAD, "/fednode/kad/1.0.0", *(f"/nonsense/{rng.random()}" for _ in range(500))],
        signedPeerRecord=rng.randbytes(1000),
    )
    async with proved(target, source=source) as peer:  # type: ignore[arg-type]
        with trio.move_on_after(0.5):
            while True:
                try:
                    kind, _, stream_id, body = await peer.frame()
                except EOFError:
                    return
                if kind == FrameType.DATA and IDENTIFY.encode() in body:
                    hello = multistream.encode(multistream.HEADER) + multistream.encode(IDENTIFY)
                    await peer.send_data(stream_id, hello + delimited(claim.SerializeToString()), Flag.FIN)


async def pubsub(target: Target, source: str, rng: random.Random) -> None:
    """Messages with keys that end libp2p's own host; fednode does not speak it."""
    message = rpc_pb2.Message(data=rng.randbytes(100), key=key_of_type(3, rng.randbytes(91)), topicIDs=["x"])
    async with proved(target, source=source) as peer:  # type: ignore[arg-type]
        await peer.open(1, "/meshsub/1.1.0")
        await peer.send_data(1, delimited(rpc_pb2.RPC(publish=[message]).SerializeToString()))
        await peer.send_data(1, rng.randbytes(1000))
        await _listen(peer, 0.05)


async def _listen(peer: RawYamux, seconds: float) -> None:
    with trio.move_on_after(seconds):
        await peer.until_closed()


ATTACKS: tuple[Attack, ...] = (
    *(3 * (garbage_first,)),
    odd_key,
    *(2 * (junk_inside,)),
    broken_frames,
    broken_noise,
    ignored_window,
    streams_without_end,
    never_reads,
    dht_records,
    identify_that_claims_the_world,
    pubsub,
)
