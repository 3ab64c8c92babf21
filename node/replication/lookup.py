"""Finding hosts of a site: the peers that are connected and those that its releases name, then what the DHT says."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

import trio

from node.net.port import Network, PeerId
from node.replication.asking import ask_head
from node.replication.context import IDLE_S, OPEN_DEADLINE_S, Context
from protocol import messages as msg
from protocol.errors import PeerError
from protocol.messages import SYNC_PROTOCOL
from protocol.release import SignedRelease
from protocol.site_id import SiteId

PROVIDERS_MAX = 8
LOOKUP_DEADLINE_S = 15.0
PEERS_ASKED_MAX = 32
ASK_DEADLINE_S = 5.0
GRACE_S = 0.25
# Releases add no more to what is known of a node: or those of strangers could drive its true addresses out of the book.
ADDRESSES_ENOUGH = 8

log = logging.getLogger(__name__)


def dht_key(site: SiteId) -> bytes:
    """The key under which hosts of a site are found in the DHT: the multihash of its name."""
    return site.cid.multihash


async def announce_to_ipfs(network: Network, held: SignedRelease) -> None:
    """Tells the IPFS network that was joined, if any, who has the site's root and which root its name stands for."""
    if held.release.root is not None:
        await network.provide(held.release.root.multihash, ipfs_only=True)
        await network.put_ipns(dht_key(held.site), held.ipns_record)


async def ask(context: Context, peer: PeerId, site: SiteId) -> SignedRelease | msg.Refuse:
    """Asks one peer for the site's head. Raises PeerError when it cannot be asked or answers nonsense."""
    stream = await context.network.open(peer, SYNC_PROTOCOL, deadline_s=OPEN_DEADLINE_S)
    return await ask_head(stream, site, idle_s=IDLE_S, write_s=IDLE_S)


Take = Callable[[PeerId, SignedRelease], None]


def named_hosts(context: Context, site: SiteId, more: Iterable[SignedRelease] = ()) -> list[PeerId]:
    """The nodes that the known releases of a site, and `more` of them, name as its hosts; remembers where they are."""
    state = context.core.state_of(site)
    known = [signed for signed in (state.head, state.held) if signed is not None] if state is not None else []
    found: dict[PeerId, None] = {}
    for signed in (*known, *more):
        for address in signed.release.hosts:
            peer = address.rpartition("/p2p/")[2]
            if len(context.network.known_addresses(peer)) < ADDRESSES_ENOUGH:
                context.network.remember(peer, [address])
            found[peer] = None
    # One that cannot be dialled, such as this node itself, is not in the address book.
    return [peer for peer in found if context.network.known_addresses(peer)]


async def find_heads(
    context: Context, site: SiteId, take: Take, *, hurry: bool = False, known: Iterable[SignedRelease] = ()
) -> None:
    """Asks connected peers and named hosts, then those that the DHT finds; `take(peer, signed)` gets each head at once.

    With `hurry` (a reader waits) the first head shortens the wait for others to GRACE_S and spares the DHT. known:
    releases of the site that the core does not know of.
    """
    first = [info.peer for info in context.network.peers()][:PEERS_ASKED_MAX]
    first += [peer for peer in named_hosts(context, site, known) if peer not in first]
    found = await _ask_all(context, first, site, take, hurry)
    if found and hurry:
        return
    providers = await context.network.find_providers(dht_key(site), limit=PROVIDERS_MAX, deadline_s=LOOKUP_DEADLINE_S)
    fresh = [peer for peer, _ in providers if peer not in first and peer != context.network.local_peer]
    for peer, addresses in providers:
        context.network.remember(peer, addresses)
    await _ask_all(context, fresh, site, take, hurry)


async def _ask_all(context: Context, peers: list[PeerId], site: SiteId, take: Take, hurry: bool) -> bool:
    """Asks all at once within the deadline: one silent peer must not hide the others. True if any had a head."""
    found = False

    async def ask_one(peer: PeerId, scope: trio.CancelScope) -> None:
        nonlocal found
        try:
            answer = await ask(context, peer, site)
        except PeerError as error:
            log.debug("asking %s for %s: %s", peer, site, error)
            context.standing.count(trio.current_time(), peer, error.code)
            return
        if isinstance(answer, SignedRelease):
            found = True
            take(peer, answer)
            if hurry:
                scope.deadline = min(scope.deadline, trio.current_time() + GRACE_S)

    with trio.move_on_after(ASK_DEADLINE_S) as scope:
        async with trio.open_nursery() as nursery:
            for peer in peers:
                nursery.start_soon(ask_one, peer, scope)
    return found
