"""The ways to bring bytes from one process to another that bench/wire.py compares, each as `serve` and `open_pipes`."""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import httpx
import hypercorn.config
import hypercorn.trio
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from libp2p import create_yamux_muxer_option, new_host
from libp2p.custom_types import TProtocol
from libp2p.network.stream.exceptions import StreamEOF
from libp2p.peer.peerinfo import info_from_p2p_addr
from multiaddr import Multiaddr

from node.net.opening import open_network
from node.net.port import NetSettings, Stream

SINK, ECHO = "/bench/sink/1", "/bench/echo/1"
_READ_BYTES = 256 * 1024


class Pipe(Protocol):
    """One direction after the other: what is written until `end`, then what is read until b""."""

    async def write(self, data: bytes) -> None: ...
    async def read(self) -> bytes: ...
    async def end(self) -> None: ...


Open = Callable[[str], Awaitable[Pipe]]
"""A new pipe to a protocol of the other process."""


async def sink(pipe: Pipe) -> None:
    """Read to the end, then say so."""
    while await pipe.read():
        pass
    await pipe.write(b"\x01")
    await pipe.end()


async def echo(pipe: Pipe) -> None:
    while data := await pipe.read():
        await pipe.write(data)
    await pipe.end()


class Kind(ABC):
    """`folder` is shared by both processes, for certificates."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    async def serve(self, ready: Callable[[str], None]) -> None:
        """Serve until cancelled; `ready` takes the address for `open_pipes`."""

    @abstractmethod
    def open_pipes(self, address: str) -> AbstractAsyncContextManager[Open]: ...


class TrioPipe:
    def __init__(self, stream: Any) -> None:
        self.stream = stream

    async def write(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def read(self) -> bytes:
        return bytes(await self.stream.receive_some(_READ_BYTES))

    async def end(self) -> None:
        await self.stream.send_eof()


class Tcp(Kind):
    """Trio's sockets, nothing else: a connection a pipe."""

    async def serve(self, ready: Callable[[str], None]) -> None:
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            ready(str(listeners[0].socket.getsockname()[1]))
            await trio.serve_listeners(self._accept, listeners, handler_nursery=nursery)

    async def _accept(self, stream: trio.SocketStream) -> None:
        await _obey(TrioPipe(stream), await stream.receive_some(1))

    @asynccontextmanager
    async def open_pipes(self, address: str) -> AsyncIterator[Open]:
        async def open_pipe(protocol: str) -> Pipe:
            stream = await trio.open_tcp_stream("127.0.0.1", int(address))
            await stream.send_all(b"s" if protocol == SINK else b"e")
            return TrioPipe(stream)

        yield open_pipe


async def _obey(pipe: Pipe, wish: bytes | bytearray) -> None:
    await (sink(pipe) if wish == b"s" else echo(pipe))


class TlsPipe(TrioPipe):
    """TLS has no half-close: an empty line of our own ends a direction."""

    _END = b"end!"

    def __init__(self, stream: trio.SSLStream[trio.SocketStream]) -> None:
        super().__init__(stream)
        self._ended = False

    async def read(self) -> bytes:
        if self._ended:
            return b""
        data = await super().read()
        if data.endswith(self._END):
            self._ended = True
            return data[: -len(self._END)]
        return data

    async def end(self) -> None:
        await self.stream.send_all(self._END)


class Tls(Tcp):
    """Trio's own TLS stream over the same."""

    async def serve(self, ready: Callable[[str], None]) -> None:
        make_certificate(self.folder)
        await super().serve(ready)

    async def _accept(self, stream: trio.SocketStream) -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.folder / "cert.pem", self.folder / "key.pem")
        secure = trio.SSLStream(stream, context, server_side=True)
        await _obey(TlsPipe(secure), await secure.receive_some(1))

    @asynccontextmanager
    async def open_pipes(self, address: str) -> AsyncIterator[Open]:
        context = ssl.create_default_context(cafile=self.folder / "cert.pem")

        async def open_pipe(protocol: str) -> Pipe:
            stream = trio.SSLStream(
                await trio.open_tcp_stream("127.0.0.1", int(address)), context, server_hostname="127.0.0.1"
            )
            await stream.send_all(b"s" if protocol == SINK else b"e")
            return TlsPipe(stream)

        yield open_pipe


