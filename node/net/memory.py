"""The in-memory twin of the network port, with switches for tests: kill a node, cut a pair, heal it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import trio

from node.net.address_book import AddressBook
from node.net.addresses import Address
from node.net.event_hub import EventHub
from node.net.handling import run_handler
from node.net.kademlia_values import check_value, value_key
from node.net.making_room import Usefulness
from node.net.memory_stream import MemoryStream, stream_pair
from node.net.peer_ids import peer_id_of_seed
from node.net.port import (
    BadAddress,
    Handler,
    ListenFailed,
    NetEvent,
    NetHealth,
    NetSettings,
    NetworkStopped,
    PeerConnected,
    PeerDisconnected,
    PeerId,
    PeerInfo,
    PeerUnreachable,
    ProtocolUnsupported,
    Stream,
)
from protocol.ipns import IpnsRecord

_FIRST_PORT = 40_000


class Air:
    """What memory networks meet in. `cut` and `heal` act on a pair of peers, `kill` on one node."""

    def __init__(self) -> None:
        self.listening: dict[int, MemoryNetwork] = {}
        self._cut: set[frozenset[PeerId]] = set()
        self._next_port = _FIRST_PORT

    def cut(self, one: PeerId, other: PeerId) -> None:
        """Break what is between the two and let nothing through until `heal`."""
        self._cut.add(frozenset((one, other)))
        for network in set(self.listening.values()):
            if network.local_peer in (one, other):
                network.drop(other if network.local_peer == one else one)

    def heal(self, one: PeerId, other: PeerId) -> None:
        self._cut.discard(frozenset((one, other)))

    def is_cut(self, one: PeerId, other: PeerId) -> bool:
        return frozenset((one, other)) in self._cut

    def bind(self, text: str, network: MemoryNetwork) -> Address:
        try:
            address = Address.parse(text)
        except BadAddress as exc:
            raise ListenFailed(f"cannot listen on {text}: {exc}") from exc
        port = address.port
        if not port:
            port = self._next_port
            self._next_port += 1
        if port in self.listening:
            raise ListenFailed(f"cannot listen on {text}: another program listens there")
        self.listening[port] = network
        return Address(address.kind, address.host, port, network.local_peer)

    def unbind(self, network: MemoryNetwork) -> None:
        self.listening = {port: other for port, other in self.listening.items() if other is not network}


@dataclass
class _Link:
    """This node's end of a connection."""

    inbound: bool
    since_s: float
    streams: set[MemoryStream] = field(default_factory=set)


