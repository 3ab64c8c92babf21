"""One life of the libp2p host: its connections, handshakes and streams. The supervisor starts the next."""

from __future__ import annotations

import itertools
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import trio
from libp2p.abc import INetConn, INetStream
from libp2p.custom_types import TProtocol
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID
from libp2p.rcmgr.metrics import Direction

from node.net import multistream
from node.net.addresses import Address
from node.net.admission import Admission, group_of
from node.net.dialling import race
from node.net.handling import run_handler
from node.net.libp2p_connection import Connection
from node.net.libp2p_dht import PROTOCOLS as KAD_PROTOCOLS
from node.net.libp2p_host import ContainedHost, ContainedSwarm, Keys
from node.net.libp2p_noise import secure
from node.net.libp2p_raw import RawConnection
from node.net.libp2p_stream import LibP2PStream, NetStreamView, peer_text
from node.net.making_room import NEWCOMER_S, Candidate, Usefulness, crowding
from node.net.port import BadAddress, Handler, NetLimits, PeerId, PeerUnreachable, ProtocolUnsupported, Stream
from node.net.receive_budget import ReceiveBudget
from node.net.yamux_machine import StreamLostError
from protocol.errors import PeerError

logger = logging.getLogger(__name__)

_NOISE = "/noise"
_YAMUX = "/yamux/1.0.0"
_LIBP2P_DIAL_S = 10.0
_SETTLE_S = 1.0
_TICK_S = 1.0
_LEAVE_PASSES = 8  # of the loop, for a cancelled handshake to be gone


class Owner(Protocol):
    """What a session needs from the network that outlives it."""

    counts: Counter[str]
    handlers: dict[str, Handler]
    usefulness: Usefulness
    refuses: Callable[[PeerId], bool]

    def dial_candidates(self, peer: PeerId) -> list[Address]: ...
    def on_reached(self, address: Address) -> None: ...
    def on_connected(self, connection: Connection, *, first: bool) -> None: ...
    def on_twin(self, remote: tuple[str, int], *, inbound: bool) -> None: ...
    def on_disconnected(self, peer: PeerId) -> None: ...
    def on_identified(self, peer: PeerId, addresses: Sequence[str], protocols: Sequence[str]) -> None: ...
    def announced_to(self, peer: PeerId) -> list[str]: ...


@dataclass(slots=True)
class _Slot:
    """Handshakes and dials to one peer, one after the other."""

    lock: trio.Lock
    users: int = 0


