"""The network port: what fednode needs from a peer-to-peer network, and the contract of both implementations.

`open_network` (libp2p over TCP) and `open_memory_network` (the in-memory twin) pass one conformance suite,
tests/conformance/test_net*.py. Nothing outside node/net knows that libp2p exists.

Contract, in addition to the method docstrings:

- Every wait is bounded: by the `deadline_s` of the call, or by the deadlines in `NetLimits`.
- No peer can make a call raise anything but a `PeerError`, and no peer can end the network.
- Leaving the context closes every stream and connection in under two seconds, whatever peers do.
- All methods belong to the trio thread.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol, TypeAlias

import trio

from protocol.errors import OperatorError, PeerError
from protocol.ipns import IpnsRecord

PeerId: TypeAlias = str
"""A libp2p peer id in its base58 form (`12D3KooW…` for Ed25519 keys)."""


class BadAddress(PeerError):
    """A multiaddr that is malformed, or that names no peer, or a transport that fednode does not speak."""

    code: ClassVar[str] = "bad-address"


class PeerUnreachable(PeerError):
    """No known address of the peer led to it within the deadline."""

    code: ClassVar[str] = "peer-unreachable"


class ProtocolUnsupported(PeerError):
    """The peer is connected but does not speak the protocol that was asked for."""

    code: ClassVar[str] = "protocol-unsupported"


class NetworkStopped(PeerError):
    """The network is stopping or restarting; nothing was sent."""

    code: ClassVar[str] = "network-stopped"


class ListenFailed(OperatorError):
    """A listening address cannot be used: taken, not allowed, not of this machine, or malformed."""

    code: ClassVar[str] = "listen-failed"


@dataclass(frozen=True, slots=True)
class NetLimits:
    """Bounds of one network. Counts are inclusive; seconds end in `_s`."""

    connections: int = 256
    """connections in all, both directions, handshakes included; each costs about 100 KB of memory"""
    inbound_connections: int = 192
    """connections that others opened: the rest stays free for dialling out"""
    connections_per_address: int = 32
    """inbound connections from one IPv4 address or one IPv6 /64, handshakes included"""
    handshakes: int = 64
    """inbound connections that have not proved their key yet"""
    connections_per_peer: int = 4
    """connections with one peer; the oldest is closed when one more is made"""
    casual_connections: int = 16
    """connections that were dialled for a DHT walk only and are kept when it is over"""
    streams: int = 2048
    """inbound streams with a running handler, all peers together; more are reset at once"""
    receive_bytes: int = 128 * 1024 * 1024
    """what all peers together may send before it is read; beyond, the largest holder is disconnected"""
    streams_per_connection: int = 256
    """streams that each side may hold open on one connection; more inbound ones are reset at once"""
    handshake_s: float = 5.0
    """from accept or connect to a proved key and an agreed multiplexer"""
    negotiate_s: float = 5.0
    """from a new inbound stream to an agreed protocol"""
    write_stall_s: float = 20.0
    """a stream write that makes no progress for so long fails, and the stream is reset"""
    idle_ping_s: float = 20.0
    """a connection that brought nothing for so long is pinged"""
    ping_s: float = 10.0
    """and closed when the answer takes longer than this"""
    peers_remembered: int = 4096
    """peers in the address book; the one that was not used for longest is forgotten"""
    addresses_per_peer: int = 16
    """addresses kept for one peer"""
    events: int = 1024
    """events waiting for a slow subscriber; later ones are dropped and counted"""


@dataclass(frozen=True, slots=True)
class NetSettings:
    """What `open_network` needs to know.

    `listen`: multiaddrs (`/ip4/127.0.0.1/tcp/4101`, port 0 = chosen by the system); empty for a pure dialler.
    `private_key`: the 32-byte Ed25519 seed of the node key.
    `announce`: multiaddrs to tell others instead of the listening ones (behind NAT or a name).
    `dht`: take part in the Kademlia DHT; a node that listens serves it, a pure dialler only asks.
    `join`: whose DHT beside fednode's own: "federation" (none), "lan" (of IPFS nodes nearby), "public" (of all).
    """

    listen: tuple[str, ...]
    private_key: bytes = field(repr=False)
    announce: tuple[str, ...] = ()
    dht: bool = True
    join: str = "federation"
    limits: NetLimits = NetLimits()


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """One connected peer. `addresses` are dialable multiaddrs as far as known, `since_s` is unix time."""

    peer: PeerId
    addresses: tuple[str, ...]
    inbound: bool
    since_s: float


@dataclass(frozen=True, slots=True)
class PeerConnected:
    """The first connection with this peer was made."""

    peer: PeerId
    inbound: bool


@dataclass(frozen=True, slots=True)
class PeerDisconnected:
    """The last connection with this peer ended."""

    peer: PeerId


NetEvent: TypeAlias = PeerConnected | PeerDisconnected


@dataclass(frozen=True, slots=True)
class NetHealth:
    """Counters since `open_network`, for status and metrics."""

    state: Literal["running", "restarting", "stopped"]
    restarts: int
    connections: int
    handshakes: int
    streams: int
    refused_connections: int
    failed_handshakes: int
    refused_streams: int
    handler_errors: int
    dropped_events: int
    last_error: str | None = None
    twin_at: str | None = None
    """where another process was met that proved this node's key, within the last hour: an IP, or IP and port"""


