"""libp2p's host and swarm as far as its own protocols need them (identify, ping, Kademlia), made safe.

Of libp2p's swarm only the data structures and interfaces are used. Listening, dialling, upgrading,
connection tasks and the guard around stream handlers are fednode's: in libp2p's one exception ends it all.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from importlib.metadata import version
from typing import Any

import trio
from libp2p.abc import INetConn, INetStream
from libp2p.crypto.ed25519 import Ed25519PrivateKey
from libp2p.crypto.keys import KeyPair
from libp2p.crypto.x25519 import create_new_key_pair as create_x25519_key_pair
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.identity.identify.identify import ID as IDENTIFY
from libp2p.identity.identify.pb.identify_pb2 import Identify
from libp2p.identity.identify_push.identify_push import ID_PUSH as IDENTIFY_PUSH
from libp2p.identity.identify_push.identify_push import identify_push_handler_for
from libp2p.network.config import ConnectionConfig
from libp2p.network.exceptions import SwarmException
from libp2p.network.stream.exceptions import StreamEOF, StreamError, StreamReset
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStoreError
from libp2p.transport.upgrader import TransportUpgrader
from multiaddr import Multiaddr

from node.net.addresses import Address
from node.net.delimited import delimited
from node.net.libp2p_peerstore import BoundedPeerStore

AGENT_VERSION = f"fednode/{version('fednode')}"
_PROTOCOL_VERSION = "ipfs/0.1.0"  # what all of libp2p says
PING = TProtocol("/ipfs/ping/1.0.0")
_PING_BYTES = 32
_PING_IDLE_S = 60.0

logger = logging.getLogger(__name__)

Dial = Callable[[ID], Awaitable[INetConn]]
OpenStream = Callable[[ID, Sequence[str]], Awaitable[INetStream]]
AnnouncedTo = Callable[[ID], Sequence[str]]
OnIdentified = Callable[[ID, Sequence[str], Sequence[str]], None]
_IDENTIFY_MAX_TASKS = 16


class Keys:
    """The node key in the forms that libp2p wants, and a Noise key for this run."""

    def __init__(self, seed: bytes) -> None:
        private_key = Ed25519PrivateKey.from_bytes(seed)
        self.pair = KeyPair(private_key, private_key.get_public_key())
        self.peer = ID.from_pubkey(self.pair.public_key)
        self.noise = create_x25519_key_pair().private_key


async def answer_pings(stream: INetStream) -> None:
    """libp2p's own handler keeps an entry for every peer that ever pinged."""
    payload = b""
    with suppress(StreamEOF, StreamReset):
        while True:
            with trio.fail_after(_PING_IDLE_S):
                payload += await stream.read(_PING_BYTES - len(payload))
                if len(payload) == _PING_BYTES:
                    await stream.write(payload)
                    payload = b""


class ContainedSwarm(Swarm):  # type: ignore[misc]
    """A connection table that libp2p's protocols can use. It runs no task and dials through `dial`."""

    def __init__(self, keys: Keys, dial: Dial) -> None:
        peerstore = BoundedPeerStore()
        peerstore.add_key_pair(keys.peer, keys.pair)
        super().__init__(keys.peer, peerstore, TransportUpgrader({}, {}), [], connection_config=ConnectionConfig())
        self._dial = dial

    async def dial_peer(self, peer_id: ID) -> list[INetConn]:
        return [await self._dial(peer_id)]

    async def new_stream(self, peer_id: ID) -> INetStream:
        for connection in self.get_connections(peer_id):
            if not connection.is_closed:
                return await connection.new_stream()
        raise SwarmException(f"not connected to {peer_id}")

    async def listen(self, *multiaddrs: Multiaddr) -> bool:
        raise NotImplementedError("fednode listens itself")

    async def close_peer(self, peer_id: ID) -> None:
        for connection in self.get_connections(peer_id):
            await connection.close()

    async def notify_opened_stream(self, stream: INetStream) -> None:
        """No protocol in use listens to this; libp2p would open a nursery for each stream."""

    async def notify_closed_stream(self, stream: INetStream) -> None:
        """See notify_opened_stream."""

    async def notify_disconnected(self, conn: INetConn) -> None:
        await self._notify("disconnected", conn)
        if not self.get_connections(conn.muxed_conn.peer_id):
            self.peerstore.forget(conn.muxed_conn.peer_id)


class ContainedHost(BasicHost):  # type: ignore[misc]
    """libp2p's host with identify in guarded tasks of our nursery and streams that fednode negotiates."""

    def __init__(
        self,
        swarm: ContainedSwarm,
        nursery: trio.Nursery,
        announced_to: AnnouncedTo,
        open_stream: OpenStream,
        on_identified: OnIdentified,
    ) -> None:
        self._nursery = nursery
        self._on_identified = on_identified
        self._identify_slots = trio.CapacityLimiter(_IDENTIFY_MAX_TASKS)
        self._announced_to = announced_to
        self._open_stream = open_stream
        handlers = OrderedDict(
            (
                (IDENTIFY, self._answer_identify),
                (IDENTIFY_PUSH, identify_push_handler_for(self)),
                (PING, answer_pings),
            )
        )
        super().__init__(swarm, default_protocols=handlers, disable_identify_address_discovery=True)

    async def new_stream(self, peer_id: ID, protocol_ids: Sequence[TProtocol]) -> INetStream:
        return await self._open_stream(peer_id, [str(protocol) for protocol in protocol_ids])

    async def _answer_identify(self, stream: INetStream) -> None:
        """libp2p's own handler names libp2p as the agent, and tells everybody all addresses."""
        remote = stream.get_remote_address()
        message = Identify(
            protocol_version=_PROTOCOL_VERSION,
            agent_version=AGENT_VERSION,
            public_key=self.get_public_key().serialize(),
            listen_addrs=[Multiaddr(text).to_bytes() for text in self._announced_to(stream.muxed_conn.peer_id)],
            protocols=sorted(map(str, self.multiselect.handlers)),
        )
        if remote is not None:
            message.observed_addr = Multiaddr(str(Address.of_socket(remote))).to_bytes()
        with suppress(StreamError):
            await stream.write(delimited(message.SerializeToString()))
            await stream.close()

    def _schedule_identify(self, peer_id: ID, *, reason: str) -> None:
        """For each connection: a second one may be with another process of the same key, at addresses of its own."""
        if peer_id == self.get_id() or peer_id in self._identify_inflight:
            return
        self._identify_inflight.add(peer_id)
        self._nursery.start_soon(self._identify_guarded, peer_id, reason)

    async def _identify_guarded(self, peer_id: ID, reason: str) -> None:
        try:
            async with self._identify_slots:
                await self._identify_peer(peer_id, reason=reason)
            if peer_id in self._identified_peers:
                self._report(peer_id)
        except Exception:  # root of a task that runs libp2p code on what a peer sent
            logger.debug("identify of %s failed", peer_id, exc_info=True)
        finally:
            self._identify_inflight.discard(peer_id)

    def _report(self, peer_id: ID) -> None:
        addresses: list[str] = []
        with suppress(PeerStoreError):  # a peer that does not listen
            addresses += map(str, self.peerstore.addrs(peer_id))
        self._on_identified(peer_id, addresses, self.peerstore.get_protocols(peer_id))

    def run(self, listen_addrs: Sequence[Multiaddr], *, task_status: Any = None) -> Any:
        raise NotImplementedError("fednode runs the host itself")
