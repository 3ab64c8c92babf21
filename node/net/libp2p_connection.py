"""One connection: libp2p's view of it, its tasks, and the guard that keeps a peer's failure inside it."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.network.swarm import Swarm
from libp2p.rcmgr.metrics import Direction
from libp2p.stream_muxer.yamux.yamux import Yamux

from node.net.libp2p_noise import NoiseSession
from node.net.libp2p_stream import LibP2PStream, NetStreamView, peer_text
from node.net.port import NetLimits

logger = logging.getLogger(__name__)
_CLOSE_S = 0.5

OnStream = Callable[["Connection", LibP2PStream], Awaitable[None]]


class SteadyYamux(Yamux):  # type: ignore[misc]
    """libp2p's multiplexer, in which a cancelled writer no longer tears a frame and so the connection."""

    async def _write_frame(self, data: bytes) -> None:
        with trio.fail_after(10) as scope:
            scope.shield = True
            await super()._write_frame(data)


class Connection(SwarmConn):  # type: ignore[misc]
    """Runs in `serve`, which returns when the connection has ended for whatever reason and never raises."""

    def __init__(
        self, session: NoiseSession, swarm: Swarm, limits: NetLimits, on_stream: OnStream, *, inbound: bool
    ) -> None:
        muxed = SteadyYamux(session, session.get_remote_peer(), is_initiator=session.is_initiator)
        super().__init__(muxed, swarm, Direction.INBOUND if inbound else Direction.OUTBOUND)
        self.peer = peer_text(session.get_remote_peer())
        self.inbound = inbound
        self.since_s = time.time()
        self.open_streams = 0
        self.refused_streams = 0
        self._session = session
        self._limits = limits
        self._on_stream = on_stream
        self._scope = trio.CancelScope()
        self._nursery: trio.Nursery | None = None
        self.set_transport_info(session.get_transport_addresses(), session.get_connection_type())
        self.set_negotiated_protocols("/noise", "/yamux/1.0.0")

    async def serve(self) -> None:
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    nursery.start_soon(self._run_muxer)
                    await self.muxed_conn.event_started.wait()
                    self.event_started.set()
                    await self._accept_streams(nursery)
        except Exception:  # root of the tasks of one connection: it dies alone
            logger.debug("connection with %s failed", self.peer, exc_info=True)
        finally:
            self.event_closed.set()
            self.event_started.set()
            with trio.move_on_after(_CLOSE_S) as scope:
                scope.shield = True
                await self._close_muxer()
            await self._session.close()

    async def _run_muxer(self) -> None:
        await self.muxed_conn.start()
        self._scope.cancel()

    async def _close_muxer(self) -> None:
        try:
            await self.muxed_conn.close()
        except Exception:  # libp2p code on a connection that may be gone
            logger.debug("closing the connection with %s failed", self.peer, exc_info=True)

    async def _accept_streams(self, nursery: trio.Nursery) -> None:
        while True:
            muxed: Any = await self.muxed_conn.accept_stream()
            if self.open_streams >= self._limits.streams_per_connection:
                self.refused_streams += 1
                await muxed.reset()
            else:
                self.open_streams += 1
                nursery.start_soon(self._serve_stream, self._wrap(muxed))

    async def _serve_stream(self, stream: LibP2PStream) -> None:
        try:
            await self._on_stream(self, stream)
        finally:
            self.open_streams -= 1

    def _wrap(self, muxed: Any) -> LibP2PStream:
        if self._nursery is None:
            raise trio.ClosedResourceError("the connection does not run")
        return LibP2PStream(muxed, self.peer, self._nursery, self._limits.write_stall_s)

    async def open_stream(self) -> LibP2PStream:
        """A new stream before negotiation. Raises trio.BrokenResourceError when the connection is ending."""
        if self.is_closed or self._nursery is None:
            raise trio.BrokenResourceError("the connection is closed")
        try:
            return self._wrap(await self.muxed_conn.open_stream())
        except Exception as exc:
            raise trio.BrokenResourceError(f"the connection is closed: {exc}") from exc

    async def new_stream(self) -> Any:
        return NetStreamView(await self.open_stream(), self, Direction.OUTBOUND)

    async def close(self) -> None:
        self.event_closed.set()
        self._scope.cancel()
        await trio.lowlevel.checkpoint()
