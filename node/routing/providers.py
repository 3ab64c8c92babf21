"""Who may have a block: peers that the user names, what DHT and routers say, and whoever is connected."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import trio

from node.net.addresses import Address
from node.net.peer_ids import peer_id_text
from node.net.port import BadAddress, Network, PeerId
from node.routing.routers import Routers
from protocol.cid import Cid
from protocol.errors import PeerError
from protocol.ipns import name_of
from protocol.routing import RoutedPeer

CONNECT_S = 15.0
DHT_S = 20.0
PROVIDERS_MAX = 16
CONNECTED_MAX = 16

log = logging.getLogger(__name__)

Found = Callable[[PeerId], None]


async def find_providers(
    network: Network, routers: Routers, cid: Cid, addresses: Sequence[str], found: Found
) -> list[str]:
    """Calls `found` for each as it becomes known, in bounded time; returns what is wrong with `addresses`."""
    complaints: list[str] = []
    own = {peer for peer in map(_peer_of, addresses) if peer is not None}
    connected = [info.peer for info in network.peers()]

    async def connect(address: str) -> None:
        try:
            found(await network.connect(address, deadline_s=CONNECT_S))
        except PeerError as error:
            complaints.append(f"{address}: {error}")

    async def ask_dht() -> None:
        for peer, known in await network.find_providers(cid.multihash, limit=PROVIDERS_MAX, deadline_s=DHT_S):
            network.remember(peer, known)
            found(peer)

    async def ask_routers() -> None:
        for routed in (await routers.providers(cid))[:PROVIDERS_MAX]:
            peer = _remember(network, routed)
            if peer is not None:
                found(peer)

    async with trio.open_nursery() as nursery:
        for address in addresses:
            nursery.start_soon(connect, address)
        for peer in [peer for peer in connected if peer not in own][:CONNECTED_MAX]:
            found(peer)
        nursery.start_soon(ask_dht)
        nursery.start_soon(ask_routers)
    return complaints


def _remember(network: Network, routed: RoutedPeer) -> PeerId | None:
    """The peer, if it can be asked: it is not this node, speaks bitswap as far as is known, and has an address."""
    if not routed.may_speak_bitswap:
        return None
    try:
        peer = peer_id_text(name_of(routed.peer))
    except PeerError:
        return None
    if peer == network.local_peer:
        return None
    addresses = []
    for text in routed.addresses:
        try:
            address = Address.parse(text)
        except BadAddress:
            continue
        if address.peer in (None, peer):
            addresses.append(str(address.at(peer)))
    network.remember(peer, addresses)
    return peer if network.known_addresses(peer) else None


def _peer_of(address: str) -> PeerId | None:
    try:
        return Address.parse(address).peer
    except BadAddress:
        return None
