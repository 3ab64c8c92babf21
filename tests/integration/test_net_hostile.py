"""A real node process against peers that break every rule on real sockets: it goes on, and never restarts its host.

Each test ends with the `node` fixture asking the node for an echo over a fresh connection and for its health.
"""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import pytest
import trio
import trio.lowlevel
from Crypto.PublicKey import RSA
from libp2p.crypto.pb import crypto_pb2
from libp2p.identity.identify.pb.identify_pb2 import Identify
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.kad_dht.pb.kademlia_pb2 import Message
from libp2p.peer.id import ID
from libp2p.security.noise.patterns import PatternXX

from node.net import NetSettings, PeerUnreachable, multistream, open_network
from node.net.libp2p_host import Keys
from node.net.libp2p_raw import RawConnection
from node.net.yamux_frames import HEADER, Flag, FrameType, header
from tests.integration.net_kit import NodeProcess, RawYamux, eventually, noise, proved, reset_hard, tcp

pytestmark = pytest.mark.integration

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


@pytest.fixture(scope="module")
def process() -> Iterator[NodeProcess]:
    with NodeProcess(limits=LIMITS) as started:
        yield started


@pytest.fixture
async def node(process: NodeProcess) -> AsyncIterator[NodeProcess]:
    with trio.fail_after(20):
        yield process
        await serves_others(process)
    health = process.ask("health")
    assert health["state"] == "running"
    assert health["restarts"] == 0


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


# Before the handshake


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x14" + INVALID_UTF8[:19] + b"\n",
        bytes([len(INVALID_UTF8)]) + INVALID_UTF8,
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x00" * 4096,
        multistream.encode(multistream.HEADER) + bytes([5]) + b"\xff\xfe\xfd\xfc\n",
        multistream.encode(multistream.HEADER) + multistream.encode("/plaintext/2.0.0") + JUNK(200),
        multistream.encode(multistream.HEADER) + multistream.encode("/tls/1.0.0") + JUNK(200),
        multistream.encode(multistream.HEADER) + multistream.encode("x" * 900) * 200,
        multistream.encode(multistream.HEADER) + multistream.encode("/noise") + b"\x00\x00",
        multistream.encode(multistream.HEADER) + multistream.encode("/noise") + b"\xff\xff" + JUNK(65535),
        multistream.encode(multistream.HEADER) + multistream.encode("/noise") + b"\x00\x20" + JUNK(32),
        multistream.encode(multistream.HEADER) + multistream.encode("/noise") + b"\x00\x20" + bytes(32) + b"\x00\x01x",
    ],
    ids=lambda _: "case",
)
async def test_garbage_instead_of_a_handshake(node: NodeProcess, first: bytes) -> None:
    async with await tcp(node) as stream:
        with suppress(trio.BrokenResourceError):
            await stream.send_all(first)
        await closed(stream)


async def test_plaintext_is_not_spoken(node: NodeProcess) -> None:
    async with await tcp(node) as stream:
        raw = RawConnection(stream, is_initiator=True, remote=node.endpoint)
        for protocol in ("/plaintext/2.0.0", "/tls/1.0.0", "/secio/1.0.0"):
            await raw.write(multistream.encode(multistream.HEADER)) if protocol == "/plaintext/2.0.0" else None
            await raw.write(multistream.encode(protocol))
        said = b""
        while said.count(b"\n") < 4:
            said += await raw.read()
        assert said == multistream.encode(multistream.HEADER) + 3 * multistream.encode("na")


async def test_slow_handshake_ends_at_its_deadline(node: NodeProcess) -> None:
    async with await tcp(node) as stream:
        started = trio.current_time()
        async with trio.open_nursery() as nursery:

            async def drip() -> None:
                for byte in multistream.encode(multistream.HEADER) * 20:
                    try:
                        await stream.send_all(bytes([byte]))
                    except trio.BrokenResourceError:
                        return
                    await trio.sleep(0.1)

            nursery.start_soon(drip)
            await closed(stream)
            nursery.cancel_scope.cancel()
        assert trio.current_time() - started < 3


