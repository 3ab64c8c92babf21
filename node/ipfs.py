"""This node's side of the IPFS network: blocks given and fetched by bitswap, names, routers, imports."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import trio

from config.schema import GatewaySettings
from node.bitswap.imports import Imports
from node.bitswap.pending import PendingFile
from node.bitswap.reading import TreeReadings
from node.bitswap.server import BitswapServer
from node.replication.context import Context
from node.routing.desk import NameDesk
from node.routing.names import Names
from node.routing.refresh import NameRefresh
from node.routing.routers import Routers
from node.trees.control import Trees


class Ipfs:
    """`run` must run. `imports`, `trees` and `names` are for the admin API and for readers."""

    def __init__(self, context: Context, routers: Sequence[str], pending: Path | None = None) -> None:
        """pending: the file that imports under way are noted in."""
        self._context = context
        self._routers = Routers(routers)
        self._server = BitswapServer(context)
        self.names = Names(context.store, context.network, self._routers)
        self.trees = Trees(context)
        self._readings = TreeReadings(context, self._server.client, self._routers)
        noted = PendingFile(pending) if pending is not None else None
        self.imports = Imports(context, self._server.client, self._routers, self.names, noted)

    def name_desk(self, settings: GatewaySettings) -> NameDesk:
        """For readers who ask for names of others, and for trees."""
        finds = settings.fetch_on_miss != "off"
        trees = self._readings if settings.fetch_on_miss == "all" else None
        return NameDesk(self._context, self.names, trees, finds=finds, takes=settings.take_records)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled."""
        await self.trees.forget_remains()
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._server.run)
                await nursery.start(self.imports.run)
                nursery.start_soon(NameRefresh(self._context, self.names).run)
                task_status.started()
        finally:
            with trio.move_on_after(1.0, shield=True):
                await self._routers.aclose()

    def as_json(self) -> dict[str, Any]:
        """Counts since the start."""
        server, client = self._server, self._server.client
        return {
            "peers": server.peers,
            "sent_blocks": server.sent_blocks,
            "sent_bytes": server.sent_bytes,
            "refused_blocks": server.refused_blocks,
            "received_blocks": client.received_blocks,
            "received_bytes": client.received_bytes,
            "fetches": client.fetches,
            "router_answers": self._routers.answers,
            "router_failures": self._routers.failures,
        }