class Session:
    """Everything in here ends with `nursery`. Tasks that touch what peers send have a guard at their root."""

    def __init__(self, keys: Keys, limits: NetLimits, owner: Owner, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self._keys = keys
        self._limits = limits
        self._owner = owner
        self._admission = Admission(limits)
        self.budget = ReceiveBudget(limits.receive_bytes)
        self.streams = 0
        self._trimming = False
        self._dials: dict[PeerId, _Slot] = {}
        self._unproved: dict[int, tuple[str, trio.CancelScope]] = {}  # oldest first
        self._numbers = itertools.count()
        self.swarm = ContainedSwarm(keys, self._dial_for_libp2p)
        self.host = ContainedHost(
            self.swarm,
            nursery,
            lambda peer: owner.announced_to(peer_text(peer)),
            self._open_for_libp2p,
            self._on_identified,
        )
        for protocol in owner.handlers:
            self.announce_protocol(protocol)

    @property
    def admission(self) -> Admission:
        return self._admission

    def connections(self, peer: PeerId | None = None) -> list[Connection]:
        """Live connections, oldest first."""
        found: list[INetConn] = self.swarm.get_connections(None if peer is None else ID.from_base58(peer))
        return [item for item in found if isinstance(item, Connection) and not item.is_closed]

    async def watch(self) -> None:
        """Look after all connections until cancelled."""
        while True:
            await trio.sleep(_TICK_S)
            for connection in self.connections():
                connection.muxer.tick()
                if self._owner.refuses(connection.peer):  # since its handshake, which nobody could leave
                    connection.muxer.abort()

    # Inbound

    async def accept(self, listener: trio.SocketListener) -> None:
        """Take connections until cancelled."""
        while True:
            stream = await self._accept_one(listener)
            if stream is not None:
                self.nursery.start_soon(self._serve_inbound, stream)

    async def _accept_one(self, listener: trio.SocketListener) -> trio.SocketStream | None:
        try:
            return await listener.accept()
        except trio.ClosedResourceError:
            raise
        except OSError as exc:
            # EMFILE and the like: what is open must end before more can come in
            logger.warning("cannot accept a connection: %s", exc)
            await trio.sleep(0.1)
            return None

    async def _serve_inbound(self, stream: trio.SocketStream) -> None:
        try:
            name = stream.socket.getpeername()
            remote = Address.of_socket((name[0], name[1]))
        except (OSError, ValueError):
            await trio.aclose_forcefully(stream)
            return
        if self._admission.only_handshakes_are_full(remote.host):
            await self._crowd_out(remote.host)
        if not self._admission.enter(remote.host):
            self._owner.counts["refused_connections"] += 1
            await trio.aclose_forcefully(stream)
            return
        connection = None
        try:
            raw = RawConnection(stream, is_initiator=False, remote=(remote.host, remote.port))
            connection = await self._upgrade_guarded(raw)
            if connection is not None:
                self._admission.proved()
                await self._run_connection(connection)
        finally:
            self._admission.leave(remote.host, proved=connection is not None)

    async def _crowd_out(self, host: str) -> None:
        """One address that holds many handshakes open makes room for another."""
        number = crowding(group_of(host), ((number, group) for number, (group, _) in self._unproved.items()))
        if number is not None:
            self._unproved.pop(number)[1].cancel()
            for _ in range(_LEAVE_PASSES):
                await trio.lowlevel.checkpoint()

    async def _upgrade_guarded(self, raw: RawConnection) -> Connection | None:
        number = next(self._numbers)
        try:
            with trio.fail_after(self._limits.handshake_s) as scope:
                self._unproved[number] = group_of(raw.remote[0]), scope
                return await self._upgrade(raw, None)
        except Exception as exc:  # noqa: BLE001 - libp2p code on what a stranger sent
            self._owner.counts["failed_handshakes"] += 1
            logger.debug("handshake with %s failed: %s", raw.remote, exc)
            await raw.close()
            return None
        except BaseException:
            await raw.close()
            raise
        finally:
            self._unproved.pop(number, None)

    # Outbound

    def connection(self, peer: PeerId) -> Connection | None:
        """The connection with this peer that was heard from last."""
        return max(self.connections(peer), key=lambda item: item.muxer.last_received_s, default=None)

    async def connect(
        self,
        peer: PeerId,
        addresses: Sequence[Address],
        *,
        instead_of: Connection | None = None,
        casual: bool = False,
    ) -> Connection:
        """A live connection with the peer other than `instead_of`, dialled if there is none.

        Raises PeerUnreachable.
        """
        slot = self._dials.setdefault(peer, _Slot(trio.Lock()))
        slot.users += 1
        try:
            async with slot.lock:
                for connection in self.connections(peer):
                    if connection is not instead_of:
                        connection.casual &= casual
                        return connection
                dialled = await race(addresses, self._dial)
                dialled.casual = casual
                return dialled
        finally:
            slot.users -= 1
            if not slot.users:
                self._dials.pop(peer, None)

    async def _dial(self, address: Address) -> Connection:
        if not self._admission.enter_outbound():
            raise PeerUnreachable("this node has as many connections as it may")
        try:
            connection = await self._dial_and_upgrade(address)
        except BaseException:
            self._admission.leave_outbound()
            raise
        self._owner.on_reached(address)
        self.nursery.start_soon(self._run_outbound, connection)
        await connection.event_started.wait()
        return connection

    async def look_for_twin(self, address: Address) -> None:
        """Shake hands there and leave; the owner hears of another process with our key."""
        if self._admission.enter_outbound():
            try:
                await self._dial_and_upgrade(address)  # never returns: it is refused as ourselves, if not before
            except PeerUnreachable as exc:
                logger.debug("nobody else with our key at %s: %s", address, exc)
            finally:
                self._admission.leave_outbound()

    async def _run_outbound(self, connection: Connection) -> None:
        try:
            await self._run_connection(connection)
        finally:
            self._admission.leave_outbound()

    async def _dial_and_upgrade(self, address: Address) -> Connection:
        try:
            with trio.fail_after(self._limits.handshake_s):
                stream = await trio.open_tcp_stream(address.host, address.port)
                try:
                    remote = Address.of_socket(stream.socket.getpeername()[:2])
                    raw = RawConnection(stream, is_initiator=True, remote=(remote.host, remote.port))
                    return await self._upgrade(raw, ID.from_base58(address.peer or ""))
                except BaseException:
                    await trio.aclose_forcefully(stream)
                    raise
        except trio.TooSlowError:
            raise PeerUnreachable(f"no answer within {self._limits.handshake_s:g} s") from None
        except OSError as exc:
            raise PeerUnreachable(exc.strerror or str(exc)) from exc
        except Exception as exc:
            raise PeerUnreachable(f"the handshake failed: {str(exc) or type(exc).__name__}") from exc

    async def _upgrade(self, raw: RawConnection, remote_peer: ID | None) -> Connection:
        inbound = remote_peer is None
        agree = multistream.answer if inbound else multistream.propose
        await agree(raw.read, raw.write, [_NOISE])
        session = await secure(raw, self._keys.pair, self._keys.noise, remote_peer)
        if session.get_remote_peer() == self._keys.peer:
            if session.get_remote_public_key() != self._keys.noise.get_public_key():
                self._owner.on_twin(raw.remote, inbound=inbound)
            raise BadAddress("that is this node itself")
        peer = peer_text(session.get_remote_peer())
        if self._owner.refuses(peer):
            raise PeerError("a rule refuses the peer")
        if self._owner.usefulness.banned(peer, trio.current_time()):
            raise PeerError("the peer is banned for a while")
        await agree(session.read, session.write, [_YAMUX])
        return Connection(session, self._limits, self.budget, self._start_stream, inbound=inbound)

    async def _run_connection(self, connection: Connection) -> None:
        table = self.swarm.connections.setdefault(connection.muxed_conn.peer_id, [])
        table.append(connection)
        self.nursery.start_soon(self._trim, connection.peer)
        self._owner.on_connected(connection, first=len(table) == 1)
        self.nursery.start_soon(self._notify, "connected", connection)
        try:
            await connection.serve()
        finally:
            self.swarm.remove_conn(connection)
            if not self.swarm.get_connections(connection.muxed_conn.peer_id):
                self._owner.on_disconnected(connection.peer)
            self.nursery.start_soon(self._notify, "disconnected", connection)

    async def _trim(self, peer: PeerId) -> None:
        for connection in self.connections(peer)[: -self._limits.connections_per_peer]:
            await connection.close()
        inbound = [connection for connection in self.connections() if connection.inbound]
        settled_s = time.time() - NEWCOMER_S
        found = (
            Candidate(number, item.peer, item.since_s, bool(item.muxer.open_streams) or item.since_s > settled_s)
            for number, item in enumerate(inbound)
        )
        for candidate in self._owner.usefulness.leavers(found, self._limits.inbound_connections):
            inbound[candidate.number].muxer.abort()
            self._owner.counts["trimmed_connections"] += 1

    async def _notify(self, what: str, connection: Connection) -> None:
        try:
            with trio.move_on_after(_LIBP2P_DIAL_S):
                if what == "connected":
                    await self.swarm.notify_connected(connection)
                else:
                    await self.swarm.notify_disconnected(connection)
        except Exception:  # root of a task that runs libp2p code
            logger.debug("libp2p failed on %s of %s", what, connection.peer, exc_info=True)

    def trim_casual(self) -> None:
        """Leave the peers that a DHT walk has met, but for a few: it would get to know the whole network."""
        if not self._trimming:
            self._trimming = True
            self.nursery.start_soon(self._trim_casual)

    async def _trim_casual(self) -> None:
        await trio.sleep(_SETTLE_S)  # identify still talks to those that were met last
        self._trimming = False
        idle = [item for item in self.connections() if item.casual and not item.muxer.open_streams]
        idle.sort(key=lambda item: item.since_s)
        for connection in idle[: -self._limits.casual_connections]:
            connection.muxer.abort()

    # Streams

    async def open(self, connection: Connection, protocols: Sequence[str]) -> LibP2PStream:
        """Raises ProtocolUnsupported, or PeerUnreachable when the connection is lost."""
        try:
            stream = connection.open_stream()
        except StreamLostError as exc:
            raise PeerUnreachable(str(exc)) from exc
        try:
            stream.protocol = await multistream.propose(stream.receive_some, stream.send_all, protocols)
        except ProtocolUnsupported:
            stream.reset()
            raise
        except (trio.BrokenResourceError, PeerError) as exc:
            stream.reset()
            raise PeerUnreachable(f"the stream was lost: {exc}") from exc
        except BaseException:
            stream.reset()
            raise
        return stream

    def _start_stream(self, connection: Connection, stream: LibP2PStream) -> None:
        if self.streams >= self._limits.streams:
            self._owner.counts["refused_streams"] += 1
            stream.reset()
        else:
            self.streams += 1
            self.nursery.start_soon(self._serve_stream, connection, stream)

    async def _serve_stream(self, connection: Connection, stream: LibP2PStream) -> None:
        try:
            await self._handle_stream(connection, stream)
        finally:
            self.streams -= 1

    async def _handle_stream(self, connection: Connection, stream: LibP2PStream) -> None:
        """Root of the task of an inbound stream: nothing but cancellation leaves it."""
        try:
            with trio.fail_after(self._limits.negotiate_s):
                supported = self._owner.handlers.keys() | {str(key) for key in self.host.multiselect.handlers}
                stream.protocol = await multistream.answer(stream.receive_some, stream.send_all, supported)
        except (trio.TooSlowError, trio.BrokenResourceError, trio.ClosedResourceError, PeerError) as exc:
            logger.debug("no protocol agreed with %s: %s", connection.peer, exc)
            stream.reset()
            return
        if stream.protocol in self._owner.handlers and stream.protocol not in KAD_PROTOCOLS.values():
            connection.casual = False
        handler = self._owner.handlers.get(stream.protocol) or self._handler_of_libp2p(connection, stream.protocol)
        await run_handler(handler, stream, self._owner.counts)

    def _handler_of_libp2p(self, connection: Connection, protocol: str) -> Handler:
        libp2p_handler = self.host.multiselect.handlers[TProtocol(protocol)]

        async def handle(stream: Stream) -> None:
            await libp2p_handler(NetStreamView(stream, connection, Direction.INBOUND))

        return handle

    # For libp2p's own protocols

    def announce_protocol(self, protocol: str) -> None:
        """Let identify tell others that this protocol is served."""
        self.host.multiselect.add_handler(TProtocol(protocol), None)

    def _on_identified(self, peer: ID, addresses: Sequence[str], protocols: Sequence[str]) -> None:
        self._owner.on_identified(peer_text(peer), addresses, protocols)

    async def _dial_for_libp2p(self, peer: ID) -> Connection:
        text = peer.to_base58()
        with trio.fail_after(_LIBP2P_DIAL_S):
            return await self.connect(text, self._owner.dial_candidates(text))

    async def _open_for_libp2p(self, peer: ID, protocols: Sequence[str]) -> INetStream:
        """Never dials: what libp2p asks by itself (identify, ping) must not bring back a peer that was left."""
        connection = self.connection(peer_text(peer))
        if connection is None:
            raise SwarmException(f"not connected to {peer_text(peer)}")
        with trio.fail_after(_LIBP2P_DIAL_S):
            return NetStreamView(await self.open(connection, protocols), connection, Direction.OUTBOUND)