async def test_idle_connections_of_one_address_do_not_lock_others_out(node: NodeProcess) -> None:
    before = node.ask("health")["refused_connections"]
    streams = [await tcp(node, "127.0.0.2") for _ in range(250)]
    await serves_others(node)
    assert node.ask("health")["refused_connections"] - before >= 250 - LIMITS["connections_per_address"]
    for stream in streams:
        await stream.aclose()


async def test_idle_connections_from_many_addresses_go_by_the_handshake_deadline(node: NodeProcess) -> None:
    streams = [await tcp(node, f"127.0.1.{number}") for number in range(1, 100)]
    with trio.fail_after(5):
        await eventually_served(node)
    for stream in streams:
        await stream.aclose()


@pytest.mark.parametrize("step", range(7))
async def test_reset_at_any_moment(node: NodeProcess, step: int) -> None:
    for _ in range(5):
        stream = await tcp(node)
        raw = RawConnection(stream, is_initiator=True, remote=node.endpoint)
        keys = Keys(os.urandom(32))
        if step == 1:
            await raw.write(multistream.encode(multistream.HEADER))
        if step == 2:
            await multistream.propose(raw.read, raw.write, ["/noise"])
        if step == 3:
            await multistream.propose(raw.read, raw.write, ["/noise"])
            await raw.write(b"\x00\x20" + os.urandom(32))
        if step >= 4:
            session = await noise(node, raw, keys)
        if step == 5:
            await session.write(multistream.encode(multistream.HEADER))
        if step == 6:
            await multistream.propose(session.read, session.write, ["/yamux/1.0.0"])
            peer = RawYamux(session, stream)
            for number in range(20):
                await peer.open(2 * number + 1, "/echo/1")
                await peer.send_data(2 * number + 1, os.urandom(1000))
        reset_hard(stream)


# In the handshake


def key_of_type(kind: Any, data: bytes) -> bytes:
    return crypto_pb2.PublicKey(key_type=kind, data=data).SerializeToString()


@pytest.mark.parametrize(
    "identity_key",
    [
        JUNK(100),
        key_of_type(3, JUNK(91)),  # ECDSA, garbage
        key_of_type(  # ECDSA P-256, well-formed
            3,
            bytes.fromhex(
                "3059301306072a8648ce3d020106082a8648ce3d030107034200046b17d1f2e12c4247f8bce6e563a440f277037d812deb33"
                "a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
            ),
        ),
        key_of_type(0, JUNK(294)),  # RSA, garbage
        key_of_type(1, b""),  # Ed25519 without a key
        key_of_type(1, bytes(32)),  # a point of low order
        key_of_type(2, bytes(33)),  # secp256k1, not a point
    ],
    ids=lambda _: "case",
)
async def test_odd_identity_keys(node: NodeProcess, identity_key: bytes) -> None:
    await shake_hands_with(node, identity_key)


async def test_rsa_key_with_an_exponent_made_to_be_slow(node: NodeProcess) -> None:
    modulus = int.from_bytes(b"\xff" * 512, "big")
    await shake_hands_with(node, key_of_type(0, RSA.construct((modulus, modulus - 2)).export_key("DER")))


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


async def shake_hands_with(node: NodeProcess, identity_key: bytes) -> None:
    """The node ends the connection."""
    keys = Keys(os.urandom(32))
    async with await tcp(node) as stream:
        raw = RawConnection(stream, is_initiator=True, remote=node.endpoint)
        await multistream.propose(raw.read, raw.write, ["/noise"])
        pattern = PatternXX(keys.peer, OddKey(identity_key), keys.noise)
        await pattern.handshake_outbound(raw, ID.from_base58(node.peer))
        await closed(stream)


async def test_key_of_another_peer_is_not_believed(node: NodeProcess) -> None:
    impostor = node.addresses[0].replace(node.peer, Keys(os.urandom(32)).peer.to_base58())
    async with open_network(NetSettings((), os.urandom(32), dht=False)) as honest:
        with pytest.raises(PeerUnreachable):
            await honest.connect(impostor, deadline_s=5)


async def test_other_multiplexers_are_refused(node: NodeProcess) -> None:
    async with await tcp(node) as stream:
        raw = RawConnection(stream, is_initiator=True, remote=node.endpoint)
        session = await noise(node, raw, Keys(os.urandom(32)))
        with pytest.raises(Exception, match="does not speak"):
            await multistream.propose(session.read, session.write, ["/mplex/6.7.0"])


