"""One connection as libp2p's protocols see it, around our multiplexer."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import trio
from libp2p.abc import INetConn, INetStream
from libp2p.connection_types import ConnectionType
from libp2p.rcmgr.metrics import Direction
from multiaddr import Multiaddr

from node.net.addresses import Address
from node.net.libp2p_muxer import Muxer
from node.net.libp2p_noise import NoiseSession
from node.net.libp2p_stream import LibP2PStream, NetStreamView
from node.net.port import NetLimits
from node.net.receive_budget import ReceiveBudget
from node.net.yamux_machine import StreamLostError

logger = logging.getLogger(__name__)

OnStream = Callable[["Connection", LibP2PStream], None]


class Connection(INetConn):  # type: ignore[misc]
    """Runs in `serve`, which returns when the connection has ended for whatever reason and never raises."""

    def __init__(
        self,
        session: NoiseSession,
        limits: NetLimits,
        budget: ReceiveBudget,
        on_stream: OnStream,
        *,
        inbound: bool,
    ) -> None:
        self.muxer = self.muxed_conn = Muxer(session, limits, budget)
        self._on_stream = on_stream
        self.event_started = trio.Event()
        self.direction = Direction.INBOUND if inbound else Direction.OUTBOUND
        self.peer = self.muxer.peer
        self.inbound = inbound
        self.since_s = time.time()
        self.casual = False  # dialled for the DHT, and nothing else has used it yet
        self._closed = False

    async def serve(self) -> None:
        try:
            self.event_started.set()
            await self.muxer.run(lambda stream: self._on_stream(self, stream))
        except Exception:  # root of the tasks of one connection: it dies alone
            logger.warning("connection with %s failed", self.peer, exc_info=True)
        finally:
            self._closed = True

    def open_stream(self) -> LibP2PStream:
        """A new stream before negotiation. Raises StreamLostError when the connection cannot have one."""
        if self.is_closed:
            raise StreamLostError("the connection is closed")
        return self.muxer.open_local()

    @property
    def is_closed(self) -> bool:
        return self._closed

    @property
    def is_near(self) -> bool:
        """Whether it comes from, or leads to, a private or loopback address."""
        remote = self.muxer.get_remote_address()
        return remote is not None and not Address.of_socket(remote).is_public

    async def new_stream(self) -> INetStream:
        return NetStreamView(self.open_stream(), self, Direction.OUTBOUND)

    async def close(self) -> None:
        self._closed = True
        self.muxer.abort()
        await trio.lowlevel.checkpoint()

    # What libp2p asks

    def get_streams(self) -> tuple[INetStream, ...]:
        return ()

    def get_transport_addresses(self) -> list[Multiaddr]:
        return self.muxer.get_transport_addresses()

    def get_connection_type(self) -> ConnectionType:
        return self.muxer.get_connection_type()
