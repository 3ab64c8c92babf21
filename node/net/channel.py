"""Messages over any trio byte stream (libp2p, Unix socket, memory): frames in, frames out, with deadlines."""

from __future__ import annotations

from typing import ClassVar

import trio

from protocol.errors import PeerError
from protocol.frames import FrameDecoder, encode_message
from protocol.messages import Message, decode_message

_RECEIVE_BYTES = 256 * 1024
_JOIN_MAX_BYTES = 16 * 1024  # pieces up to this are sent in one call; larger ones are not worth the copy


class PeerTimeout(PeerError):
    """The peer said nothing, or took nothing, for as long as it may."""

    code: ClassVar[str] = "peer-timeout"


class PeerGone(PeerError):
    """The stream to the peer was reset or lost."""

    code: ClassVar[str] = "peer-gone"


class FrameChannel:
    """Sends and receives `protocol.messages` over one stream. One task may send while another receives.

    `idle_s`: longest silence of the peer within `receive`; `write_s`: longest time for a message to be taken.
    After any error the stream is useless; who owns the channel closes it.
    """

    def __init__(self, stream: trio.abc.HalfCloseableStream, *, idle_s: float, write_s: float) -> None:
        self.stream = stream
        self._idle_s = idle_s
        self._write_s = write_s
        self._decoder = FrameDecoder()
        self._ended = False

    async def send(self, message: Message) -> None:
        """Raises PeerTimeout or PeerGone."""
        pieces = encode_message(message)
        if sum(map(len, pieces)) <= _JOIN_MAX_BYTES:
            pieces = [b"".join(pieces)]
        try:
            with trio.fail_after(self._write_s):
                for piece in pieces:
                    await self.stream.send_all(memoryview(piece))
        except trio.TooSlowError:
            raise PeerTimeout(f"the peer took nothing for {self._write_s:g} s") from None
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise PeerGone("the connection to the peer was lost") from exc

    async def receive(self) -> Message | None:
        """The next message; None when the peer ended its side between two messages.

        Raises PeerTimeout, PeerGone, DecodeError.
        """
        while True:
            frame = self._decoder.next_frame()
            if frame is not None:
                # Hundreds of signed messages may have come at once: nobody else must wait for all of them.
                await trio.lowlevel.checkpoint()
                return decode_message(frame.kind, frame.body)
            if self._ended or not await self._fill():
                self._decoder.at_eof()
                return None

    async def _fill(self) -> bool:
        try:
            with trio.fail_after(self._idle_s):
                data = await self.stream.receive_some(_RECEIVE_BYTES)
        except trio.TooSlowError:
            raise PeerTimeout(f"the peer said nothing for {self._idle_s:g} s") from None
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise PeerGone("the connection to the peer was lost") from exc
        self._decoder.feed(bytes(data))
        self._ended = not data
        return bool(data)

    async def send_eof(self) -> None:
        """End our side; the peer's `receive` then returns None. Raises PeerTimeout or PeerGone."""
        try:
            with trio.fail_after(self._write_s):
                await self.stream.send_eof()
        except trio.TooSlowError:
            raise PeerTimeout(f"the peer took nothing for {self._write_s:g} s") from None
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise PeerGone("the connection to the peer was lost") from exc

    async def aclose(self) -> None:
        await self.stream.aclose()

    async def __aenter__(self) -> FrameChannel:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stream.aclose()
