"""The nodes that a release goes to: this machine's daemon over its socket, remote ones over libp2p."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import trio

from cli.errors import NoDaemon
from protocol.messages import PUBLISH_PROTOCOL

CONNECT_S = 15.0


class Node(Protocol):
    """Somewhere to publish to."""

    @property
    def name(self) -> str:
        """How people know it: "this machine", or the address as given."""

    async def open(self) -> trio.abc.HalfCloseableStream:
        """A new stream of the publish protocol. PeerError or OperatorError when it cannot be reached."""


class LocalNode:
    """The daemon that owns a data_dir on this machine."""

    name = "this machine"

    def __init__(self, socket_path: Path) -> None:
        self.socket_path = socket_path

    async def open(self) -> trio.abc.HalfCloseableStream:
        try:
            return await trio.open_unix_socket(self.socket_path)
        except PermissionError as error:
            raise NoDaemon(
                f"no permission to use {self.socket_path}", hint="run this as the user that runs the node"
            ) from error
        except OSError as error:
            raise no_daemon(self.socket_path) from error


def no_daemon(socket_path: Path) -> NoDaemon:
    """The error for a socket where nobody listens."""
    return NoDaemon(f"no fednode daemon at {socket_path}", hint="fednode start")


@asynccontextmanager
async def local_node(socket_path: Path) -> AsyncIterator[Sequence[Node]]:
    """The daemon of this machine."""
    yield [LocalNode(socket_path)]


@asynccontextmanager
async def remote_nodes(addresses: Sequence[str]) -> AsyncIterator[Sequence[Node]]:
    """Nodes by multiaddr, over a libp2p host that only dials and has a key for this one run."""
    import secrets

    from node.net.opening import open_network
    from node.net.port import NetSettings, Network

    class RemoteNode:
        def __init__(self, network: Network, address: str) -> None:
            self._network = network
            self.name = address

        async def open(self) -> trio.abc.HalfCloseableStream:
            peer = await self._network.connect(self.name, deadline_s=CONNECT_S)
            return await self._network.open(peer, PUBLISH_PROTOCOL, deadline_s=CONNECT_S)

    settings = NetSettings(listen=(), private_key=secrets.token_bytes(32), dht=False)
    async with open_network(settings) as network:
        yield [RemoteNode(network, address) for address in dict.fromkeys(addresses)]
