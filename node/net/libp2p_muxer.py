"""The tasks around a Yamux machine: one reads, one writes, one watches the clock. libp2p sees an IMuxedConn."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

import trio
from libp2p.abc import IMuxedConn, IMuxedStream
from libp2p.connection_types import ConnectionType
from libp2p.io.exceptions import ConnectionClosedError, IOException
from multiaddr import Multiaddr

from node.net.libp2p_noise import NoiseSession
from node.net.libp2p_stream import LibP2PStream, peer_text
from node.net.port import NetLimits
from node.net.receive_budget import ReceiveBudget
from node.net.yamux_frames import GoAway
from node.net.yamux_machine import StreamLostError, YamuxLimits, YamuxMachine, YamuxViolationError

logger = logging.getLogger(__name__)

_BATCH_BYTES = 256 * 1024
_FAREWELL_S = 0.5
_LINGER_S = 5.0  # how long a peer may go on sending on a stream whose user has left

OnStream = Callable[[LibP2PStream], None]


class Muxer(IMuxedConn):  # type: ignore[misc]
    """Many streams over one session; works while `run` does."""

    def __init__(self, session: NoiseSession, limits: NetLimits, budget: ReceiveBudget) -> None:
        self.peer_id = session.get_remote_peer()
        self.peer = peer_text(self.peer_id)
        self.event_started = trio.Event()
        self.machine = YamuxMachine(
            is_client=session.is_initiator, limits=YamuxLimits(streams=limits.streams_per_connection)
        )
        self.write_stall_s = limits.write_stall_s
        self._session = session
        self._limits = limits
        self._budget = budget
        self._streams: dict[int, LibP2PStream] = {}
        self._lingering: deque[tuple[float, int]] = deque()
        self._scope = trio.CancelScope()
        self._write_wanted = trio.Event()
        self.last_received_s = 0.0
        self._write_scope = trio.CancelScope()
        self._torn = False
        self._closed = False

    async def run(self, on_stream: OnStream) -> None:
        """Ends when the connection has, for whatever reason, and closes it. `on_stream` must not block."""
        self.last_received_s = trio.current_time()
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write_all)
                    nursery.start_soon(self._hurry)
                    self.event_started.set()
                    await self._read_all(on_stream)
                    nursery.cancel_scope.cancel()
        finally:
            self._closed = True
            self.event_started.set()
            await self._say_goodbye()
            self.machine.end()
            self._budget.leave(self)
            self._wake_streams()
            with trio.CancelScope() as scope:
                scope.shield = True
                await self._session.close()

    async def _read_all(self, on_stream: OnStream) -> None:
        """Until the peer ends the connection or breaks it."""
        machine = self.machine
        try:
            while not machine.ended:
                messages = await self._session.receive_messages()
                if not messages:
                    return
                self.last_received_s = trio.current_time()
                for message in messages:
                    rest = machine.feed_some(message)
                    while rest:
                        self._after_input(on_stream)
                        await trio.lowlevel.checkpoint()
                        rest = machine.feed_some(rest)
                self._after_input(on_stream)
        except YamuxViolationError as exc:
            logger.debug("%s broke Yamux: %s", self.peer, exc)
        except IOException as exc:
            logger.debug("connection with %s lost: %s", self.peer, exc)

    def _after_input(self, on_stream: OnStream) -> None:
        machine = self.machine
        while machine.accepted:
            on_stream(self._add_stream(machine.accepted.popleft()))
        self._wake_streams()
        self.wake_writer()
        self._account()

    async def _write_all(self) -> None:
        machine = self.machine
        try:
            while True:
                if not machine.wants_output:
                    await self._write_wanted.wait()
                self._write_wanted = trio.Event()
                pieces = machine.output(_BATCH_BYTES)
                if machine.writable:
                    self._wake_streams()
                await self._write(b"".join(pieces))
        except IOException as exc:
            logger.debug("connection with %s cannot be written: %s", self.peer, exc)
            self._scope.cancel()

    async def _write(self, data: bytes) -> None:
        """Shielded, because half a Noise message would end the connection; `_hurry` keeps that short at the end."""
        with trio.move_on_after(self.write_stall_s) as scope:
            scope.shield = True
            self._write_scope = scope
            await self._session.write(data)
        if scope.cancelled_caught:
            self._torn = True
            raise ConnectionClosedError("the peer does not read", transport="tcp")

    async def _hurry(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self._write_scope.deadline = min(self._write_scope.deadline, trio.current_time() + _FAREWELL_S)

    def tick(self) -> None:
        """To be called every second: one clock for all connections costs an idle node much less than one for each.

        Pings a silent peer, gives up on a dead one, and resets streams on which a peer talks to nobody.
        """
        if self._closed:
            return
        now = trio.current_time()
        while self._lingering and self._lingering[0][0] <= now:
            self._guard_machine(self.machine.reset, self._lingering.popleft()[1])
        silent_s = now - self.last_received_s
        if silent_s > self._limits.idle_ping_s + self._limits.ping_s:
            logger.debug("%s has been silent for %.0f s", self.peer, silent_s)
            self._scope.cancel()
        elif silent_s > self._limits.idle_ping_s:
            self._guard_machine(lambda _: self.machine.ping(), 0)

    def _guard_machine(self, call: Callable[[int], None], stream_id: int) -> None:
        try:
            call(stream_id)
        except YamuxViolationError as exc:
            logger.debug("%s does not read: %s", self.peer, exc)
            self._scope.cancel()
        self.wake_writer()

    async def _say_goodbye(self) -> None:
        """GO_AWAY and what else is on its way, if the peer takes it at once."""
        if self._torn:
            return
        with trio.move_on_after(_FAREWELL_S) as scope:
            scope.shield = True
            try:
                if not self.machine.ended:
                    self.machine.go_away(GoAway.NORMAL)
                while pieces := self.machine.output(_BATCH_BYTES):
                    await self._session.write(b"".join(pieces))
            except IOException:
                return

    # Streams

    def open_local(self) -> LibP2PStream:
        """A new stream. Raises StreamLostError."""
        if self._closed:
            raise StreamLostError("the connection is closed")
        try:
            stream = self._add_stream(self.machine.open())
        except YamuxViolationError as exc:
            self._scope.cancel()
            raise StreamLostError(str(exc)) from exc
        self.wake_writer()
        return stream

    def _add_stream(self, stream_id: int) -> LibP2PStream:
        stream = self._streams[stream_id] = LibP2PStream(self, stream_id, self.peer)
        return stream

    def release(self, stream_id: int, *, reset: bool) -> None:
        """The user of the stream has left it, in order or by a reset."""
        self._streams.pop(stream_id, None)
        if reset:
            self._guard_machine(self.machine.reset, stream_id)
        if self.machine.release(stream_id):
            self._lingering.append((trio.current_time() + _LINGER_S, stream_id))
        self._account()
        self.wake_writer()

    def after_read(self) -> None:
        self._account()
        if self.machine.wants_output:
            self.wake_writer()

    def _account(self) -> None:
        if not self._closed:  # streams are still read and released after the end
            self._budget.update(self, self.machine.buffered_bytes)

    def wake_writer(self) -> None:
        self._write_wanted.set()

    def _wake_streams(self) -> None:
        machine = self.machine
        for changed, wake in (
            (machine.readable, LibP2PStream.wake_reader),
            (machine.writable, LibP2PStream.wake_writer),
        ):
            for stream_id in changed:
                stream = self._streams.get(stream_id)
                if stream is not None:
                    wake(stream)
            changed.clear()

    @property
    def open_streams(self) -> int:
        return len(self._streams)

    def abort(self) -> None:
        """End the connection as soon as its tasks run again."""
        self._scope.cancel()

    # What libp2p asks

    @property
    def is_initiator(self) -> bool:
        return bool(self._session.is_initiator)

    @property
    def is_established(self) -> bool:
        return self.event_started.is_set() and not self._closed

    @property
    def is_closed(self) -> bool:
        return self._closed

    async def start(self) -> None:
        raise NotImplementedError("fednode runs the multiplexer itself")

    async def close(self) -> None:
        self.abort()
        await trio.lowlevel.checkpoint()

    async def open_stream(self) -> IMuxedStream:
        raise NotImplementedError("streams are opened by open_local")

    async def accept_stream(self) -> IMuxedStream:
        raise NotImplementedError("streams are handed to on_stream")

    def get_transport_addresses(self) -> list[Multiaddr]:
        return self._session.get_transport_addresses()

    def get_connection_type(self) -> ConnectionType:
        return self._session.get_connection_type()

    def get_remote_address(self) -> tuple[str, int] | None:
        return self._session.get_remote_address()
