"""What strangers send below and in our streams (Noise, identify, Kademlia) is bounded, and fails in one way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from types import SimpleNamespace
from typing import Any

import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from libp2p.identity.identify.pb.identify_pb2 import Identify
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.kad_dht.pb.kademlia_pb2 import Message
from libp2p.network.stream.exceptions import StreamEOF

from node.net.delimited import delimited
from node.net.libp2p_dht import PROTOCOLS, Dht
from node.net.libp2p_host import ContainedHost, ContainedSwarm, Keys
from node.net.libp2p_noise import PLAINTEXT_MAX_BYTES, NoiseSession
from node.net.memory_stream import stream_pair
from node.net.peer_ids import peer_id_bytes, peer_id_of_seed
from node.net.port import PeerId, Stream
from protocol.errors import PeerError
from tests.property.fuzzing import examples

US, THEM, OTHER = (peer_id_of_seed(bytes([number]) * 32) for number in range(3))
KEYS = Keys(bytes(32))
THEIR_ID = Keys(bytes([1]) * 32).peer

# Noise records


class Wire:
    """A raw connection of which one side writes and the other reads what is left of it, cut anywhere."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.cuts: Sequence[int] = ()

    async def write(self, data: bytes) -> None:
        self.data += data

    async def receive(self) -> bytes:
        size, *self.cuts = *self.cuts, 1000
        taken = bytes(self.data[:size])
        del self.data[:size]
        return taken

    def take_buffer(self) -> bytes:
        return b""


def session(wire: Wire, send_key: bytes, receive_key: bytes) -> NoiseSession:
    """As it is after a handshake that agreed on these keys."""
    ciphers = SimpleNamespace(
        cipher_state_encrypt=SimpleNamespace(k=send_key), cipher_state_decrypt=SimpleNamespace(k=receive_key)
    )
    shaken: Any = SimpleNamespace(
        get_local_peer=lambda: KEYS.peer,
        get_local_private_key=lambda: KEYS.pair.private_key,
        get_remote_peer=lambda: THEIR_ID,
        get_remote_public_key=lambda: KEYS.pair.public_key,
        is_initiator=True,
        conn=SimpleNamespace(noise_state=SimpleNamespace(noise_protocol=ciphers)),
    )
    raw: Any = wire
    return NoiseSession(shaken, raw)


async def sealed(wire: Wire, plain: list[bytes]) -> None:
    sender = session(wire, bytes(32), bytes([1]) * 32)
    for piece in plain:
        await sender.write(piece)


async def received(wire: Wire) -> bytes:
    receiver = session(wire, bytes([1]) * 32, bytes(32))
    data = b""
    while messages := await receiver.receive_messages():
        assert all(len(message) <= PLAINTEXT_MAX_BYTES for message in messages)
        data += b"".join(messages)
    return data


PLAIN = st.lists(st.one_of(st.binary(max_size=40), st.integers(65_500, 140_000).map(bytes)), max_size=6)
CUTS = st.lists(st.integers(1, 70_000), max_size=10)


@given(PLAIN, CUTS)
@examples(15)
def test_noise_gives_back_what_was_sealed_however_it_is_cut(plain: list[bytes], cuts: list[int]) -> None:
    async def talk() -> None:
        wire = Wire()
        await sealed(wire, plain)
        wire.cuts = cuts
        assert await received(wire) == b"".join(plain)

    trio.run(talk)


@given(st.lists(st.binary(max_size=40), max_size=6), CUTS, st.data())
@examples(40)
def test_damaged_noise_gives_nothing_that_was_not_sealed(
    plain: list[bytes], cuts: list[int], data: st.DataObject
) -> None:
    async def talk() -> None:
        wire = Wire()
        await sealed(wire, plain)
        at = data.draw(st.integers(0, len(wire.data)))
        wire.data[at : at + data.draw(st.integers(0, 30))] = data.draw(st.binary(max_size=30))
        wire.cuts = cuts
        try:
            found = await received(wire)
        except ConnectionClosedError:
            return
        assert b"".join(plain).startswith(found)

    trio.run(talk)


# Identify