class MemoryNetwork:
    """See the contract in node/net/port.py."""

    nursery: trio.Nursery  # set before anyone can connect: there is no await between

    def __init__(self, air: Air, settings: NetSettings) -> None:
        self.links: dict[PeerId, _Link] = {}
        self.nodes: dict[PeerId, MemoryNetwork] = {}
        self.records: dict[bytes, dict[PeerId, list[str]]] = {}
        self.ipfs_records: dict[bytes, dict[PeerId, list[str]]] = {}
        self.names: dict[bytes, IpnsRecord] = {}
        self.withholds: Callable[[bytes], bool] = lambda _: False
        self.refuses: Callable[[PeerId], bool] = lambda _: False
        self._air = air
        self._settings = settings
        self._local_peer = peer_id_of_seed(settings.private_key)
        self._book = AddressBook(self._local_peer, settings.limits)
        self._hub = EventHub(settings.limits.events)
        self._handlers: dict[str, Handler] = {}
        self._counts: Counter[str] = Counter()
        self._usefulness = Usefulness()
        self._stopped = False
        self._addresses: list[Address] = []
        try:
            self._addresses += [air.bind(text, self) for text in settings.listen]
        except ListenFailed:
            air.unbind(self)
            raise

    def kill(self) -> None:
        """End without a word, as a process that is killed. Everybody else sees lost connections."""
        self._stopped = True
        self._air.unbind(self)
        for peer in list(self.links):
            self.drop(peer)
        self._hub.close()

    def drop(self, peer: PeerId) -> None:
        """Lose the connection with this peer, on both sides."""
        other = self.nodes.get(peer)
        if self._lose(peer) and other is not None:
            other._lose(self._local_peer)

    def _lose(self, peer: PeerId) -> bool:
        link = self.links.pop(peer, None)
        if link is None:
            return False
        del self.nodes[peer]
        for stream in link.streams:
            stream.lose()
        self._hub.publish(PeerDisconnected(peer))
        return True

    # The port

    @property
    def local_peer(self) -> PeerId:
        return self._local_peer

    def addresses(self) -> list[str]:
        return [str(address) for address in self._addresses]

    async def connect(self, address: str, *, deadline_s: float) -> PeerId:
        parsed = Address.parse(address)
        if parsed.peer is None:
            raise BadAddress(f"no peer id in {address}")
        await self._connect(parsed.peer, [parsed])
        self._book.add(parsed.peer, [parsed])
        return parsed.peer

    async def _connect(self, peer: PeerId, addresses: list[Address]) -> MemoryNetwork:
        if peer == self._local_peer:
            raise BadAddress("that is this node itself")
        if self._stopped:
            raise NetworkStopped("the network was stopped")
        await trio.lowlevel.checkpoint()
        if peer in self.nodes:
            return self.nodes[peer]
        for address in addresses:
            other = self._air.listening.get(address.port)
            if other is None or other.local_peer != peer or other._bans(self._local_peer) or self._bans(peer):
                continue
            if not self._air.is_cut(peer, self._local_peer):
                self._link(other, inbound=False)
                other._link(self, inbound=True)
                self._book.add_reached(peer, [address])
                return other
        raise PeerUnreachable(f"nobody answers at {', '.join(map(str, addresses)) or 'any known address'}")

    def _link(self, other: MemoryNetwork, *, inbound: bool) -> None:
        self.links[other.local_peer] = _Link(inbound, time.time())
        self.nodes[other.local_peer] = other
        self._book.add_claimed(other.local_peer, other._addresses)
        self._hub.publish(PeerConnected(other.local_peer, inbound))

    async def reach(self, peer: PeerId, *, deadline_s: float) -> None:
        await self._connect(peer, self._book.of(peer))

    async def open(self, peer: PeerId, protocol: str, *, deadline_s: float, dial: bool = True) -> Stream:
        other = await self._connect(peer, self._book.of(peer) if dial else [])
        if protocol not in other._handlers:
            raise ProtocolUnsupported(f"the peer does not speak {protocol}")
        mine, theirs = stream_pair(self._local_peer, peer, protocol, self._settings.limits.write_stall_s)
        streams = self.links[peer].streams
        streams.add(mine)
        mine.on_closed = streams.discard
        other.nursery.start_soon(other._serve, theirs)
        return mine

    async def _serve(self, stream: MemoryStream) -> None:
        link = self.links.get(stream.peer)
        if link is None:
            stream.lose()
            return
        link.streams.add(stream)
        try:
            await run_handler(self._handlers[stream.protocol], stream, self._counts)
        finally:
            link.streams.discard(stream)

    def serve(self, protocol: str, handler: Handler) -> None:
        self._handlers[protocol] = handler

    def peers(self) -> list[PeerInfo]:
        return [
            PeerInfo(peer, tuple(self.known_addresses(peer)), link.inbound, link.since_s)
            for peer, link in self.links.items()
        ]

    def events(self) -> trio.MemoryReceiveChannel[NetEvent]:
        return self._hub.subscribe()

    def remember(self, peer: PeerId, addresses: Iterable[str], *, reached: bool = False) -> None:
        parsed = []
        for text in addresses:
            with suppress(BadAddress):
                parsed.append(Address.parse(text))
        self._book.add(peer, parsed)
        if reached:
            self._book.add_reached(peer, parsed)

    def known_addresses(self, peer: PeerId) -> list[str]:
        return [str(address) for address in self._book.of(peer)]

    def note_useful(self, peer: PeerId) -> None:
        self._usefulness.note(peer, trio.current_time())

    def ban(self, peer: PeerId, *, for_s: float) -> None:
        self._usefulness.ban(peer, trio.current_time() + for_s)
        self.drop(peer)

    def _bans(self, peer: PeerId) -> bool:
        return self.refuses(peer) or self._usefulness.banned(peer, trio.current_time())

    def leave_refused(self) -> None:
        for peer in list(self.links):
            if self.refuses(peer):
                self.drop(peer)

    async def disconnect(self, peer: PeerId) -> None:
        self.drop(peer)
        await trio.lowlevel.checkpoint()

    async def provide(self, key: bytes, *, deadline_s: float = 30.0, ipfs_only: bool = False) -> int:
        await trio.lowlevel.checkpoint()
        holders = [node for node in self._reachable() if node._addresses and not node.withholds(key)]
        if ipfs_only:
            holders = self._of_same_network(holders)
        for node in holders:
            records = node.ipfs_records if ipfs_only else node.records
            records.setdefault(key, {})[self._local_peer] = self.addresses()
        return len(holders)

    async def put_ipns(self, name: bytes, record: bytes, *, deadline_s: float = 30.0) -> int:
        await trio.lowlevel.checkpoint()
        checked = check_value(value_key(name), record, time.time())
        holders = self._of_same_network([node for node in self._reachable() if node._addresses])
        holders = [node for node in holders if not node.withholds(name)]
        for node in [self, *holders]:
            known = node.names.get(name)
            if known is None or known.order < checked.order:
                node.names[name] = checked
        return len(holders)

    async def find_ipns(self, name: bytes, *, deadline_s: float) -> IpnsRecord | None:
        await trio.lowlevel.checkpoint()
        nodes = self._of_same_network([self, *self._reachable()])
        found = [node.names[name] for node in nodes if name in node.names and not node.withholds(name)]
        return max(found, key=lambda record: record.order, default=None)

    def _of_same_network(self, nodes: list[MemoryNetwork]) -> list[MemoryNetwork]:
        join = self._settings.join
        return [] if join == "federation" else [node for node in nodes if node._settings.join == join]

    async def count_provided(self, key: bytes, *, deadline_s: float) -> int:
        await trio.lowlevel.checkpoint()
        tell = [node for node in self._reachable() if not node.withholds(key)]
        return sum(self._local_peer in node.records.get(key, {}) for node in tell)

    async def find_providers(self, key: bytes, *, limit: int, deadline_s: float) -> list[tuple[PeerId, list[str]]]:
        await trio.lowlevel.checkpoint()
        found: dict[PeerId, list[str]] = {}
        tell = [node for node in [self, *self._reachable()] if not node.withholds(key)]
        for node in tell:
            found.update(node._named(node.records.get(key, {})))
        for node in self._of_same_network(tell):
            found.update(node._named(node.ipfs_records.get(key, {})))
        found.pop(self._local_peer, None)
        return list(self._named(found).items())[:limit]

    def _named(self, providers: dict[PeerId, list[str]]) -> dict[PeerId, list[str]]:
        """Without those that are refused here."""
        return {peer: addresses for peer, addresses in providers.items() if not self.refuses(peer)}

    def _reachable(self) -> list[MemoryNetwork]:
        """Every other node that a walk along connections gets to."""
        seen: dict[PeerId, MemoryNetwork] = {self._local_peer: self}
        queue = [self]
        while queue:
            for peer, node in queue.pop().nodes.items():
                if peer not in seen:
                    seen[peer] = node
                    queue.append(node)
        return [node for node in seen.values() if node is not self]

    def health(self) -> NetHealth:
        return NetHealth(
            state="stopped" if self._stopped else "running",
            restarts=0,
            connections=len(self.links),
            handshakes=0,
            streams=sum(len(link.streams) for link in self.links.values()),
            refused_connections=0,
            failed_handshakes=0,
            refused_streams=0,
            handler_errors=self._counts["handler_errors"],
            dropped_events=self._hub.dropped,
        )


@asynccontextmanager
async def open_memory_network(air: Air, settings: NetSettings) -> AsyncIterator[MemoryNetwork]:
    """A running network among those of the same `air`. Raises ListenFailed; the body's exceptions pass unwrapped."""
    body_error: Exception | None = None
    network = MemoryNetwork(air, settings)
    async with trio.open_nursery() as nursery:
        network.nursery = nursery
        try:
            yield network
        except Exception as exc:  # noqa: BLE001 - raised again below, outside of the nursery that would wrap it
            body_error = exc
        network.kill()
        nursery.cancel_scope.cancel()
    if body_error is not None:
        raise body_error