@pytest.mark.parametrize("text", [INVALID_UTF8, b"\xff\n", b"no newline", b"\n" * 60], ids=lambda _: "case")
async def test_garbage_instead_of_a_multiplexer(node: NodeProcess, text: bytes) -> None:
    async with await tcp(node) as stream:
        raw = RawConnection(stream, is_initiator=True, remote=node.endpoint)
        session = await noise(node, raw, Keys(os.urandom(32)))
        await session.write(bytes([len(text)]) + text)
        await closed(stream)


# Inside the encrypted connection


@pytest.mark.parametrize(
    "frame",
    [
        HEADER.pack(1, 0, 0, 1, 0),
        HEADER.pack(0, 9, 0, 1, 0),
        header(FrameType.DATA, 0, 1, 5) + b"hello",
        header(FrameType.DATA, Flag.SYN, 2, 0),
        header(FrameType.DATA, Flag.SYN, 0, 0),
        header(FrameType.DATA, Flag.SYN, 1, 2**32 - 1) + bytes(1000),
        header(FrameType.DATA, Flag.SYN, 1, 256 * 1024 + 1) + bytes(256 * 1024 + 1),
        header(FrameType.WINDOW_UPDATE, Flag.SYN, 1, 0) * 2,
        header(FrameType.WINDOW_UPDATE, Flag.SYN, 1, 2**32 - 1),
        header(FrameType.GO_AWAY, 0, 0, 77),
        header(FrameType.WINDOW_UPDATE, 0, 1, 1) * 3,
        header(FrameType.DATA, Flag.SYN | Flag.FIN, 1, 0) + header(FrameType.DATA, 0, 1, 1) + b"x",
    ],
    ids=lambda _: "case",
)
async def test_frames_that_break_yamux_end_their_connection(node: NodeProcess, frame: bytes) -> None:
    async with proved(node) as peer:
        with suppress(ConnectionClosedError):
            await peer.session.write(frame)
        await peer.until_closed()


async def test_noise_that_does_not_decrypt(node: NodeProcess) -> None:
    async with proved(node) as peer:
        await peer.stream.send_all(b"\x00\x20" + os.urandom(32))
        await closed(peer.stream)


async def test_random_frames(node: NodeProcess) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)  # noqa: T201 - pytest shows it when the test fails
    rng = random.Random(seed)
    for _ in range(20):
        async with proved(node) as peer:
            soup = b"".join(
                HEADER.pack(
                    rng.choice([0, 0, 0, 0, 1]),
                    rng.choice([0, 1, 2, 3, 4]),
                    rng.randrange(16),
                    rng.randrange(6),
                    length,
                )
                + rng.randbytes(length)
                for length in (rng.choice([0, 1, 12, 300]) for _ in range(40))
            )
            with suppress(ConnectionClosedError):
                await peer.session.write(soup)
            with trio.move_on_after(0.05):
                await peer.until_closed()


@pytest.mark.parametrize("text", [INVALID_UTF8, b"\xff\xfe\n", b"x" * 127, b"\n"], ids=lambda _: "case")
async def test_garbage_instead_of_a_protocol_name(node: NodeProcess, text: bytes) -> None:
    async with proved(node) as peer:
        await peer.send(FrameType.WINDOW_UPDATE, Flag.SYN, 1, 0)
        await peer.send_data(1, multistream.encode(multistream.HEADER) + bytes([len(text)]) + text)
        await stream_reset(peer, 1)
        await peer.open(3, "/echo/1")
        await peer.send_data(3, b"still here")
        assert await stream_says(peer, 3, b"still here")


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


async def test_stream_that_never_names_a_protocol_is_reset(node: NodeProcess) -> None:
    async with proved(node) as peer:
        await peer.send(FrameType.WINDOW_UPDATE, Flag.SYN, 1, 0)
        await stream_reset(peer, 1)


