"""`node.net.port.Network` over libp2p: what survives a restart of libp2p, and the supervisor."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Literal

import trio

from node.net import libp2p_internals
from node.net.address_book import AddressBook
from node.net.addresses import Address, is_public
from node.net.event_hub import EventHub
from node.net.kademlia_values import check_value, value_key
from node.net.libp2p_connection import Connection
from node.net.libp2p_dht import KEY_MAX_BYTES, PROTOCOLS, Dht
from node.net.libp2p_host import Keys
from node.net.libp2p_session import Session
from node.net.listening import dialable
from node.net.making_room import Usefulness
from node.net.own_key import OwnKeyWatch
from node.net.peer_ids import peer_id_of_seed
from node.net.port import (
    BadAddress,
    Handler,
    NetEvent,
    NetHealth,
    NetSettings,
    NetworkStopped,
    PeerConnected,
    PeerDisconnected,
    PeerId,
    PeerInfo,
    PeerUnreachable,
    Stream,
)
from protocol.ipns import IpnsRecord

logger = logging.getLogger(__name__)

_BACKOFF_FIRST_S = 0.1
_BACKOFF_MAX_S = 10.0
_DHT_OPEN_S = 5.0
_STEADY_S = 60.0  # a session that lived so long starts the backoff anew


class LibP2PNetwork:
    """See the contract in node/net/port.py. Made and run by `run_network`."""

    def __init__(self, settings: NetSettings, listeners: list[trio.SocketListener]) -> None:
        libp2p_internals.apply()
        self.counts: Counter[str] = Counter()
        self.handlers: dict[str, Handler] = {}
        self.usefulness = Usefulness()
        self.withholds: Callable[[bytes], bool] = lambda _: False
        self.refuses: Callable[[PeerId], bool] = lambda _: False
        self._settings = settings
        self._listeners = listeners
        self._keys = Keys(settings.private_key)
        self._announce = [str(Address.parse(text)) for text in settings.announce]
        self._local_peer = peer_id_of_seed(settings.private_key)
        self._book = AddressBook(self._local_peer, settings.limits)
        self._own_key = OwnKeyWatch()
        self._hub = EventHub(settings.limits.events)
        self._session: Session | None = None
        self._dhts = [Dht(self, PROTOCOLS[name]) for name in _dht_names(settings)]
        if settings.listen:
            for dht in self._dhts:
                self.serve(dht.protocol, dht.serve_stream)
        self._session_started = trio.Event()
        self._state: Literal["running", "restarting", "stopped"] = "restarting"
        self._last_error: str | None = None

    # Supervision

    async def run(self) -> None:
        """Keep a session running until cancelled."""
        backoff_s = _BACKOFF_FIRST_S
        try:
            while True:
                started_s = trio.current_time()
                try:
                    await self._run_session()
                except Exception as exc:  # root of everything that runs libp2p code
                    self._last_error = repr(exc)
                    logger.exception("the libp2p host failed; it is started again")
                else:
                    self._last_error = "the host ended by itself"
                    logger.error("the libp2p host ended; it is started again")
                self._state = "restarting"
                self.counts["restarts"] += 1
                if trio.current_time() - started_s > _STEADY_S:
                    backoff_s = _BACKOFF_FIRST_S
                await trio.sleep(backoff_s)
                backoff_s = min(2 * backoff_s, _BACKOFF_MAX_S)
        finally:
            self._state = "stopped"
            self._hub.close()

    async def _run_session(self) -> None:
        try:
            async with trio.open_nursery() as nursery:
                session = Session(self._keys, self._settings.limits, self, nursery)
                for listener in self._listeners:
                    nursery.start_soon(session.accept, listener)
                for dht in self._dhts:
                    nursery.start_soon(self._run_dht, dht)
                nursery.start_soon(session.watch)
                nursery.start_soon(self._look_for_twins, session)
                self._session = session
                self._state = "running"
                self._session_started.set()
                await trio.sleep_forever()  # also without any listener and DHT
        finally:
            self._session = None
            self._session_started = trio.Event()

    async def _look_for_twins(self, session: Session) -> None:
        while True:
            await session.look_for_twin(await self._own_key.next_suspect())

    async def _run_dht(self, dht: Dht) -> None:
        while True:
            try:
                await dht.run()
            except Exception:  # root of a task that runs on what strangers said
                logger.exception("the DHT failed; it goes on")
            await trio.sleep(_BACKOFF_MAX_S)

    async def _running_session(self) -> Session:
        while self._session is None:
            if self._state == "stopped":
                raise NetworkStopped("the network was stopped")
            await self._session_started.wait()
        return self._session

    # What a session reports

    def dial_candidates(self, peer: PeerId) -> list[Address]:
        """Addresses to try, best first."""
        return self._book.of(peer)

    def on_reached(self, address: Address) -> None:
        """The peer that the address names proved its key there."""
        if address.peer is not None:
            self._book.add_reached(address.peer, [address])

    def on_connected(self, connection: Connection, *, first: bool) -> None:
        if first:
            self._hub.publish(PeerConnected(connection.peer, connection.inbound))

    def on_disconnected(self, peer: PeerId) -> None:
        self._hub.publish(PeerDisconnected(peer))

    def on_identified(self, peer: PeerId, addresses: Sequence[str], protocols: Sequence[str]) -> None:
        self.claim(peer, addresses)
        for dht in self._dhts:
            dht.on_identified(peer, protocols)

    def on_twin(self, remote: tuple[str, int], *, inbound: bool) -> None:
        host, port = remote
        where = host if inbound else f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._own_key.met(where, trio.current_time())

    # What the DHT asks

    def claim(self, peer: PeerId, addresses: Iterable[str]) -> None:
        """Remember addresses that somebody says; what fednode was told itself goes before."""
        if peer == self._local_peer:
            own = set(self.addresses())
            found = (address.at(peer) for address in _parse_all(addresses) if address.port)
            self._own_key.suspect((address for address in found if str(address) not in own), trio.current_time())
            return
        self._book.add_claimed(peer, _parse_all(addresses))

    def connected_peers(self) -> set[PeerId]:
        return {connection.peer for connection in self._connections()}

    async def open_for_dht(self, peer: PeerId, protocol: str, *, dial: bool) -> Stream:
        return await (self._open if dial else self._open_connected)(peer, protocol, _DHT_OPEN_S, casual=True)

    def walk_ended(self) -> None:
        if self._session is not None:
            self._session.trim_casual()

    def announced(self) -> list[str]:
        return self._announce or [str(address) for address in dialable(self._listeners)]

    def announced_to(self, peer: PeerId) -> list[str]:
        """What identify tells this peer."""
        return self.tellable(self.announced(), peer) if self._settings.join == "public" else self.announced()

    def tellable(self, addresses: Iterable[str], to: PeerId) -> list[str]:
        """Without the private and loopback ones, unless that peer is at such an address itself, as far as one can see.

        What the operator announces is told to all.
        """
        if self.is_near(to):
            return list(addresses)
        return [text for text in addresses if is_public(text) or text.partition("/p2p/")[0] in self._announce]

    def is_near(self, peer: PeerId) -> bool:
        """Whether a connected peer is in a network of our own."""
        return any(connection.is_near for connection in self._connections() if connection.peer == peer)

    # The port

    @property
    def local_peer(self) -> PeerId:
        return self._local_peer

    def addresses(self) -> list[str]:
        return [str(Address.parse(text).at(self._local_peer)) for text in self.announced()]

    async def connect(self, address: str, *, deadline_s: float) -> PeerId:
        parsed = Address.parse(address)
        if parsed.peer is None:
            raise BadAddress(f"no peer id in {address}", hint="add /p2p/ and the id that the node prints at its start")
        self._check_allowed(parsed.peer)
        await self._connected(parsed.peer, [parsed], deadline_s)
        self._book.add(parsed.peer, [parsed])
        return parsed.peer

    async def reach(self, peer: PeerId, *, deadline_s: float) -> None:
        self._check_allowed(peer)
        await self._connected(peer, self.dial_candidates(peer), deadline_s)

    async def open(self, peer: PeerId, protocol: str, *, deadline_s: float, dial: bool = True) -> Stream:
        return await (self._open if dial else self._open_connected)(peer, protocol, deadline_s)

    async def _open_connected(self, peer: PeerId, protocol: str, deadline_s: float, *, casual: bool = False) -> Stream:
        self._check_allowed(peer)
        with trio.move_on_after(deadline_s):
            session = await self._running_session()
            existing = session.connection(peer)
            if existing is None:
                raise PeerUnreachable(f"{peer} is not connected")
            existing.casual &= casual
            return await session.open(existing, [protocol])
        raise PeerUnreachable(f"{peer} did not answer within {deadline_s:g} s")

    async def _open(self, peer: PeerId, protocol: str, deadline_s: float, *, casual: bool = False) -> Stream:
        self._check_allowed(peer)
        try:
            with trio.fail_after(deadline_s):
                session = await self._running_session()
                existing = session.connection(peer)
                if existing is not None:
                    # A peer that vanished without a word still looks connected: leave time to dial it anew.
                    existing.casual &= casual
                    with trio.move_on_after(deadline_s / 2), suppress(PeerUnreachable):
                        return await session.open(existing, [protocol])
                connection = await session.connect(peer, self.dial_candidates(peer), instead_of=existing, casual=casual)
                return await session.open(connection, [protocol])
        except trio.TooSlowError:
            raise PeerUnreachable(f"{peer} did not answer within {deadline_s:g} s") from None

    async def _connected(self, peer: PeerId, addresses: list[Address], deadline_s: float) -> Connection:
        try:
            with trio.fail_after(deadline_s):
                session = await self._running_session()
                return await session.connect(peer, addresses)
        except trio.TooSlowError:
            raise PeerUnreachable(f"{peer} could not be reached within {deadline_s:g} s") from None

    def _check_allowed(self, peer: PeerId) -> None:
        if peer == self._local_peer:
            raise BadAddress("that is this node itself")
        if self.refuses(peer):
            raise PeerUnreachable(
                f"{peer} is refused by a rule of this node", hint=f"fednode policy explain /p2p/{peer}"
            )
        if self.usefulness.banned(peer, trio.current_time()):
            raise PeerUnreachable(f"{peer} is banned for a while, for what it did wrong")

    def serve(self, protocol: str, handler: Handler) -> None:
        self.handlers[protocol] = handler
        if self._session is not None:
            self._session.announce_protocol(protocol)

    def peers(self) -> list[PeerInfo]:
        found: dict[PeerId, PeerInfo] = {}
        for connection in self._connections():
            if connection.peer not in found:
                known = tuple(self.known_addresses(connection.peer))
                found[connection.peer] = PeerInfo(connection.peer, known, connection.inbound, connection.since_s)
        return sorted(found.values(), key=lambda info: info.since_s)

    def _connections(self) -> list[Connection]:
        return [] if self._session is None else self._session.connections()

    def events(self) -> trio.MemoryReceiveChannel[NetEvent]:
        return self._hub.subscribe()

    def remember(self, peer: PeerId, addresses: Iterable[str], *, reached: bool = False) -> None:
        parsed = _parse_all(addresses)
        self._book.add(peer, parsed)
        if reached:
            self._book.add_reached(peer, parsed)

    def known_addresses(self, peer: PeerId) -> list[str]:
        return [str(address) for address in self._book.of(peer)]

    def note_useful(self, peer: PeerId) -> None:
        self.usefulness.note(peer, trio.current_time())

    def ban(self, peer: PeerId, *, for_s: float) -> None:
        self.usefulness.ban(peer, trio.current_time() + for_s)
        for connection in self._connections():
            if connection.peer == peer:
                connection.muxer.abort()

    def leave_refused(self) -> None:
        for connection in self._connections():
            if self.refuses(connection.peer):
                connection.muxer.abort()

    async def disconnect(self, peer: PeerId) -> None:
        for connection in self._connections():
            if connection.peer == peer:
                await connection.close()

    async def provide(self, key: bytes, *, deadline_s: float = 30.0, ipfs_only: bool = False) -> int:
        _check_key(key)
        return await _sum_of(self._ipfs_dhts if ipfs_only else self._dhts, lambda dht: dht.provide(key, deadline_s))

    async def count_provided(self, key: bytes, *, deadline_s: float) -> int:
        _check_key(key)
        return await _sum_of(self._dhts, lambda dht: dht.count_provided(key, deadline_s))

    async def find_providers(self, key: bytes, *, limit: int, deadline_s: float) -> list[tuple[PeerId, list[str]]]:
        _check_key(key)
        found: dict[PeerId, list[str]] = {}
        with trio.move_on_after(deadline_s):
            for dht in self._dhts:
                if len(found) < limit:
                    await dht.find_providers(key, limit, found)
        return list(found.items())

    async def put_ipns(self, name: bytes, record: bytes, *, deadline_s: float = 30.0) -> int:
        checked = check_value(value_key(name), record, time.time())
        return await _sum_of(self._ipfs_dhts, lambda dht: dht.put_ipns(name, checked, deadline_s))

    async def find_ipns(self, name: bytes, *, deadline_s: float) -> IpnsRecord | None:
        found: list[IpnsRecord] = []
        with trio.move_on_after(deadline_s):
            for dht in self._ipfs_dhts:
                await dht.find_ipns(name, found)
        return found[-1] if found else None

    @property
    def _ipfs_dhts(self) -> list[Dht]:
        return self._dhts[1:]

    def health(self) -> NetHealth:
        connections = self._connections()
        return NetHealth(
            state=self._state,
            restarts=self.counts["restarts"],
            connections=len(connections),
            handshakes=0 if self._session is None else self._session.admission.handshakes,
            streams=sum(connection.muxer.open_streams for connection in connections),
            refused_connections=self.counts["refused_connections"],
            failed_handshakes=self.counts["failed_handshakes"],
            refused_streams=self.counts["refused_streams"]
            + sum(connection.muxer.machine.refused for connection in connections),
            handler_errors=self.counts["handler_errors"],
            dropped_events=self._hub.dropped,
            last_error=self._last_error,
            twin_at=self._own_key.twin_at(trio.current_time()),
        )


def _dht_names(settings: NetSettings) -> list[str]:
    """fednode's own DHT first, then that of the IPFS network that was joined."""
    if not settings.dht:
        return []
    return list(dict.fromkeys(("federation", settings.join)))


async def _sum_of(dhts: list[Dht], ask: Callable[[Dht], Awaitable[int]]) -> int:
    """What all give together, asked at the same time."""
    total = 0

    async def add(dht: Dht) -> None:
        nonlocal total
        found = await ask(dht)  # first: `total` may change meanwhile
        total += found

    async with trio.open_nursery() as nursery:
        for dht in dhts:
            nursery.start_soon(add, dht)
    return total


def _check_key(key: bytes) -> None:
    if not 0 < len(key) <= KEY_MAX_BYTES:
        raise ValueError(f"a DHT key of {len(key)} bytes")


def _parse_all(addresses: Iterable[str]) -> list[Address]:
    parsed = []
    for text in addresses:
        with suppress(BadAddress):
            parsed.append(Address.parse(text))
    return parsed
