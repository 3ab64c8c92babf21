"""One side of a Yamux connection as a machine without I/O, clock or tasks.

Bytes go in by `feed` and come out of `output`. What changed for the user of a stream is collected in `accepted`,
`readable` and `writable`, which the driver empties. Flow control is enforced in both directions, and everything
that a peer can make us remember has a bound in `YamuxLimits`.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field

from node.net.yamux_frames import HEADER, HEADER_BYTES, INITIAL_WINDOW_BYTES, Flag, FrameType, GoAway, header

_STREAM_ID_MAX = 2**32 - 1
_SEND_WINDOW_MAX_BYTES = 2**31
_FRAMES_AT_A_TIME = 512  # a message of 64 KiB may hold five thousand, each of which costs ten microseconds


class YamuxViolationError(Exception):
    """The peer broke the protocol or a limit: the connection must end. A GO_AWAY is in the output."""


class StreamLostError(Exception):
    """The stream was reset by either side, or the connection ended before the peer ended the stream."""


@dataclass(frozen=True, slots=True)
class YamuxLimits:
    streams: int = 256
    """streams open at once in each direction; inbound ones beyond are reset"""
    window_bytes: int = 512 * 1024
    """receive window of a stream once its user reads; before that the protocol's 256 KiB"""
    frame_bytes: int = 65519 - HEADER_BYTES
    """payload of the data frames sent: a frame fits one Noise message"""
    control_bytes: int = 64 * 1024
    """answers (pings, resets) waiting for a peer that does not read; beyond, the connection ends"""
    lingering: int = 512
    """reset streams for which late data is expected"""
    nuisances: int = 4096
    """unexpected frames for streams that are gone; beyond, the connection ends"""


@dataclass(slots=True)
class _Stream:
    send_window: int = INITIAL_WINDOW_BYTES
    receive_window: int = INITIAL_WINDOW_BYTES  # what the peer may still send
    window_target: int = INITIAL_WINDOW_BYTES
    buffer: bytearray = field(default_factory=bytearray)
    pending: deque[memoryview] = field(default_factory=deque)
    finishing: bool = False  # FIN is wanted after `pending`
    finished: bool = False  # FIN was sent
    peer_finished: bool = False
    lost: bool = False
    writes_lost: bool = False  # reset after the peer's end: what came before it may still be read
    cut: bool = False  # something was still `pending` when it was lost
    released: bool = False  # its user is gone: what arrives is dropped