async def test_handler_that_raises_ends_its_stream_only(node: NodeProcess) -> None:
    async with proved(node) as peer:
        await peer.open(1, "/fail/1")
        await stream_reset(peer, 1)
        await peer.open(3, "/echo/1")
        await peer.send_data(3, b"still here")
        assert await stream_says(peer, 3, b"still here")


async def test_twenty_thousand_streams(node: NodeProcess) -> None:
    """Those within the cap get an answer, the others a reset, until the node has seen enough and ends it."""
    acknowledged = resets = 0

    async def flood() -> None:
        for first in range(1, 40_001, 200):
            opens = (header(FrameType.WINDOW_UPDATE, Flag.SYN, first + 2 * n, 0) for n in range(100))
            try:
                await peer.session.write(b"".join(opens))
            except ConnectionClosedError:
                return

    async with proved(node) as peer, trio.open_nursery() as nursery:
        nursery.start_soon(flood)
        try:
            while resets < 19_000:
                _, flags, _, _ = await peer.frame()
                acknowledged += bool(flags & Flag.ACK)
                resets += bool(flags & Flag.RST)
        except EOFError:
            pass
        assert acknowledged <= 256
        assert resets >= 1000
        nursery.cancel_scope.cancel()


async def test_peer_that_never_reads_is_dropped(node: NodeProcess) -> None:
    async with proved(node, source="127.0.0.7") as peer:
        answers = header(FrameType.PING, Flag.SYN, 0, 7) * 4000
        await write_until_lost(peer, answers)
        await no_connection_from(node, peer)


async def write_until_lost(peer: RawYamux, data: bytes) -> int:
    """How many bytes were written before the node ended the connection."""
    written = 0
    try:
        while True:
            await peer.session.write(data)
            written += len(data)
    except ConnectionClosedError:
        return written


async def no_connection_from(node: NodeProcess, peer: RawYamux) -> None:
    local = peer.session.get_local_peer().to_base58()
    with trio.fail_after(5):
        await eventually(lambda: all(found["peer"] != local for found in node.ask("peers")))


async def test_window_that_is_ignored_ends_the_connection(node: NodeProcess) -> None:
    async with proved(node) as peer:
        await peer.open(1, "/sleep/1")
        taken = await write_until_lost(peer, header(FrameType.DATA, 0, 1, 65_000) + bytes(65_000))
        assert taken < 10_000_000  # what the sockets hold, not what a handler that never reads lets in


async def test_silent_peer_is_pinged_and_dropped(node: NodeProcess) -> None:
    async with proved(node) as peer:
        pinged = False
        try:
            while True:
                kind, flags, _, _ = await peer.frame()
                pinged |= kind == FrameType.PING and bool(flags & Flag.SYN)
        except EOFError:
            assert pinged
        await no_connection_from(node, peer)


# libp2p's own protocols


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


def delimited(body: bytes) -> bytes:
    length, prefix = len(body), bytearray()
    while length >= 0x80:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    prefix.append(length)
    return bytes(prefix) + body


def kad(kind: Any, key: bytes, **fields: Any) -> bytes:
    return delimited(Message(type=kind, key=key, **fields).SerializeToString())


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
        while True:
            kind, _, stream_id, body = await peer.frame()
            if kind == FrameType.DATA and b"/ipfs/id/1.0.0" in body:
                break
        await peer.send_data(
            stream_id,
            multistream.encode(multistream.HEADER)
            + multistream.encode("/ipfs/id/1.0.0")
            + delimited(claim.SerializeToString())[:200_000],
        )
        with trio.fail_after(3):
            while True:
                entry = next((found for found in node.ask("peers") if found["peer"] == local), None)
                if entry is None or len(entry["addresses"]) <= 16:
                    break
                await trio.sleep(0.02)


async def test_exception_in_the_task_tree_restarts_the_host_on_the_same_port() -> None:
    """What should never happen: the supervisor makes good for it, and the registrations are there again."""
    with NodeProcess(limits=LIMITS) as broken, trio.fail_after(20):
        await serves_others(broken)
        broken.ask("break")
        await eventually(lambda: broken.ask("health")["restarts"] == 1)
        await eventually(lambda: broken.ask("health")["state"] == "running")
        await serves_others(broken)
        assert "ZeroDivisionError" in broken.ask("health")["last_error"]
