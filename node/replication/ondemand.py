"""What the gateway needs and the store lacks: heads of sites hosted elsewhere, and single blocks of sites."""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass, field

import trio

from node.gateway.backend import Identity, Unavailable
from node.net.channel import FrameChannel
from node.net.port import PeerId
from node.replication.context import IDLE_S, OPEN_DEADLINE_S, Context
from node.replication.lookup import find_heads
from node.replication.pull import SourceRefuses
from node.store.errors import BlockCorrupt, BlockMissing
from node.store.port import Store
from protocol import messages as msg
from protocol.cid import Cid
from protocol.errors import Malformed, OperatorError, PeerError
from protocol.messages import SYNC_PROTOCOL
from protocol.release import SignedRelease, check_successor
from protocol.site_id import SiteId

REMEMBERED_MAX = 1024
# How old a head may be that a reader of a site hosted elsewhere gets.
FRESH_S = 30.0
MISSING_S = 10.0
RESOLVE_DEADLINE_S = 15.0
BLOCK_DEADLINE_S = 20.0
SESSIONS_MAX = 16
ADDRESSES_MAX = 16  # told to readers

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Found:
    """A head seen at other hosts, or that none was found."""

    signed: SignedRelease | None
    hosts: list[PeerId]
    looked_at_s: float
    lock: trio.Lock = field(default_factory=trio.Lock)


class OnDemand:
    """Implements the gateway's Backend port over the network."""

    def __init__(self, context: Context, *, any_site: bool) -> None:
        """`any_site`: fetch whatever no rule refuses, not only what the hosting settings would take."""
        self._context = context
        self._any_site = any_site
        self._found: OrderedDict[SiteId, Found] = OrderedDict()
        self._fetching: dict[Cid, trio.Event] = {}
        self._sessions = trio.CapacityLimiter(SESSIONS_MAX)

    async def resolve(self, site: SiteId) -> SignedRelease:
        """The newest head that hosts who answer know. Equal requests at one time cost one lookup."""
        state = self._context.core.state_of(site)
        if state is not None and state.head is not None and state.head.release.ended:
            return state.head
        verdict = self._context.gate.may_ask_for(site)
        if not verdict.allowed:
            raise Unavailable("refused", verdict.reason)
        found = self._remember(site)
        async with found.lock:
            age_s = trio.current_time() - found.looked_at_s
            if age_s > (FRESH_S if found.signed else MISSING_S) or self._is_outdated(site, found):
                await self._look(site, found)
        if found.signed is None:
            raise Unavailable("not-found", "no host of this site answered")
        verdict = self._context.gate.may_host(found.signed, local=self._any_site)
        if not verdict.allowed:
            raise Unavailable("refused", verdict.reason)
        return found.signed

    async def fetch_block(self, site: SiteId, cid: Cid) -> None:
        """Makes one block of the site readable in the store; equal requests wait for one fetch."""
        if (running := self._fetching.get(cid)) is not None:
            with trio.move_on_after(BLOCK_DEADLINE_S):
                await running.wait()
            return
        done = self._fetching[cid] = trio.Event()
        try:
            with trio.fail_after(BLOCK_DEADLINE_S):
                async with self._sessions:
                    await self._fetch_block(site, cid)
        except trio.TooSlowError:
            raise Unavailable("timeout", "no host sent the block in time") from None
        finally:
            del self._fetching[cid]
            done.set()

    async def identity(self) -> Identity:
        """This node, with as many of its addresses as fit an answer."""
        network = self._context.network
        return Identity(network.local_peer, tuple(network.addresses()[:ADDRESSES_MAX]))

    def _is_outdated(self, site: SiteId, found: Found) -> bool:
        """A peer has offered a newer head meanwhile."""
        state = self._context.core.state_of(site)
        if state is None or state.head is None:
            return False
        return found.signed is None or state.head.seq > found.signed.seq

    def _remember(self, site: SiteId) -> Found:
        found = self._found.setdefault(site, Found(None, [], float("-inf")))
        self._found.move_to_end(site)
        while len(self._found) > REMEMBERED_MAX:
            self._found.popitem(last=False)
        return found

    async def _look(self, site: SiteId, found: Found) -> None:
        with trio.move_on_after(RESOLVE_DEADLINE_S):
            await find_heads(self._context, site, lambda peer, signed: self._take(found, peer, signed), hurry=True)
        found.looked_at_s = trio.current_time()

    def _take(self, found: Found, peer: PeerId, signed: SignedRelease) -> None:
        try:
            check_successor(found.signed, signed)
        except PeerError:
            return
        if found.signed is None or signed.cid != found.signed.cid:
            found.signed, found.hosts = signed, []
        if peer not in found.hosts:
            found.hosts.append(peer)

    async def _fetch_block(self, site: SiteId, cid: Cid) -> None:
        if await self._context.in_store(_is_readable, self._context.store, cid):
            return
        signed, hosts = await self._sources(site)
        for peer in hosts:
            self._check_policy(signed, cid)
            try:
                data = await self._from_host(peer, signed, cid)
                self._check_policy(signed, cid)
                await self._context.in_store(self._context.store.cache_blocks, [(cid, data)])
            except PeerError as error:
                self._context.standing.count(trio.current_time(), peer, error.code)
                log.info("block %s from %s: %s", cid, peer, error)
            except OperatorError as error:
                log.warning("cannot keep block %s: %s", cid, error)
                raise Unavailable("timeout", "the node cannot store the block at the moment") from error
            else:
                return
        raise Unavailable("timeout", "no host that answers has this part of the site")

    async def _sources(self, site: SiteId) -> tuple[SignedRelease, list[PeerId]]:
        """The release whose block is needed, and who may have it: for a site held here, anybody connected."""
        state = self._context.core.state_of(site)
        if state is None or state.held is None:
            signed = await self.resolve(site)
            return signed, list(self._remember(site).hosts)
        peers = [*state.sources, *(info.peer for info in self._context.network.peers())]
        if not peers:
            await find_heads(self._context, site, lambda peer, _: peers.append(peer), hurry=True)
        return state.held, list(dict.fromkeys(peers))

    async def _from_host(self, peer: PeerId, signed: SignedRelease, cid: Cid) -> bytes:
        stream = await self._context.network.open(peer, SYNC_PROTOCOL, deadline_s=OPEN_DEADLINE_S)
        async with FrameChannel(stream, idle_s=IDLE_S, write_s=IDLE_S) as channel:
            await channel.send(msg.Fetch(signed.site, signed.cid))
            await channel.send(msg.Want((cid,)))
            match await channel.receive():
                case msg.Block(got, data) if got == cid:
                    cid.verify(data)
                    return data
                case msg.Missing() | msg.Refuse() | None:
                    raise SourceRefuses("the host does not give this block away")
                case other:
                    raise Malformed(f"expected a block, got {type(other).__name__}")

    def _check_policy(self, signed: SignedRelease, cid: Cid) -> None:
        """What is hosted here may be healed, whatever the hosting settings say of new sites."""
        state = self._context.core.state_of(signed.site)
        local = self._any_site or (state is not None and state.held == signed)
        verdict = self._context.gate.may_fetch_block(signed, cid, local=local)
        if not verdict.allowed:
            raise Unavailable("refused", verdict.reason)


def _is_readable(store: Store, cid: Cid) -> bool:
    """Reads the block, by which the store learns that it is damaged: only then can it be replaced."""
    try:
        store.get_block(cid)
    except (BlockMissing, BlockCorrupt):
        return False
    return True