class YamuxMachine:
    def __init__(self, *, is_client: bool, limits: YamuxLimits | None = None) -> None:
        self.accepted: deque[int] = deque()
        self.readable: set[int] = set()
        self.writable: set[int] = set()
        self.ended = False  # the peer said GO_AWAY, or we did
        self.pongs = 0  # answers to our pings
        self.refused = 0  # inbound streams beyond the limit
        self.buffered_bytes = 0  # received and not yet read, all streams
        self._limits = limits or YamuxLimits()
        self._parity = 1 if is_client else 0
        self._next_id = 1 if is_client else 2
        self._last_peer_id = 0
        self._streams: dict[int, _Stream] = {}
        self._counts = [0, 0]  # streams open by parity of their id
        self._nuisances = 0
        self._lingering: OrderedDict[int, int] = OrderedDict()  # stream id to bytes that may still come
        self._control: deque[bytes] = deque()
        self._control_bytes = 0
        self._ready: deque[int] = deque()  # streams with something to send, each once
        self._ready_set: set[int] = set()
        self._header = bytearray()
        self._payload_left = 0
        self._payload_stream: _Stream | None = None
        self._payload_id = 0
        self._payload_fin = False

    # Input

    def feed(self, data: bytes) -> None:
        """Bytes from the peer, in pieces of any size. Raises YamuxViolationError; feed nothing after it."""
        rest = memoryview(data)
        while rest:
            rest = self.feed_some(rest)

    def feed_some(self, data: bytes | memoryview) -> memoryview:
        """The same, but no more than some milliseconds of small frames; what is left is to be fed next."""
        view = memoryview(data)
        frames = 0
        while view:
            if frames == _FRAMES_AT_A_TIME:
                return view
            if self._payload_left:
                taken = view[: self._payload_left]
                self._payload_left -= len(taken)
                self._receive(taken)
                view = view[len(taken) :]
                continue
            if not self._header and len(view) >= HEADER_BYTES:
                fields, view = HEADER.unpack_from(view), view[HEADER_BYTES:]
            else:
                missing = HEADER_BYTES - len(self._header)
                self._header += view[:missing]
                view = view[missing:]
                if len(self._header) < HEADER_BYTES:
                    return view
                fields = HEADER.unpack(self._header)
                self._header.clear()
            self._frame(*fields)
            frames += 1
        return view

    def _frame(self, version: int, kind: int, flags: int, stream_id: int, length: int) -> None:
        if version != 0:
            raise self._violation(f"version {version}")
        if kind == FrameType.DATA:
            self._data_frame(flags, stream_id, length)
        elif kind == FrameType.WINDOW_UPDATE:
            stream = self._stream_of(flags, stream_id)
            if stream is None:
                self._nuisance()
            else:
                self._window_update(stream, stream_id, length)
                self._end_flags(stream, stream_id, flags)
        elif kind == FrameType.PING:
            if flags & Flag.SYN:
                self._send_control(header(FrameType.PING, Flag.ACK, 0, length))
            elif flags & Flag.ACK:
                self.pongs += 1
        elif kind == FrameType.GO_AWAY:
            self.ended = True
        else:
            raise self._violation(f"frame type {kind}")

    def _data_frame(self, flags: int, stream_id: int, length: int) -> None:
        stream = self._stream_of(flags, stream_id)
        if stream is None:
            self._data_for_no_stream(stream_id, length)
        else:
            if length > stream.receive_window:
                raise self._violation(f"{length} bytes into a window of {stream.receive_window}")
            if length and stream.peer_finished:
                raise self._violation("data after the end")
            stream.receive_window -= length
        self._payload_left = length
        self._payload_stream = stream
        self._payload_id = stream_id
        self._payload_fin = False
        if stream is None:
            return
        if flags & Flag.RST:
            self._lose(stream, stream_id)
        elif flags & Flag.FIN:
            if length:
                self._payload_fin = True
            else:
                self._peer_finished(stream, stream_id)

    def _data_for_no_stream(self, stream_id: int, length: int) -> None:
        """What was on its way when the stream was reset is in order; more than its window allowed is not."""
        credit = self._lingering.get(stream_id, 0)
        if length > max(INITIAL_WINDOW_BYTES, self._limits.window_bytes):
            raise self._violation(f"{length} bytes for no stream")
        if 0 < length <= credit:
            self._lingering[stream_id] = credit - length
        else:
            self._nuisance()

    def _receive(self, data: memoryview) -> None:
        stream = self._payload_stream
        if stream is None or stream.lost:
            return
        if not stream.released:
            stream.buffer += data
            self.buffered_bytes += len(data)
            self.readable.add(self._payload_id)
        if not self._payload_left and self._payload_fin:
            self._peer_finished(stream, self._payload_id)

    def _stream_of(self, flags: int, stream_id: int) -> _Stream | None:
        """The stream that a frame is for; None when there is none (any more) and the frame is to be skipped."""
        if flags & Flag.SYN:
            return self._accept(stream_id)
        stream = self._streams.get(stream_id)
        if stream is None:
            ours = stream_id & 1 == self._parity
            if stream_id == 0 or stream_id > (self._next_id - 2 if ours else self._last_peer_id):
                raise self._violation(f"a frame for stream {stream_id}, which never was")
        return stream

    def _accept(self, stream_id: int) -> _Stream | None:
        if stream_id == 0 or stream_id & 1 == self._parity or stream_id <= self._last_peer_id:
            raise self._violation(f"a new stream with the id {stream_id}")
        self._last_peer_id = stream_id
        if self.ended or self._counts[stream_id & 1] >= self._limits.streams:
            self.refused += 1
            self._linger(stream_id, INITIAL_WINDOW_BYTES)
            self._send_control(header(FrameType.WINDOW_UPDATE, Flag.RST, stream_id, 0))
            return None
        stream = self._add(stream_id)
        self._send_control(header(FrameType.WINDOW_UPDATE, Flag.ACK, stream_id, 0))
        self.accepted.append(stream_id)
        return stream

    def _window_update(self, stream: _Stream, stream_id: int, length: int) -> None:
        stream.send_window += length
        if stream.send_window > _SEND_WINDOW_MAX_BYTES:
            raise self._violation("a window above 2 GiB")
        if stream.pending and length:
            self._make_ready(stream_id)

    def _end_flags(self, stream: _Stream, stream_id: int, flags: int) -> None:
        if flags & Flag.RST and stream.peer_finished:
            self._lose_writes(stream, stream_id)
        elif flags & Flag.RST:
            self._lose(stream, stream_id)
        elif flags & Flag.FIN:
            self._peer_finished(stream, stream_id)

    def _peer_finished(self, stream: _Stream, stream_id: int) -> None:
        stream.peer_finished = True
        self.readable.add(stream_id)
        self._drop_if_done(stream, stream_id)

    def _nuisance(self) -> None:
        self._nuisances += 1
        if self._nuisances > self._limits.nuisances:
            raise self._violation("too many frames for no stream")

    def _violation(self, what: str) -> YamuxViolationError:
        self.go_away(GoAway.PROTOCOL_ERROR)
        return YamuxViolationError(what)

    def end(self) -> None:
        """The connection ended: every stream that the peer did not end is lost."""
        self.ended = True
        for stream_id, stream in list(self._streams.items()):
            if stream.peer_finished:
                self._lose_writes(stream, stream_id)
            else:
                self._lose(stream, stream_id)

    # Streams

    def open(self) -> int:
        """The id of a new stream. Raises StreamLostError when the connection ends or too many are open."""
        if self.ended:
            raise StreamLostError("the connection is ending")
        if self._counts[self._parity] >= self._limits.streams:
            raise StreamLostError(f"{self._limits.streams} streams to this peer are open already")
        if self._next_id > _STREAM_ID_MAX:
            raise StreamLostError("the connection has used up its stream ids")
        stream_id = self._next_id
        self._next_id += 2
        self._add(stream_id)
        self._send_control(header(FrameType.WINDOW_UPDATE, Flag.SYN, stream_id, 0))
        return stream_id

    def read(self, stream_id: int, max_bytes: int) -> bytes | None:
        """Up to `max_bytes` (at least 1); None when nothing is there yet, b"" at the end. Raises StreamLostError."""
        stream = self._streams[stream_id]
        if stream.lost:
            raise StreamLostError("the stream was reset")
        if not stream.buffer:
            return b"" if stream.peer_finished else None
        if len(stream.buffer) <= max_bytes:
            data = bytes(stream.buffer)
            stream.buffer.clear()
        else:
            data = bytes(stream.buffer[:max_bytes])
            del stream.buffer[:max_bytes]
        self.buffered_bytes -= len(data)
        if not stream.peer_finished:
            stream.window_target = self._limits.window_bytes
            if self._window_missing(stream) >= stream.window_target // 2:
                self._make_ready(stream_id)
        return data

    def queue(self, stream_id: int, data: memoryview) -> None:
        """Send `data` as the peer's window allows. It must not change until `pending` is False."""
        stream = self._to_write(stream_id)
        if stream.finishing:
            raise StreamLostError("the stream was ended")
        if data:
            stream.pending.append(data)
            if stream.send_window:
                self._make_ready(stream_id)

    def pending(self, stream_id: int) -> int:
        """Bytes queued and not yet handed out. Raises StreamLostError when the stream was lost with some left."""
        stream = self._streams[stream_id]
        if stream.cut:
            raise StreamLostError("the stream was reset")
        return sum(map(len, stream.pending))

    def unqueue(self, stream_id: int) -> int:
        """Forget what is queued and not yet handed out; its length in bytes."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return 0
        left = sum(map(len, stream.pending))
        stream.pending.clear()
        return left

    def may_send(self, stream_id: int) -> bool:
        """Whether the peer's window has room."""
        return self._streams[stream_id].send_window > 0

    def finish(self, stream_id: int) -> None:
        """End our direction after what is queued. Raises StreamLostError."""
        stream = self._to_write(stream_id)
        if not stream.finishing:
            stream.finishing = True
            self._make_ready(stream_id)

    def reset(self, stream_id: int) -> None:
        """Abort the stream; the peer is told, unless it knows."""
        stream = self._streams.get(stream_id)
        if stream is not None and not stream.lost:
            if not (stream.finished and stream.peer_finished) and not self.ended:
                self._linger(stream_id, stream.receive_window)
                self._send_control(header(FrameType.WINDOW_UPDATE, Flag.RST, stream_id, 0))
            self._lose(stream, stream_id)

    def release(self, stream_id: int) -> bool:
        """The user of the stream is gone. Ends our direction; what still arrives is dropped.

        True when the peer has not ended its direction: the driver then resets the stream after a while.
        """
        stream = self._streams.get(stream_id)
        if stream is None:
            return False
        stream.released = True
        self.buffered_bytes -= len(stream.buffer)
        stream.buffer.clear()
        if not (stream.lost or stream.writes_lost):
            self.finish(stream_id)
        self._drop_if_done(stream, stream_id)
        return stream_id in self._streams

    # Connection

    def ping(self) -> None:
        self._send_control(header(FrameType.PING, Flag.SYN, 0, 1))

    def go_away(self, reason: GoAway) -> None:
        """Say that nothing more will come. To be followed by a last `output`."""
        self.ended = True
        self._control.append(header(FrameType.GO_AWAY, 0, 0, reason))

    @property
    def streams(self) -> int:
        return len(self._streams)

    @property
    def wants_output(self) -> bool:
        return bool(self._control or self._ready)

    def output(self, max_bytes: int) -> list[bytes | memoryview]:
        """Pieces to send in this order: control frames, then data in turn of the streams, about `max_bytes`."""
        pieces: list[bytes | memoryview] = list(self._control)
        size = self._control_bytes
        self._control.clear()
        self._control_bytes = 0
        while self._ready and size < max_bytes:
            stream_id = self._ready.popleft()
            self._ready_set.discard(stream_id)
            stream = self._streams.get(stream_id)
            if stream is not None and not stream.lost:
                size += self._output_of(stream, stream_id, pieces)
        return pieces

    def _output_of(self, stream: _Stream, stream_id: int, pieces: list[bytes | memoryview]) -> int:
        before = len(pieces)
        missing = self._window_missing(stream)
        if missing >= stream.window_target // 2 and not stream.peer_finished and not stream.released:
            stream.receive_window += missing
            pieces.append(header(FrameType.WINDOW_UPDATE, 0, stream_id, missing))
        if stream.pending and stream.send_window:
            self._output_data(stream, stream_id, pieces)
        if stream.finishing and not stream.finished and not stream.pending:
            stream.finished = True
            pieces.append(header(FrameType.WINDOW_UPDATE, Flag.FIN, stream_id, 0))
            self._drop_if_done(stream, stream_id)
        return sum(map(len, pieces[before:]))

    def _output_data(self, stream: _Stream, stream_id: int, pieces: list[bytes | memoryview]) -> None:
        first = stream.pending.popleft()
        length = min(len(first), stream.send_window, self._limits.frame_bytes)
        pieces += (header(FrameType.DATA, 0, stream_id, length), first[:length])
        stream.send_window -= length
        if length < len(first):
            stream.pending.appendleft(first[length:])
        if stream.pending and stream.send_window:
            self._make_ready(stream_id)
        self.writable.add(stream_id)

    # Internals

    def _to_write(self, stream_id: int) -> _Stream:
        stream = self._streams[stream_id]
        if stream.lost or stream.writes_lost:
            raise StreamLostError("the stream was reset")
        return stream

    def _linger(self, stream_id: int, credit: int) -> None:
        """Remember that data up to `credit` may still be on its way for a stream that we reset."""
        self._lingering[stream_id] = credit
        if len(self._lingering) > self._limits.lingering:
            self._lingering.popitem(last=False)

    def _add(self, stream_id: int) -> _Stream:
        stream = self._streams[stream_id] = _Stream()
        self._counts[stream_id & 1] += 1
        return stream

    def _window_missing(self, stream: _Stream) -> int:
        return stream.window_target - stream.receive_window - len(stream.buffer)

    def _make_ready(self, stream_id: int) -> None:
        if stream_id not in self._ready_set:
            self._ready_set.add(stream_id)
            self._ready.append(stream_id)

    def _send_control(self, frame: bytes) -> None:
        if self._control_bytes + len(frame) > self._limits.control_bytes:
            raise self._violation("too many answers wait to be read")
        self._control.append(frame)
        self._control_bytes += len(frame)

    def _lose(self, stream: _Stream, stream_id: int) -> None:
        stream.lost = True
        self._drop_pending(stream)
        self.buffered_bytes -= len(stream.buffer)
        stream.buffer.clear()
        self.readable.add(stream_id)
        self.writable.add(stream_id)
        self._drop_if_done(stream, stream_id)

    def _lose_writes(self, stream: _Stream, stream_id: int) -> None:
        stream.writes_lost = stream.finished = True
        self._drop_pending(stream)
        self.writable.add(stream_id)
        self._drop_if_done(stream, stream_id)

    def _drop_pending(self, stream: _Stream) -> None:
        stream.cut |= bool(stream.pending)
        stream.pending.clear()

    def _drop_if_done(self, stream: _Stream, stream_id: int) -> None:
        done = stream.lost or (stream.finished and stream.peer_finished)
        if stream.released and done and self._streams.pop(stream_id, None) is not None:
            self._counts[stream_id & 1] -= 1
