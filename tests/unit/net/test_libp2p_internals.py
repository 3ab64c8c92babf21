"""What fednode relies on inside libp2p. A failure here means: read what the new version does, then adapt."""

from __future__ import annotations

import inspect
import os
from importlib.metadata import version

import pytest
import trio
import trio.testing
from Crypto.PublicKey import RSA
from libp2p.abc import INetConn
from libp2p.crypto.keys import KeyType
from libp2p.crypto.serialization import deserialize_public_key, key_type_to_public_key_deserializer
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStore
from libp2p.protocol_muxer.multiselect import Multiselect
from libp2p.security.noise.patterns import PatternXX

from node.net import libp2p_internals
from node.net.libp2p_host import ContainedSwarm, Keys
from node.net.libp2p_noise import NoiseSession, secure
from node.net.libp2p_peerstore import BoundedPeerStore
from node.net.libp2p_raw import RawConnection
from node.net.peer_ids import peer_id_of_seed


@pytest.fixture(autouse=True)
def applied() -> None:
    libp2p_internals.apply()


def test_version_is_the_one_that_was_read() -> None:
    assert version("libp2p") == libp2p_internals.LIBP2P_VERSION


@pytest.mark.parametrize(
    ("where", "name", "parameters"),
    [
        (BasicHost, "_schedule_identify", ["self", "peer_id", "reason"]),
        (BasicHost, "_identify_peer", ["self", "peer_id", "reason"]),
        (BasicHost, "new_stream", ["self", "peer_id", "protocol_ids"]),
        (Swarm, "dial_peer", ["self", "peer_id"]),
        (Swarm, "notify_connected", ["self", "conn"]),
        (Swarm, "notify_disconnected", ["self", "conn"]),
        (Swarm, "_notify", ["self", "method", "args"]),
        (Swarm, "remove_conn", ["self", "swarm_conn"]),
        (PeerStore, "add_addrs", ["self", "peer_id", "addrs", "ttl"]),
        (PeerStore, "add_protocols", ["self", "peer_id", "protocols"]),
        (PeerStore, "_enforce_peer_limit", ["self"]),
        (PatternXX, "handshake_inbound", ["self", "conn"]),
        (PatternXX, "handshake_outbound", ["self", "conn", "remote_peer"]),
    ],
)
def test_methods_that_are_called_or_replaced(where: type, name: str, parameters: list[str]) -> None:
    assert list(inspect.signature(getattr(where, name)).parameters) == parameters


def test_host_keeps_what_our_host_reads() -> None:
    source = inspect.getsource(BasicHost.__init__)
    for attribute in ("_identify_inflight", "_identified_peers", "multiselect"):
        assert f"self.{attribute}" in source


def test_tables_that_are_read_and_written() -> None:
    keys = Keys(os.urandom(32))
    swarm = ContainedSwarm(keys, dial=never)
    assert swarm.connections == {}
    assert swarm.get_connections() == swarm.get_connections(keys.peer) == []
    assert set(swarm.peerstore.peer_data_map) == {keys.peer}
    assert swarm.peerstore.peer_record_map == {}
    assert Multiselect({TProtocol("/a/1"): None}).handlers == {"/a/1": None}


async def never(_: ID) -> INetConn:
    raise NotImplementedError


def test_peer_id_of_a_key_is_the_one_of_libp2p() -> None:
    seed = os.urandom(32)
    assert Keys(seed).peer.to_base58() == peer_id_of_seed(seed)


def test_peer_store_is_bounded_and_keeps_the_own_key() -> None:
    keys = Keys(os.urandom(32))
    store = BoundedPeerStore()
    store.add_key_pair(keys.peer, keys.pair)
    other = ID.from_base58(peer_id_of_seed(os.urandom(32)))
    store.add_protocols(other, [f"/{number}" for number in range(1000)] + ["x" * 1000])
    assert len(store.get_protocols(other)) == 128
    for _ in range(store.max_peers + 10):
        store.add_protocols(ID(os.urandom(34)), ["/a/1"])
    assert store.privkey(keys.peer) is keys.pair.private_key
    store.forget(other)
    store.forget(other)
    assert not store.has_peer(other)


def test_rsa_keys_of_unusual_exponents_are_refused_everywhere() -> None:
    modulus = (1 << 2047) + 9
    usual, slow = (RSA.construct((modulus, e)).export_key("DER") for e in (65537, modulus - 2))
    for read in (
        key_type_to_public_key_deserializer[KeyType.RSA.value],
        lambda der: deserialize_public_key(b"\x08\x00\x12" + _varint(len(der)) + der),
    ):
        read(usual)
        with pytest.raises(ValueError, match="exponent"):
            read(slow)


def _varint(number: int) -> bytes:
    return bytes([number & 0x7F | 0x80, number >> 7])


async def sessions() -> tuple[NoiseSession, NoiseSession]:
    """Two ends of a Noise session over a socket pair."""
    left, right = trio.socket.socketpair()
    one, other = Keys(os.urandom(32)), Keys(os.urandom(32))
    ends: dict[str, NoiseSession] = {}

    async def shake(name: str, keys: Keys, sock: trio.socket.SocketType, remote: ID | None) -> None:
        raw = RawConnection(trio.SocketStream(sock), is_initiator=remote is not None, remote=("127.0.0.1", 1))
        ends[name] = await secure(raw, keys.pair, keys.noise, remote)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(shake, "one", one, left, other.peer)
        nursery.start_soon(shake, "other", other, right, None)
    assert ends["one"].get_remote_peer() == other.peer
    assert ends["other"].get_remote_peer() == one.peer
    return ends["one"], ends["other"]


async def test_keys_of_the_handshake_open_what_the_other_side_seals() -> None:
    one, other = await sessions()
    sent = os.urandom(300_000)
    async with trio.open_nursery() as nursery:

        async def send() -> None:
            await one.write(sent)
            await one.write(b"")
            await one.close()

        nursery.start_soon(send)
        received = b""
        while messages := await other.receive_messages():
            assert all(len(message) <= 65519 for message in messages)
            received += b"".join(messages)
    assert received == sent
    assert await other.read(10) == b""
    await other.close()