class HttpPipe:
    """One POST: what is written is its body, what is read its answer. An echo takes a POST for each write."""

    def __init__(self, client: httpx.AsyncClient, url: str, nursery: trio.Nursery, *, at_once: bool) -> None:
        self._client = client
        self._url = url
        self._at_once = at_once
        self._send, self._body = trio.open_memory_channel[bytes](0)
        self._answered = trio.Event()
        self._answer = b""
        if not at_once:
            nursery.start_soon(self._post, self._body)

    async def _post(self, body: Any) -> None:
        response = await self._client.post(self._url, content=body)
        self._answer = response.raise_for_status().content
        self._answered.set()

    async def write(self, data: bytes) -> None:
        if self._at_once:
            await self._post(data)
        else:
            await self._send.send(data)

    async def end(self) -> None:
        await self._send.aclose()
        if self._at_once:
            self._answered.set()

    async def read(self) -> bytes:
        await self._answered.wait()
        answer, self._answer = self._answer, b""
        return answer


class Https(Kind):
    """httpx to hypercorn, both on trio, HTTP/1.1 over TLS: a request a pipe."""

    async def serve(self, ready: Callable[[str], None]) -> None:
        make_certificate(self.folder)
        config = hypercorn.config.Config()
        config.bind, config.errorlog = ["127.0.0.1:0"], None
        config.certfile, config.keyfile = str(self.folder / "cert.pem"), str(self.folder / "key.pem")
        config.alpn_protocols = ["http/1.1"]
        async with trio.open_nursery() as nursery:
            urls = await nursery.start(hypercorn.trio.serve, self._app, config)
            ready(urls[0])

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        while scope["type"] == "lifespan":
            event = await receive()
            await send({"type": event["type"] + ".complete"})
        body, more = b"", True
        while more:
            event = await receive()
            more = event.get("more_body", False)
            if scope["path"] == ECHO:
                body += event["body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body or b"\x01"})

    @asynccontextmanager
    async def open_pipes(self, address: str) -> AsyncIterator[Open]:
        context = ssl.create_default_context(cafile=self.folder / "cert.pem")
        async with (
            httpx.AsyncClient(verify=context, trust_env=False, timeout=60) as client,
            trio.open_nursery() as nursery,
        ):

            async def open_pipe(protocol: str) -> Pipe:
                return HttpPipe(client, address + protocol, nursery, at_once=protocol == ECHO)

            yield open_pipe


class LibP2PPipe:
    def __init__(self, stream: Any) -> None:
        self.stream = stream

    async def write(self, data: bytes) -> None:
        await self.stream.write(data)

    async def read(self) -> bytes:
        try:
            return bytes(await self.stream.read(_READ_BYTES))
        except StreamEOF:
            return b""

    async def end(self) -> None:
        await self.stream.close()


class LibP2P(Kind):
    """py-libp2p as it comes, Noise and Yamux: a stream a pipe."""

    async def serve(self, ready: Callable[[str], None]) -> None:
        host = new_host(muxer_opt=create_yamux_muxer_option())

        async def on_sink(stream: Any) -> None:
            await sink(LibP2PPipe(stream))

        async def on_echo(stream: Any) -> None:
            await echo(LibP2PPipe(stream))

        host.set_stream_handler(TProtocol(SINK), on_sink)
        host.set_stream_handler(TProtocol(ECHO), on_echo)
        async with host.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]):
            ready(str(host.get_addrs()[0]))
            await trio.sleep_forever()

    @asynccontextmanager
    async def open_pipes(self, address: str) -> AsyncIterator[Open]:
        host = new_host(muxer_opt=create_yamux_muxer_option())
        async with host.run([]):
            info = info_from_p2p_addr(Multiaddr(address))
            await host.connect(info)

            async def open_pipe(protocol: str) -> Pipe:
                return LibP2PPipe(await host.new_stream(info.peer_id, [TProtocol(protocol)]))

            yield open_pipe


class Fednode(Kind):
    """Ours: a stream a pipe."""

    async def serve(self, ready: Callable[[str], None]) -> None:
        async def on_sink(stream: Stream) -> None:
            await sink(TrioPipe(stream))

        async def on_echo(stream: Stream) -> None:
            await echo(TrioPipe(stream))

        async with open_network(NetSettings(("/ip4/127.0.0.1/tcp/0",), os.urandom(32))) as network:
            network.serve(SINK, on_sink)
            network.serve(ECHO, on_echo)
            ready(network.addresses()[0])
            await trio.sleep_forever()

    @asynccontextmanager
    async def open_pipes(self, address: str) -> AsyncIterator[Open]:
        async with open_network(NetSettings((), os.urandom(32))) as network:
            peer = await network.connect(address, deadline_s=5)

            async def open_pipe(protocol: str) -> Pipe:
                return TrioPipe(await network.open(peer, protocol, deadline_s=5))

            yield open_pipe


KINDS: dict[str, type[Kind]] = {"tcp": Tcp, "tls": Tls, "https": Https, "libp2p": LibP2P, "fednode": Fednode}


def make_certificate(folder: Path) -> None:
    """cert.pem and key.pem for 127.0.0.1, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(pem)
