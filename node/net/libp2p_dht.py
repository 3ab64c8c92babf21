"""The Kademlia protocol over our streams: a server for others, and walks of our own. IPNS records are its only values.

Uses libp2p's protobuf classes for the messages and nothing else of its DHT; see node/net/kademlia.py for the reason.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from typing import Any, Protocol

import trio
from google.protobuf.message import DecodeError as ProtobufError
from libp2p.kad_dht.pb.kademlia_pb2 import Message
from multiaddr import Multiaddr

from node.net.addresses import Address
from node.net.delimited import delimited
from node.net.kademlia import NEAREST, Provider, ProviderTable, RoutingTable, Walk, position
from node.net.kademlia_values import NAME_PREFIX, StaleRecord, ValueTable, check_value, value_key
from node.net.peer_ids import peer_id_bytes, peer_id_text
from node.net.port import BadAddress, PeerId, Stream
from protocol.errors import PeerError
from protocol.ipns import IpnsRecord

logger = logging.getLogger(__name__)

PROTOCOLS = {
    "federation": "/fednode/kad/1.0.0",
    "lan": "/ipfs/lan/kad/1.0.0",
    "public": "/ipfs/kad/1.0.0",
}
"""By the network that a node joins. Nodes of one never learn of those of another."""

KEY_MAX_BYTES = 80  # what other implementations take; a sha2-256 multihash has 34
_REQUEST_MAX_BYTES = 64 * 1024
_RESPONSE_MAX_BYTES = 256 * 1024  # 40 peers with 16 addresses and a signed record each
_PEER_ADDRESSES_MAX = 16
_ADDRESS_MAX_BYTES = 512
_RECORD_LIFE_S = 48 * 3600.0  # the specification's
_REQUEST_S = 6.0  # one request, its dial included
_WALK_S = 60.0
_IDLE_S = 30.0  # between two requests on one stream
_ECHO_S = 2.0
_REFRESH_S = 600.0
_STRANGERS_MAX = 1024
_TRY_S = 3.0
_UNTRIED_MAX = 64  # all are asked at once; who is not taken in now may be met again
_QUORUM = 8  # records of a name before the newest of them is believed to be the newest there is; half of Kubo's
_SETTLE_S = 0.5  # after a new peer, before asking around: several often come at once

Reply = Any  # a kademlia_pb2.Message; libp2p is untyped to mypy


class Host(Protocol):
    """What the DHT needs of the network that it is a part of."""

    withholds: Callable[[bytes], bool]
    refuses: Callable[[PeerId], bool]

    @property
    def local_peer(self) -> PeerId: ...
    def addresses(self) -> list[str]: ...
    def tellable(self, addresses: Iterable[str], to: PeerId) -> list[str]: ...
    def known_addresses(self, peer: PeerId) -> list[str]: ...
    def claim(self, peer: PeerId, addresses: Iterable[str]) -> None: ...
    def connected_peers(self) -> set[PeerId]: ...
    def walk_ended(self) -> None: ...
    async def open_for_dht(self, peer: PeerId, protocol: str, *, dial: bool) -> Stream: ...


class Dht:
    """Outlives restarts of the network below. `run` must run; `serve_stream` is the handler of `protocol`."""

    def __init__(self, host: Host, protocol: str) -> None:
        self._host = host
        self.protocol = protocol
        self._values = ValueTable(host.local_peer)
        self._table = RoutingTable(host.local_peer)
        self._records = ProviderTable()
        self._strangers: dict[PeerId, None] = {}  # said that they take no part: not worth asking
        self._untried: dict[PeerId, None] = {}  # said that they take part
        self._new_peers = trio.Event()

    async def run(self) -> None:
        """Keep the routing table alive until cancelled."""
        while True:
            with trio.move_on_after(_REFRESH_S):
                while not await self._try_new():
                    pass
                await trio.sleep(_SETTLE_S)
            self._records.expire(time.time())
            self._values.expire(time.time())
            await self._walk(peer_id_bytes(self._host.local_peer), lambda _: False)

    def on_identified(self, peer: PeerId, protocols: Sequence[str]) -> None:
        """A connected peer said what it speaks."""
        if self.protocol not in protocols:
            self._strangers[peer] = None
            if len(self._strangers) > _STRANGERS_MAX:
                del self._strangers[next(iter(self._strangers))]
            return
        self._strangers.pop(peer, None)
        self._untried[peer] = None
        if len(self._untried) > _UNTRIED_MAX:
            del self._untried[next(iter(self._untried))]
        self._new_peers.set()

    async def _try_new(self) -> bool:
        """Waits for peers that say that they take part, and takes those in that answer while they are connected.

        Who is in the table is dialled. Taken in for its word alone, anybody could have the addresses of others dialled.
        True when it is time to ask around: somebody was new, or few are known. Who comes again and again costs no walk.
        """
        await self._new_peers.wait()
        self._new_peers = trio.Event()
        is_new = False
        peers, self._untried = list(self._untried), {}
        request = _message(Message.FIND_NODE, peer_id_bytes(self._host.local_peer))

        async def try_one(peer: PeerId) -> None:
            nonlocal is_new
            if await self._ask(peer, request, dial=False) is not None:
                is_new |= self._table.add(peer)

        with trio.move_on_after(_TRY_S):
            async with trio.open_nursery() as nursery:
                for peer in peers:
                    nursery.start_soon(try_one, peer)
        return is_new or len(self._table) < NEAREST

    @property
    def size(self) -> int:
        """Peers in the routing table."""
        return len(self._table)

    # Our own questions

    async def provide(self, key: bytes, deadline_s: float) -> int:
        """How many of the nearest nodes took the record. At most half of the time goes into finding them."""
        own = Provider(self._host.local_peer, tuple(self._host.addresses()), time.time() + _RECORD_LIFE_S)
        self._records.add(key, own)

        def request(to: PeerId) -> Reply:
            message = _message(Message.ADD_PROVIDER, key)
            self._add_peer(message.providerPeers, own.peer, own.addresses, to)
            return message

        return await self._tell_nearest(key, request, deadline_s)

    async def _tell_nearest(self, key: bytes, request: Callable[[PeerId], Reply], deadline_s: float) -> int:
        deadline = trio.current_time() + deadline_s
        nearest = await self._walk(key, lambda _: False, walk_s=deadline_s / 2)
        taken = 0

        async def send(peer: PeerId) -> None:
            nonlocal taken
            took = await self._tell(peer, request)  # first: `taken` may change meanwhile
            taken += took

        async with trio.open_nursery() as nursery:
            nursery.cancel_scope.deadline = deadline
            for peer in nearest:
                nursery.start_soon(send, peer)
        return taken

    async def find_providers(self, key: bytes, limit: int, found: dict[PeerId, list[str]]) -> None:
        """Fill `found` until it holds `limit` peers or nobody knows more; may be cancelled at any time."""

        def take(providers: Iterable[tuple[PeerId, list[str]]]) -> bool:
            for peer, addresses in providers:
                if peer == self._host.local_peer or self._host.refuses(peer):
                    continue
                if peer in found or len(found) < limit:
                    found[peer] = list(dict.fromkeys([*found.get(peer, ()), *addresses]))
            return len(found) >= limit

        if not take((item.peer, list(item.addresses)) for item in self._records.providers(key, time.time())):
            await self._walk(key, lambda reply: take(_peers_of(reply.providerPeers)), Message.GET_PROVIDERS)

    async def put_ipns(self, name: bytes, record: IpnsRecord, deadline_s: float) -> int:
        """How many of the nearest nodes took the record of a name, which was checked; none if it is outdated."""
        key = value_key(name)
        try:
            self._values.put(key, record, self._host.local_peer, time.time() + _RECORD_LIFE_S)
        except StaleRecord:
            return 0
        request = _message(Message.PUT_VALUE, key)
        _set_record(request, key, record.raw)
        return await self._tell_nearest(key, lambda _: request, deadline_s)

    async def find_ipns(self, name: bytes, found: list[IpnsRecord]) -> None:
        """Append each verified record that is newer than those before; may be cancelled at any time."""
        key = value_key(name)
        answers = 0

        def take(value: bytes) -> None:
            try:
                record = check_value(key, value, time.time())
            except PeerError as exc:
                logger.debug("a DHT node has a faulty record: %s", exc)
                return
            if not found or found[-1].order < record.order:
                found.append(record)

        def look(reply: Reply) -> bool:
            nonlocal answers
            if reply.record.key == key and reply.record.value:
                take(reply.record.value)
                answers += 1
            return answers >= _QUORUM

        own = self._values.get(key, time.time())
        if own is not None:
            take(own)
        await self._walk(key, look, Message.GET_VALUE)

    async def count_provided(self, key: bytes, deadline_s: float) -> int:
        """How many nodes name us, asked on a walk that comes from elsewhere than the one that put the record."""
        own = peer_id_bytes(self._host.local_peer)
        count = 0

        def look(reply: Reply) -> bool:
            nonlocal count
            named = [entry.id for entry in reply.providerPeers]
            count += own in named or len(named) >= NEAREST
            return False

        start = self._table.scattered(NEAREST, key)
        await self._walk(key, look, Message.GET_PROVIDERS, walk_s=deadline_s, start=start)
        return count

    async def _walk(
        self,
        key: bytes,
        enough: Callable[[Reply], bool],
        kind: int = Message.FIND_NODE,
        walk_s: float = _WALK_S,
        start: list[PeerId] | None = None,
    ) -> list[PeerId]:
        """The nearest peers that answered in time. Ends early when `enough` says so about an answer."""
        if start is None:
            start = self._table.nearest(position(key))
        visitors: set[PeerId] = set()
        if len(start) < NEAREST:  # also those that have not said yet whether they take part
            visitors = self._host.connected_peers() - self._strangers.keys() - set(start)
            start = [*start, *visitors]
        walk = Walk(position(key), start, self._host.local_peer)
        request = _message(kind, key)
        async with trio.open_nursery() as nursery:
            nursery.cancel_scope.deadline = trio.current_time() + walk_s
            moved = trio.Event()

            async def ask(peer: PeerId) -> None:
                reply = await self._ask(peer, request, dial=peer not in visitors)
                if reply is None:
                    self._table.remove(peer)
                    walk.failed(peer)
                else:
                    self._table.add(peer)
                    nearer = [item for item in _peers_of(reply.closerPeers) if not self._host.refuses(item[0])]
                    for other, addresses in nearer:
                        self._host.claim(other, addresses)
                    walk.answered(peer, [other for other, _ in nearer])
                    if enough(reply):
                        nursery.cancel_scope.cancel()
                moved.set()

            while True:
                while (peer := walk.next_peer()) is not None:
                    nursery.start_soon(ask, peer)
                if not walk.asking:
                    break
                await moved.wait()
                moved = trio.Event()
        self._host.walk_ended()
        return walk.nearest()

    async def _ask(self, peer: PeerId, request: Reply, *, dial: bool) -> Reply | None:
        """The answer, or None when the peer fails to give one of the same kind in time.

        Our side is ended after it, not before: libp2p's server resets a stream at its end, answers on it included.
        """
        with trio.move_on_after(_REQUEST_S):
            try:
                stream = await self._host.open_for_dht(peer, self.protocol, dial=dial)
            except PeerError as exc:
                logger.debug("cannot ask %s: %s", peer, exc)
                return None
            try:
                await stream.send_all(_framed(request))
                reply = await _receive(stream, _RESPONSE_MAX_BYTES)
                return reply if reply is not None and reply.type == request.type else None
            except (trio.BrokenResourceError, PeerError) as exc:
                logger.debug("no answer from %s: %s", peer, exc)
                return None
            finally:
                await stream.aclose()
        logger.debug("no answer from %s within %g s", peer, _REQUEST_S)
        return None

    async def _tell(self, peer: PeerId, request: Callable[[PeerId], Reply]) -> bool:
        """Whether the peer took it: some answer, some just end the stream, one that refuses resets it."""
        with trio.move_on_after(_REQUEST_S):
            try:
                stream = await self._host.open_for_dht(peer, self.protocol, dial=True)
            except PeerError as exc:
                logger.debug("cannot tell %s: %s", peer, exc)
                return False
            try:
                await stream.send_all(_framed(request(peer)))
                with trio.move_on_after(_ECHO_S):
                    await stream.receive_some()
                return True
            except trio.BrokenResourceError as exc:
                logger.debug("%s refused a record: %s", peer, exc)
                return False
            finally:
                await stream.aclose()
        return False

    # Others' questions

    async def serve_stream(self, stream: Stream) -> None:
        while True:
            with trio.fail_after(_IDLE_S):
                request = await _receive(stream, _REQUEST_MAX_BYTES)
            if request is None:
                return
            reply = self._answer(stream.peer, request)
            if reply is None:
                stream.reset()
                return
            with trio.fail_after(_IDLE_S):
                await stream.send_all(_framed(reply))

    def _answer(self, asker: PeerId, request: Reply) -> Reply | None:
        """The reply to a well-formed request; None for one that is refused."""
        key = request.key
        if request.type == Message.PING:
            return _message(Message.PING, b"")
        if not 0 < len(key) <= KEY_MAX_BYTES:
            return None
        withheld = self._host.withholds(key.removeprefix(NAME_PREFIX))
        if withheld and request.type in (Message.ADD_PROVIDER, Message.PUT_VALUE):
            return None
        if request.type == Message.ADD_PROVIDER:
            return _message(Message.ADD_PROVIDER, key) if self._keep(asker, request) else None
        if request.type == Message.PUT_VALUE:
            return request if self._keep_value(asker, request) else None
        if request.type not in (Message.FIND_NODE, Message.GET_PROVIDERS, Message.GET_VALUE):
            return None
        reply = _message(request.type, key)
        if not withheld:
            self._add_records(reply, key, asker)
        if request.type == Message.FIND_NODE and key == peer_id_bytes(asker):
            # so that it learns of another process with its key
            self._add_peer(reply.closerPeers, asker, self._host.known_addresses(asker), asker)
        for peer in self._nearest_for(asker, key, is_peer=request.type == Message.FIND_NODE):
            self._add_peer(reply.closerPeers, peer, self._host.known_addresses(peer), asker)
        return reply

    def _add_records(self, reply: Reply, key: bytes, asker: PeerId) -> None:
        """What is kept under the key of the kind that is asked for."""
        if reply.type == Message.GET_PROVIDERS:
            named = (each for each in self._records.providers(key, time.time()) if not self._host.refuses(each.peer))
            for provider in islice(named, NEAREST):
                self._add_peer(reply.providerPeers, provider.peer, provider.addresses, asker)
        if reply.type == Message.GET_VALUE and (value := self._values.get(key, time.time())) is not None:
            _set_record(reply, key, value)

    def _add_peer(self, entries: Any, peer: PeerId, addresses: Iterable[str], to: PeerId) -> None:
        """An entry about `peer` in a message to `to`."""
        entry = entries.add(id=peer_id_bytes(peer))
        if self.protocol == PROTOCOLS["public"]:
            addresses = self._host.tellable(addresses, to)
        for text in list(addresses)[:_PEER_ADDRESSES_MAX]:
            entry.addrs.append(_address_bytes(text))

    def _nearest_for(self, asker: PeerId, key: bytes, *, is_peer: bool) -> list[PeerId]:
        nearest = self._table.nearest(position(key), NEAREST + 1)
        if is_peer:
            with suppress(BadAddress):
                wanted = peer_id_text(key)
                if wanted not in nearest and wanted in self._host.connected_peers():
                    nearest.insert(0, wanted)
        return [peer for peer in nearest if peer != asker and not self._host.refuses(peer)][:NEAREST]

    def _keep(self, asker: PeerId, request: Reply) -> bool:
        """Store what the asker says of itself; what it says of others is ignored."""
        for peer, addresses in _peers_of(request.providerPeers):
            if peer == asker:
                known = addresses or self._host.known_addresses(asker)
                provider = Provider(asker, tuple(known), time.time() + _RECORD_LIFE_S)
                return self._records.add(request.key, provider)
        return False

    def _keep_value(self, asker: PeerId, request: Reply) -> bool:
        """Store an IPNS record, whoever brings it: it is signed."""
        if request.record.key != request.key:
            return False
        try:
            record = check_value(request.key, request.record.value, time.time())
            self._values.put(request.key, record, asker, time.time() + _RECORD_LIFE_S)
        except PeerError as exc:
            logger.debug("no record is taken from %s: %s", asker, exc)
            return False
        return True


def _set_record(message: Reply, key: bytes, value: bytes) -> None:
    message.record.key = key
    message.record.value = value


def _message(kind: Any, key: bytes) -> Reply:
    return Message(type=kind, key=key)


def _framed(message: Reply) -> bytes:
    return delimited(message.SerializeToString())


async def _receive(stream: Stream, max_bytes: int) -> Reply | None:
    """The next message; None at the end of the stream. Raises trio.BrokenResourceError, PeerError."""
    length = shift = 0
    while True:
        byte = await stream.receive_some(1)
        if not byte:
            if shift:
                raise PeerError("the stream ended within a message")
            return None
        length |= (byte[0] & 0x7F) << shift
        if not byte[0] & 0x80:
            break
        shift += 7
        if shift > 21:
            raise PeerError("a message length of more than four bytes")
    if length > max_bytes:
        raise PeerError(f"a message of {length} bytes")
    body = bytearray()
    while len(body) < length:
        more = await stream.receive_some(length - len(body))
        if not more:
            raise PeerError("the stream ended within a message")
        body += more
    try:
        return Message.FromString(bytes(body))
    except ProtobufError as exc:
        raise PeerError("a message that is not protobuf") from exc


@lru_cache(4096)
def _address_bytes(text: str) -> bytes:
    return bytes(Multiaddr(text.partition("/p2p/")[0]).to_bytes())


def _peers_of(peers: Iterable[Any]) -> list[tuple[PeerId, list[str]]]:
    """The well-formed entries of a message, with those of their addresses that fednode can dial."""
    found = []
    for entry in list(peers)[: 2 * NEAREST]:
        with suppress(BadAddress):
            peer = peer_id_text(entry.id)
            addresses = (_address_text(raw, peer) for raw in entry.addrs[:_PEER_ADDRESSES_MAX])
            found.append((peer, [text for text in addresses if text is not None]))
    return found


@lru_cache(4096)
def _address_text(raw: bytes, peer: PeerId) -> str | None:
    """Parsing costs 0.1 ms, a walk brings hundreds of addresses, and most of them were in the walk before."""
    if len(raw) > _ADDRESS_MAX_BYTES:
        return None
    try:
        text = str(Multiaddr(raw))
    except Exception:  # noqa: BLE001 - the library raises errors of many kinds on bytes that strangers chose
        logger.debug("not a multiaddr: %d bytes", len(raw))
        return None
    try:
        address = Address.parse(text)
    except BadAddress:
        return None
    return str(address.at(peer)) if address.peer in (None, peer) and address.port else None
