"""Streams of libp2p's multiplexer as trio streams, and back again for libp2p's own protocols."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import trio
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.network.stream.exceptions import StreamEOF, StreamError, StreamReset
from libp2p.peer.id import ID
from libp2p.rcmgr.metrics import Direction
from libp2p.stream_muxer.exceptions import MuxedStreamEOF

from node.net.port import PeerId, Stream
from node.net.turn import Turn

_CHUNK_BYTES = 64 * 1024


class LibP2PStream(Stream):
    """See the contract of `node.net.port.Stream`."""

    def __init__(self, muxed: Any, peer: PeerId, nursery: trio.Nursery, write_stall_s: float) -> None:
        self.peer = peer
        self.protocol = ""
        self._muxed = muxed
        self._nursery = nursery
        self._write_stall_s = write_stall_s
        self._sending = Turn("sending on")
        self._receiving = Turn("receiving from")
        self._closed = False
        self._broken = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        with self._sending:
            self._check_usable()
            await trio.lowlevel.checkpoint()
            view = memoryview(data)
            for offset in range(0, len(view), _CHUNK_BYTES):
                await self._send(bytes(view[offset : offset + _CHUNK_BYTES]))

    async def _send(self, chunk: bytes) -> None:
        try:
            with trio.fail_after(self._write_stall_s):
                await self._muxed.write(chunk)
        except Exception as exc:
            self.reset()
            raise trio.BrokenResourceError(f"stream to {self.peer} lost: {exc}") from exc

    async def wait_send_all_might_not_block(self) -> None:
        with self._sending:
            self._check_usable()
            await trio.lowlevel.checkpoint()

    async def send_eof(self) -> None:
        with self._sending:
            self._check_usable()
            await self._finish()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        with self._receiving:
            self._check_usable()
            if max_bytes is not None and max_bytes < 1:
                raise ValueError("max_bytes must be at least 1")
            await trio.lowlevel.checkpoint()
            try:
                return bytes(await self._muxed.read(max_bytes or _CHUNK_BYTES))
            except MuxedStreamEOF as exc:
                if self._muxed.conn.event_shutting_down.is_set():
                    raise self._break(exc) from exc
                return b""
            except Exception as exc:
                raise self._break(exc) from exc

    def _break(self, cause: Exception) -> trio.BrokenResourceError:
        self._broken = True
        return trio.BrokenResourceError(f"stream to {self.peer} lost: {cause}")

    def reset(self) -> None:
        if not self._broken and not self._closed:
            self._broken = True
            self._nursery.start_soon(self._reset_quietly)

    async def _reset_quietly(self) -> None:
        with trio.move_on_after(1):
            with suppress(Exception):  # the stream or its connection is gone already
                await self._muxed.reset()

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            if not self._broken:
                self._nursery.start_soon(self._close_quietly)
        await trio.lowlevel.checkpoint()

    async def _close_quietly(self) -> None:
        with trio.move_on_after(1):
            with suppress(trio.BrokenResourceError):
                await self._finish()

    async def _finish(self) -> None:
        try:
            with trio.fail_after(self._write_stall_s):
                await self._muxed.close()
        except Exception as exc:
            raise self._break(exc) from exc

    def _check_usable(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this stream was closed")
        if self._broken:
            raise trio.BrokenResourceError(f"stream to {self.peer} was reset")


class NetStreamView(INetStream):  # type: ignore[misc]
    """A LibP2PStream as libp2p's protocol handlers want it."""

    metric_send_channel = None

    def __init__(self, stream: LibP2PStream, connection: Any, direction: Direction) -> None:
        self._stream = stream
        self.swarm_conn = connection
        self.muxed_conn = connection.muxed_conn
        self._direction = direction

    def get_protocol(self) -> TProtocol | None:
        return TProtocol(self._stream.protocol)

    def set_protocol(self, protocol_id: TProtocol) -> None:
        self._stream.protocol = str(protocol_id)

    async def read(self, n: int | None = None) -> bytes:
        try:
            data = await self._stream.receive_some(n if n is None or n > 0 else None)
        except trio.BrokenResourceError as exc:
            raise StreamReset(str(exc)) from exc
        except trio.ClosedResourceError as exc:
            raise StreamError(str(exc)) from exc
        if not data:
            raise StreamEOF
        return data

    async def write(self, data: bytes) -> None:
        try:
            await self._stream.send_all(data)
        except trio.BrokenResourceError as exc:
            raise StreamReset(str(exc)) from exc
        except trio.ClosedResourceError as exc:
            raise StreamError(str(exc)) from exc

    async def close(self) -> None:
        await self._stream.aclose()

    async def close_write(self) -> None:
        await self._stream.send_eof()

    async def reset(self) -> None:
        self._stream.reset()

    def get_remote_address(self) -> tuple[str, int] | None:
        address: tuple[str, int] | None = self.muxed_conn.get_remote_address()
        return address


def peer_text(peer: ID) -> PeerId:
    """A libp2p peer id as fednode writes it."""
    return str(peer.to_base58())
