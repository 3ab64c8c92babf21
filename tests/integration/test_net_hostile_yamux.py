"""A real node process against peers that proved a key and then break Noise, Yamux and their windows: it goes on.

Each test ends with the `node` fixture asking the node for an echo over a fresh connection and for its health.
"""

from __future__ import annotations

import os
import random
from contextlib import suppress

import pytest
import trio
import trio.lowlevel
from libp2p.io.exceptions import ConnectionClosedError

from node.net import multistream
from node.net.yamux_frames import HEADER, Flag, FrameType, header
from tests.integration.hostile_kit import (
    INVALID_UTF8,
    closed,
    stream_reset,
    stream_says,
)
from tests.integration.net_kit import NodeProcess, RawYamux, eventually, proved

pytestmark = pytest.mark.integration


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
    with trio.fail_after(20):
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
