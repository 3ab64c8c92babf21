"""Streams of our multiplexer as trio streams, and the same as libp2p's protocols want them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.network.stream.exceptions import StreamEOF, StreamError, StreamReset
from libp2p.peer.id import ID
from libp2p.rcmgr.metrics import Direction

from node.net.guarded_stream import GuardedStream
from node.net.port import PeerId, Stream
from node.net.yamux_machine import StreamLostError

if TYPE_CHECKING:
    from node.net.libp2p_muxer import Muxer

_RECEIVE_BYTES = 256 * 1024


class LibP2PStream(GuardedStream):
    """See the contract of `node.net.port.Stream`."""

    def __init__(self, muxer: Muxer, stream_id: int, peer: PeerId) -> None:
        super().__init__(peer)
        self._muxer = muxer
        self._machine = muxer.machine
        self._id = stream_id
        self._readable = trio.Event()
        self._writable = trio.Event()
        self._lost: str | None = None

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        with self._sending:
            self._check_writable()
            await trio.lowlevel.checkpoint()
            view = memoryview(data).cast("B")
            if not view:
                return
            try:
                self._machine.queue(self._id, view)
                self._muxer.wake_writer()
                await self._until_taken()
            except StreamLostError as exc:
                raise self._broken(exc) from exc
            except BaseException:
                self._torn = self._machine.unqueue(self._id) < len(view)
                raise

    async def _until_taken(self) -> None:
        left = self._machine.pending(self._id)
        while left:
            self._writable = trio.Event()
            with trio.move_on_after(self._muxer.write_stall_s) as scope:
                await self._writable.wait()
            self._check_usable()
            left = self._machine.pending(self._id)
            # With room in the window the connection is slow, and its writer watches over that.
            if scope.cancelled_caught and not self._machine.may_send(self._id):
                self.reset()
                raise trio.BrokenResourceError(f"{self.peer} took nothing for {self._muxer.write_stall_s:g} s")

    def _end(self) -> None:
        try:
            self._machine.finish(self._id)
        except StreamLostError as exc:
            raise self._broken(exc) from exc
        self._muxer.wake_writer()

    def _take(self, max_bytes: int | None) -> bytes | None:
        try:
            data = self._machine.read(self._id, max_bytes or _RECEIVE_BYTES)
        except StreamLostError as exc:
            raise self._broken(exc) from exc
        if data is not None:
            self._muxer.after_read()
        return data

    async def _until_readable(self) -> None:
        self._readable = trio.Event()
        await self._readable.wait()

    def reset(self) -> None:
        if not self._closed and self._lost is None:
            self._lost = "the stream was reset"
            self._muxer.release(self._id, reset=True)
            self.wake_reader()
            self.wake_writer()

    async def aclose(self) -> None:
        if not self._closed:
            if self._lost is None:
                self._muxer.release(self._id, reset=self._torn)
            self._closed = True
            self.wake_reader()
            self.wake_writer()
        await trio.lowlevel.checkpoint()

    def wake_reader(self) -> None:
        self._readable.set()

    def wake_writer(self) -> None:
        self._writable.set()

    def _why_lost(self) -> str | None:
        return self._lost

    def _broken(self, cause: StreamLostError) -> trio.BrokenResourceError:
        return trio.BrokenResourceError(f"stream to {self.peer}: {cause}")


class NetStreamView(INetStream):  # type: ignore[misc]
    """A LibP2PStream as libp2p's protocol handlers want it."""

    metric_send_channel = None

    def __init__(self, stream: Stream, connection: Any, direction: Direction) -> None:
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
        return bytes(data)

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