class Stream(trio.abc.HalfCloseableStream):
    """One ordered byte stream to `peer`, inside an encrypted connection.

    `receive_some` returns b"" after the peer's end, and raises BrokenResourceError after a reset or a lost
    connection. `send_all` waits for the peer's flow control; when nothing moves for `NetLimits.write_stall_s`
    the stream is reset and BrokenResourceError raised. Cancelling harms at most this stream: after a cancelled
    `send_all`, which may have sent a part, the stream is good for nothing but `aclose`. One task may send while
    another receives. `aclose` ends both directions, never waits for the peer, and may be repeated.
    """

    peer: PeerId
    protocol: str

    @abstractmethod
    def reset(self) -> None:
        """Abort at once: the peer sees a reset, local calls raise BrokenResourceError. Never blocks."""


Handler: TypeAlias = Callable[[Stream], Awaitable[None]]


class Network(Protocol):
    """A running network. See the module docstring for the contract."""

    withholds: Callable[[bytes], bool]
    """Asked whenever others ask the DHT's part in this node about a multihash: True, and it neither tells nor takes
    anything of it. Set by who knows the rules; until then nothing is withheld."""

    refuses: Callable[[PeerId], bool]
    """Asked about a peer before there is a connection with it, in either direction, and before the DHT's part in this
    node names it or takes its name from others: True, and it does not. Set like `withholds`; see `leave_refused`."""

    @property
    def local_peer(self) -> PeerId:
        """The peer id that belongs to the node key."""

    def addresses(self) -> list[str]:
        """Multiaddrs to dial this node at, each ending in /p2p/ID; empty for a pure dialler."""

    async def connect(self, address: str, *, deadline_s: float) -> PeerId:
        """Connect to a multiaddr that ends in /p2p/ID, remember it, and return the proved peer id.

        Returns at once when the peer is connected. Raises BadAddress (also for oneself), PeerUnreachable.
        """

    async def reach(self, peer: PeerId, *, deadline_s: float) -> None:
        """Connect to the peer at one of its remembered addresses; one that leads nowhere does not hold up the others.

        Returns at once when the peer is connected. Raises BadAddress (oneself), PeerUnreachable.
        """

    async def open(self, peer: PeerId, protocol: str, *, deadline_s: float, dial: bool = True) -> Stream:
        """Open a stream; a peer that is not connected is dialled at its remembered addresses, if `dial` allows it.

        Raises PeerUnreachable, ProtocolUnsupported, BadAddress (oneself), NetworkStopped.
        """

    def serve(self, protocol: str, handler: Handler) -> None:
        """Call `handler(stream)` in a task of its own for each inbound stream of `protocol`.

        The stream is closed when the handler returns, and reset when it raises; what it raises is logged and
        counted and goes no further. Registering again replaces; survives restarts of the network.
        """

    def peers(self) -> list[PeerInfo]:
        """The connected peers, longest connected first."""

    def events(self) -> trio.MemoryReceiveChannel[NetEvent]:
        """A new subscription from now on. Bounded: one who lags `NetLimits.events` behind misses some."""

    def remember(self, peer: PeerId, addresses: Iterable[str], *, reached: bool = False) -> None:
        """Add addresses for later dials, newest first. Malformed ones are ignored, also those of oneself.

        They come after those at which this node reached the peer, and drive none of them out. reached: they were
        known in an earlier run in which it was connected with the peer, and the first few count as such.
        """

    def known_addresses(self, peer: PeerId) -> list[str]:
        """What the address book holds for this peer, each ending in /p2p/ID: where it was reached, then the newest."""

    def note_useful(self, peer: PeerId) -> None:
        """This peer has just been of use. When the table of connections fills, idle ones go, the useless ones first."""

    def ban(self, peer: PeerId, *, for_s: float) -> None:
        """Close all connections with this peer at once, and have none with it for so long, in neither direction."""

    def leave_refused(self) -> None:
        """Close all connections with peers that `refuses` names, at once. To be called when its answers changed."""

    async def disconnect(self, peer: PeerId) -> None:
        """Close all connections with this peer; unknown peers are fine. Does not forget its addresses."""

    async def provide(self, key: bytes, *, deadline_s: float = 30.0, ipfs_only: bool = False) -> int:
        """Tell the DHT nodes nearest to `key` (at most 64 bytes, a multihash) that this node has it.

        `ipfs_only`: not in fednode's own DHT, only in the one that was joined beside it, if any.
        Returns how many took the record. Records live about a day there: call again before.
        """

    async def count_provided(self, key: bytes, *, deadline_s: float) -> int:
        """How many of the DHT nodes nearest to `key` name this node as a provider, asked as a stranger would.

        A node that names many others and so has no room for this one counts too.
        """

    async def find_providers(self, key: bytes, *, limit: int, deadline_s: float) -> list[tuple[PeerId, list[str]]]:
        """Ask the DHT who has `key`: at most `limit` peers other than oneself, each once, with its addresses.

        Whatever was found when the deadline came is returned. Claims of strangers: verify what they serve.
        """

    async def put_ipns(self, name: bytes, record: bytes, *, deadline_s: float = 30.0) -> int:
        """Bring the IPNS record of a name (a multihash) to the nodes near it in the IPFS network that was joined.

        Returns how many took it: none where none was joined. Raises PeerError for a record that is not valid.
        """

    async def find_ipns(self, name: bytes, *, deadline_s: float) -> IpnsRecord | None:
        """The newest valid record of a name that the IPFS network that was joined gives in time, if any."""

    def health(self) -> NetHealth:
        """Counters and state, cheap."""
