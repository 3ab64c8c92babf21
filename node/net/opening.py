"""Start a network. libp2p is imported only when one is opened: it costs more than a second."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from node.net.listening import bind_all, check_announced, close_all
from node.net.port import NetSettings, Network


@asynccontextmanager
async def open_network(settings: NetSettings) -> AsyncIterator[Network]:
    """A running libp2p network. Raises ListenFailed first; the body's exceptions pass unwrapped."""
    check_announced(settings.announce)
    listeners = await bind_all(settings.listen)
    body_error: Exception | None = None
    try:
        from node.net.libp2p_network import LibP2PNetwork

        network = LibP2PNetwork(settings, listeners)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(network.run)
            try:
                yield network
            except Exception as exc:  # noqa: BLE001 - raised again below, outside of the nursery that would wrap it
                body_error = exc
            nursery.cancel_scope.cancel()
    finally:
        close_all(listeners)
    if body_error is not None:
        raise body_error
