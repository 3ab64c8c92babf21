"""One connection as libp2p's protocols see it, around our multiplexer."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import trio
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.network.swarm import Swarm
from libp2p.rcmgr.metrics import Direction

from node.net.libp2p_muxer import Muxer
from node.net.libp2p_noise import NoiseSession
from node.net.libp2p_stream import LibP2PStream, NetStreamView
from node.net.port import NetLimits
from node.net.receive_budget import ReceiveBudget
from node.net.yamux_machine import StreamLostError

logger = logging.getLogger(__name__)

OnStream = Callable[["Connection", LibP2PStream], None]


class Connection(SwarmConn):  # type: ignore[misc]
    """Runs in `serve`, which returns when the connection has ended for whatever reason and never raises."""

    def __init__(
        self,
        session: NoiseSession,
        swarm: Swarm,
        limits: NetLimits,
        budget: ReceiveBudget,
        on_stream: OnStream,
        *,
        inbound: bool,
    ) -> None:
        self.muxer = Muxer(session, limits, budget, lambda stream: on_stream(self, stream))
        super().__init__(self.muxer, swarm, Direction.INBOUND if inbound else Direction.OUTBOUND)
        self.peer = self.muxer.peer
        self.inbound = inbound
        self.since_s = time.time()
        self.casual = False  # dialled for the DHT, and nothing else has used it yet
        self.set_transport_info(session.get_transport_addresses(), session.get_connection_type())
        self.set_negotiated_protocols("/noise", "/yamux/1.0.0")

    async def serve(self) -> None:
        try:
            self.event_started.set()
            await self.muxer.run()
        except Exception:  # root of the tasks of one connection: it dies alone
            logger.warning("connection with %s failed", self.peer, exc_info=True)
        finally:
            self.event_closed.set()

    def open_stream(self) -> LibP2PStream:
        """A new stream before negotiation. Raises StreamLostError when the connection cannot have one."""
        if self.is_closed:
            raise StreamLostError("the connection is closed")
        return self.muxer.open_local()

    async def new_stream(self) -> Any:
        return NetStreamView(self.open_stream(), self, Direction.OUTBOUND)

    async def close(self) -> None:
        self.event_closed.set()
        self.muxer.abort()
        await trio.lowlevel.checkpoint()
