"""Start and question `net_node` processes; speak to them as a hostile peer would."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import trio
from libp2p.crypto.keys import KeyPair
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.peer.id import ID

from node.net import multistream
from node.net.addresses import Address
from node.net.libp2p_host import Keys
from node.net.libp2p_noise import NoiseSession, secure
from node.net.libp2p_raw import RawConnection
from node.net.yamux_frames import HEADER, Flag, FrameType, header

ROOT = Path(__file__).resolve().parents[2]


class NodeProcess:
    """A context manager; `ask` sends a command and returns its result, or raises what the node reported."""

    def __init__(
        self,
        listen: tuple[str, ...] = ("/ip4/127.0.0.1/tcp/0",),
        *,
        seed: bytes | None = None,
        limits: dict[str, float] | None = None,
        module: str = "tests.integration.net_node",
    ) -> None:
        self.seed = seed or os.urandom(32)
        config = {"listen": listen, "seed": self.seed.hex(), "limits": limits or {}}
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, json.dumps(config)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> NodeProcess:
        hello = self._read()
        self.peer: str = hello["peer"]
        self.addresses: list[str] = hello["addresses"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> str:
        """End the process in order; its log."""
        if self.process.poll() is None:
            try:
                _, log = self.process.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise
            self.log = log
        return self.log

    def kill(self) -> None:
        self.process.kill()
        self.log = self.process.communicate()[1]

    def ask(self, command: str) -> Any:
        if self.process.stdin is None:
            raise RuntimeError("no stdin")
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self._read()["result"]

    def _read(self) -> dict[str, Any]:
        line = self.process.stdout.readline() if self.process.stdout is not None else ""
        if not line:
            _, log = self.process.communicate()
            raise AssertionError(f"the node ended with {self.process.returncode}:\n{log}")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise AssertionError(f"{reply['error']}: {reply['message']}")
        return reply

    @property
    def endpoint(self) -> tuple[str, int]:
        address = Address.parse(self.addresses[0])
        return address.host, address.port


async def tcp(node: NodeProcess, source: str = "127.0.0.1") -> trio.SocketStream:
    """A bare TCP connection from `source`, any address of 127.0.0.0/8."""
    sock = trio.socket.socket()
    await sock.bind((source, 0))
    await sock.connect(node.endpoint)
    return trio.SocketStream(sock)


def reset_hard(stream: trio.SocketStream) -> None:
    """Close with a TCP reset instead of an orderly end."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


async def eventually(check: Callable[[], bool]) -> None:
    """Wait until `check` is true; the caller sets the deadline."""
    while not check():  # noqa: ASYNC110 - it asks another process, which has no event for us
        await trio.sleep(0.02)


class RawYamux:
    """A proved peer that then writes whatever frames it likes."""

    def __init__(self, session: NoiseSession, stream: trio.SocketStream) -> None:
        self.session = session
        self.stream = stream

    async def send(self, kind: FrameType, flags: int, stream_id: int, length: int, body: bytes = b"") -> None:
        await self.session.write(header(kind, flags, stream_id, length) + body)

    async def send_data(self, stream_id: int, body: bytes, flags: int = 0) -> None:
        await self.send(FrameType.DATA, flags, stream_id, len(body), body)

    async def open(self, stream_id: int, protocol: str) -> None:
        """Ask for a stream and a protocol, without waiting for an answer."""
        await self.send(FrameType.WINDOW_UPDATE, Flag.SYN, stream_id, 0)
        await self.send_data(stream_id, multistream.encode(multistream.HEADER) + multistream.encode(protocol))

    async def frame(self) -> tuple[int, int, int, bytes]:
        """The next frame from the node: type, flags, stream id, body or length."""
        _, kind, flags, stream_id, length = HEADER.unpack(await self._exactly(HEADER.size))
        if kind == FrameType.DATA:
            return kind, flags, stream_id, await self._exactly(length)
        return kind, flags, stream_id, length.to_bytes(4, "big")

    async def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            try:
                more = await self.session.read(count - len(data))
            except ConnectionClosedError:
                raise EOFError from None
            if not more:
                raise EOFError
            data += more
        return data

    async def until_closed(self) -> None:
        """Read until the node closes the connection."""
        try:
            while await self.session.read():
                pass
        except ConnectionClosedError:
            return


@asynccontextmanager
async def proved(node: NodeProcess, keys: Keys | None = None, source: str = "127.0.0.1") -> AsyncIterator[RawYamux]:
    """A connection that finished the handshake in order."""
    stream = await tcp(node, source)
    async with stream:
        raw = RawConnection(stream, is_initiator=True, remote=node.endpoint)
        session = await noise(node, raw, keys or Keys(os.urandom(32)))
        await multistream.propose(session.read, session.write, ["/yamux/1.0.0"])
        yield RawYamux(session, stream)


async def noise(node: NodeProcess, raw: RawConnection, keys: Keys) -> NoiseSession:
    await multistream.propose(raw.read, raw.write, ["/noise"])
    pair: KeyPair = keys.pair
    return await secure(raw, pair, keys.noise, ID.from_base58(node.peer))