class Said:
    """A stream of libp2p on which a peer says this and ends."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def read(self, n: int | None = None) -> bytes:
        if not self._data:
            raise StreamEOF
        taken, self._data = self._data[:n], b"" if n is None else self._data[n:]
        return taken

    async def close(self) -> None: ...
    async def reset(self) -> None: ...


async def identified_by(answer: bytes) -> list[tuple[list[str], list[str]]]:
    """What the host reports of a peer that answers so: addresses and protocols."""
    reported: list[tuple[list[str], list[str]]] = []

    async def open_stream(*_: object) -> Any:
        return Said(answer)

    async with trio.open_nursery() as nursery:
        swarm = ContainedSwarm(KEYS, dial=open_stream)
        swarm.connections[THEIR_ID] = [SimpleNamespace(is_closed=False, event_started=None)]
        host = ContainedHost(
            swarm,
            nursery,
            lambda _: [],
            open_stream,
            lambda _, addresses, protocols: reported.append((list(addresses), list(protocols))),
        )
        host._schedule_identify(THEIR_ID, reason="test")
    return reported


IDENTIFY = st.builds(
    Identify,
    protocol_version=st.text(max_size=20),
    agent_version=st.text(max_size=20),
    public_key=st.one_of(st.binary(max_size=40), st.just(KEYS.pair.public_key.serialize())),
    listen_addrs=st.lists(
        st.one_of(
            st.binary(max_size=20), st.binary(min_size=2, max_size=2).map(lambda port: b"\x04\x7f\0\0\1\x06" + port)
        ),
        max_size=30,
    ),
    observed_addr=st.binary(max_size=20),
    protocols=st.lists(st.text(max_size=150), max_size=200),
    signedPeerRecord=st.binary(max_size=60),
).map(lambda message: delimited(message.SerializeToString()))


@given(st.one_of(st.binary(max_size=200), IDENTIFY))
@examples(30)
def test_identify_is_bounded_and_raises_nothing(answer: bytes) -> None:
    for addresses, protocols in trio.run(identified_by, answer):
        assert len(addresses) <= 16
        assert len(protocols) <= 128
        assert all(len(protocol) <= 128 for protocol in protocols)


# Kademlia


class Host:
    """The network around a DHT. Every stream that it opens goes to `answer`."""

    local_peer = US

    def __init__(self, answer: Callable[[Stream], Any] | None = None) -> None:
        self.withholds: Callable[[bytes], bool] = lambda _: False
        self.refuses: Callable[[str], bool] = lambda _: False
        self.claims: list[tuple[PeerId, list[str]]] = []
        self._answer = answer
        self.nursery: trio.Nursery

    def addresses(self) -> list[str]:
        return ["/ip4/127.0.0.1/tcp/1"]

    def known_addresses(self, peer: PeerId) -> list[str]:
        return [f"/ip4/127.0.0.1/tcp/2/p2p/{peer}"]

    def tellable(self, addresses: Iterable[str], to: PeerId) -> list[str]:
        return list(addresses)

    def claim(self, peer: PeerId, addresses: Iterable[str]) -> None:
        self.claims.append((peer, list(addresses)))

    def connected_peers(self) -> set[PeerId]:
        return {THEM}

    def walk_ended(self) -> None: ...

    async def open_for_dht(self, peer: PeerId, protocol: str, *, dial: bool) -> Stream:
        ours, theirs = stream_pair(US, peer, protocol, write_stall_s=1)
        if self._answer is not None:
            self.nursery.start_soon(self._answer, theirs)
        return ours


KEY = st.one_of(st.binary(max_size=90), st.just(peer_id_bytes(THEM)), st.just(b"/ipns/" + bytes(34)))
PEERS = st.lists(
    st.builds(
        Message.Peer,
        id=st.one_of(st.binary(max_size=40), st.sampled_from([peer_id_bytes(peer) for peer in (US, THEM, OTHER)])),
        addrs=st.lists(st.one_of(st.binary(max_size=20), st.just(b"\x04\x7f\0\0\1\x06\x10\x05")), max_size=20),
    ),
    max_size=50,
)
MESSAGES = st.builds(
    Message,
    type=st.integers(0, 5),
    key=KEY,
    providerPeers=PEERS,
    closerPeers=PEERS,
    clusterLevelRaw=st.integers(-5, 5),
)
FRAMES = st.one_of(st.binary(max_size=100), MESSAGES.map(lambda message: delimited(message.SerializeToString())))


@given(st.lists(FRAMES, max_size=5))
@examples(40)
def test_dht_answers_or_refuses_whatever_is_asked(frames: list[bytes]) -> None:
    async def serve() -> None:
        ours, theirs = stream_pair(US, THEM, PROTOCOLS["federation"], write_stall_s=1)
        dht = Dht(Host(), PROTOCOLS["federation"])
        said = b""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, dht, theirs)
            try:
                await ours.send_all(b"".join(frames))
                await ours.send_eof()
                while data := await ours.receive_some():
                    said += data
            except trio.BrokenResourceError:
                pass
        assert len(said) < 40_000 * (len(frames) + 1)

    async def run(dht: Dht, stream: Stream) -> None:
        try:
            await dht.serve_stream(stream)
        except (PeerError, trio.BrokenResourceError):
            stream.reset()
        await stream.aclose()

    trio.run(serve)


@given(FRAMES)
@examples(25)
def test_walk_survives_whatever_is_answered(answer: bytes) -> None:
    async def reply(stream: Stream) -> None:
        try:
            await stream.receive_some()
            await stream.send_all(answer)
        except trio.BrokenResourceError:
            return
        finally:
            await stream.aclose()

    async def walk() -> None:
        host = Host(reply)
        dht = Dht(host, PROTOCOLS["federation"])
        async with trio.open_nursery() as host.nursery:
            began_s = trio.current_time()
            found: dict[PeerId, list[str]] = {}
            await dht.find_providers(b"\x12\x20" + bytes(32), 5, found)
            await dht.count_provided(b"\x12\x20" + bytes(32), 5.0)
            await dht.find_ipns(bytes(34), [])
            assert trio.current_time() - began_s < 4  # nothing was left to run into a deadline
        assert len(found) <= 5
        assert US not in found
        assert all(len(addresses) <= 16 for _, addresses in host.claims)

    trio.run(walk, clock=trio.testing.MockClock(autojump_threshold=0))
