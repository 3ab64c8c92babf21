"""Byte streams between two parties in one process, with the contract of `node.net.port.Stream`."""

from __future__ import annotations

from collections.abc import Callable

import trio

from node.net.guarded_stream import GuardedStream
from node.net.port import PeerId

_WINDOW_BYTES = 256 * 1024


class _Pipe:
    """One direction: at most `_WINDOW_BYTES` on the way."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.ended = False
        self.broken = False
        self._changed = trio.Event()

    def changed(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def wait(self) -> None:
        await self._changed.wait()


class MemoryStream(GuardedStream):
    def __init__(self, peer: PeerId, outgoing: _Pipe, incoming: _Pipe, write_stall_s: float) -> None:
        super().__init__(peer)
        self.on_closed: Callable[[MemoryStream], None] = lambda _: None
        self._out = outgoing
        self._in = incoming
        self._write_stall_s = write_stall_s

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        with self._sending:
            self._check_writable()
            await trio.lowlevel.checkpoint()
            left = memoryview(data).cast("B")
            started = False
            try:
                while left:
                    self._check_writable()
                    room = _WINDOW_BYTES - len(self._out.buffer)
                    if room:
                        self._out.buffer += left[:room]
                        left = left[room:]
                        started = True
                        self._out.changed()
                    else:
                        await self._wait_for_room()
            except trio.Cancelled:
                self._torn = started
                raise

    async def _wait_for_room(self) -> None:
        with trio.move_on_after(self._write_stall_s) as scope:
            await self._out.wait()
        if scope.cancelled_caught:
            self.reset()
            raise trio.BrokenResourceError(f"{self.peer} took nothing for {self._write_stall_s:g} s")

    def _end(self) -> None:
        self._out.ended = True
        self._out.changed()

    def _take(self, max_bytes: int | None) -> bytes | None:
        if not self._in.buffer:
            return b"" if self._in.ended else None
        taken = bytes(self._in.buffer[:max_bytes])
        del self._in.buffer[: len(taken)]
        self._in.changed()
        return taken

    async def _until_readable(self) -> None:
        await self._in.wait()

    def reset(self) -> None:
        if not self._closed:
            self.lose()

    def lose(self) -> None:
        """Break both directions, as a reset and a lost connection do; an end that has arrived stays."""
        for pipe in (self._out, self._in):
            if not (pipe is self._in and pipe.ended):
                pipe.broken = True
                pipe.buffer.clear()
            pipe.changed()

    async def aclose(self) -> None:
        if not self._closed:
            if self._torn:
                self.reset()
            self._closed = True
            self.on_closed(self)
            self._out.ended = True
            self._out.changed()
            self._in.changed()
        await trio.lowlevel.checkpoint()

    def _why_lost(self) -> str | None:
        return f"stream to {self.peer}: the stream was reset" if self._in.broken else None

    def _check_writable(self) -> None:
        super()._check_writable()
        if self._out.broken or self._out.ended:
            raise trio.BrokenResourceError(f"stream to {self.peer}: the stream was reset or ended")


def stream_pair(one: PeerId, other: PeerId, protocol: str, write_stall_s: float) -> tuple[MemoryStream, MemoryStream]:
    """The stream that `one` has to `other`, and the one that `other` has to `one`."""
    there, back = _Pipe(), _Pipe()
    first = MemoryStream(other, there, back, write_stall_s)
    second = MemoryStream(one, back, there, write_stall_s)
    first.protocol = second.protocol = protocol
    return first, second
