"""What both kinds of streams share of the contract in node/net/port.py: turns, and no use after the end."""

from __future__ import annotations

from abc import abstractmethod

import trio

from node.net.port import PeerId, Stream
from node.net.turn import Turn


class GuardedStream(Stream):
    def __init__(self, peer: PeerId) -> None:
        self.peer = peer
        self.protocol = ""
        self._sending = Turn("sending on")
        self._receiving = Turn("receiving from")
        self._closed = False
        self._torn = False  # a send was cancelled in the middle: the peer must not take the rest for the whole

    async def wait_send_all_might_not_block(self) -> None:
        with self._sending:
            self._check_writable()
            await trio.lowlevel.checkpoint()

    async def send_eof(self) -> None:
        with self._sending:
            self._check_writable()
            await trio.lowlevel.checkpoint()
            self._end()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if max_bytes is not None and max_bytes < 1:
            raise ValueError("max_bytes must be at least 1")
        with self._receiving:
            self._check_usable()
            await trio.lowlevel.checkpoint()
            while True:
                self._check_usable()
                data = self._take(max_bytes)
                if data is not None:
                    return data
                await self._until_readable()

    def _check_usable(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this stream was closed")
        if (reason := self._why_lost()) is not None:
            raise trio.BrokenResourceError(reason)

    def _check_writable(self) -> None:
        self._check_usable()
        if self._torn:
            raise trio.BrokenResourceError("a send on this stream was cancelled in the middle")

    @abstractmethod
    def _why_lost(self) -> str | None:
        """What to say when both directions are gone."""

    @abstractmethod
    def _end(self) -> None:
        """End our direction. Raises BrokenResourceError."""

    @abstractmethod
    def _take(self, max_bytes: int | None) -> bytes | None:
        """What has come; None when nothing is there yet, b"" at the end. Raises BrokenResourceError."""

    @abstractmethod
    async def _until_readable(self) -> None:
        """Wait until `_take` may give something else."""
