"""A TCP connection as libp2p's handshake wants it, buffered, and with every failure as one exception."""

from __future__ import annotations

import trio
from libp2p.abc import IRawConnection
from libp2p.connection_types import ConnectionType
from libp2p.io.exceptions import ConnectionClosedError
from multiaddr import Multiaddr

_RECEIVE_BYTES = 256 * 1024


class RawConnection(IRawConnection):  # type: ignore[misc]
    """`read(n)` gives at most n bytes and b"" at the end; a lost connection raises ConnectionClosedError."""

    def __init__(self, stream: trio.SocketStream, *, is_initiator: bool, remote: tuple[str, int]) -> None:
        self.is_initiator = is_initiator
        self.remote = remote
        self._stream = stream
        self._buffer = bytearray()

    async def read(self, n: int | None = None) -> bytes:
        if not self._buffer:
            self._buffer += await self.receive()
        taken = bytes(self._buffer if n is None else self._buffer[:n])
        del self._buffer[: len(taken)]
        return taken

    async def receive(self) -> bytes:
        """Whatever the socket has, past the buffer; b"" at the end."""
        try:
            return bytes(await self._stream.receive_some(_RECEIVE_BYTES))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise ConnectionClosedError(f"connection lost: {exc}", transport="tcp") from exc

    def take_buffer(self) -> bytes:
        """Bytes that were read from the socket and not yet asked for."""
        taken = bytes(self._buffer)
        self._buffer.clear()
        return taken

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise ConnectionClosedError(f"connection lost: {exc}", transport="tcp") from exc

    async def close(self) -> None:
        await trio.aclose_forcefully(self._stream)

    def get_remote_address(self) -> tuple[str, int] | None:
        return self.remote

    def get_transport_addresses(self) -> list[Multiaddr]:
        host, port = self.remote
        kind = "ip6" if ":" in host else "ip4"
        return [Multiaddr(f"/{kind}/{host}/tcp/{port}")]

    def get_connection_type(self) -> ConnectionType:
        return ConnectionType.DIRECT
