"""A real node process against peers that break the handshake, or never finish it, on real sockets: it goes on.

Each test ends with the `node` fixture asking the node for an echo over a fresh connection and for its health.
"""

from __future__ import annotations

import os
from contextlib import suppress

import pytest
import trio
import trio.lowlevel
from Crypto.PublicKey import RSA

from node.net import multistream
from node.net.libp2p_host import Keys
from node.net.libp2p_raw import RawConnection
from node.net.opening import open_network
from node.net.port import NetSettings, PeerUnreachable
from tests.integration.hostile_kit import (
    INVALID_UTF8,
    JUNK,
    LIMITS,
    closed,
    eventually_served,
    key_of_type,
    serves_others,
    shake_hands_with,
)
from tests.integration.net_kit import NodeProcess, RawYamux, noise, reset_hard, tcp

pytestmark = pytest.mark.integration


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
        assert trio.current_time() - started < 10 * LIMITS["handshake_s"]


async def test_idle_connections_of_one_address_do_not_lock_others_out(node: NodeProcess) -> None:
    before = node.ask("health")["refused_connections"]
    streams = [await tcp(node, "127.0.0.2") for _ in range(250)]
    await serves_others(node)
    # All but those; and on a busy machine some of those give way meanwhile, at the deadline of their handshake.
    assert node.ask("health")["refused_connections"] - before >= 250 - 5 * LIMITS["connections_per_address"]
    for stream in streams:
        await stream.aclose()


async def test_idle_connections_from_many_addresses_go_by_the_handshake_deadline(node: NodeProcess) -> None:
    streams = [await tcp(node, f"127.0.1.{number}") for number in range(1, 100)]
    with trio.fail_after(20):
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


async def test_key_of_another_peer_is_not_believed(node: NodeProcess) -> None:
    impostor = node.addresses[0].replace(node.peer, Keys(os.urandom(32)).peer.to_base58())
    async with open_network(NetSettings((), os.urandom(32), dht=False)) as honest:
        with pytest.raises(PeerUnreachable):
            await honest.connect(impostor, deadline_s=20)


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
