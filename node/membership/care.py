"""Carries out what the core decides about other hosts: asks members to host, audits them, lets sites go."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

from node.core import effects as fx
from node.core import inputs as ins
from node.core.peers import peer_of
from node.membership.audits import Auditor, Outcome
from node.membership.membership import Membership
from node.net.channel import FrameChannel
from node.net.port import PeerId, ProtocolUnsupported
from node.replication.context import IDLE_S, OPEN_DEADLINE_S, Context
from protocol import messages as msg
from protocol.errors import PeerError
from protocol.member_messages import Wanted
from protocol.messages import SYNC_PROTOCOL
from protocol.site_id import SiteId

log = logging.getLogger(__name__)

# Who refuses for these reasons may well take the site in an hour; other reasons last.
_PASSING = frozenset({"busy", "full", "not-needed", "internal"})


class Care:
    """What `Replicator` needs of the members. `drop` deletes sites' blocks and gives the bytes that this freed."""

    def __init__(
        self,
        context: Context,
        membership: Membership,
        auditor: Auditor,
        drop: Callable[[list[SiteId]], Awaitable[int]],
    ) -> None:
        self._context = context
        self._membership = membership
        self._auditor = auditor
        self._drop = drop

    async def meet(self, peer: PeerId) -> None:
        """Before heads are compared: both sides then know what the other holds. Raises PeerError."""
        try:
            await self._membership.compare(peer)
        except ProtocolUnsupported:
            log.debug("%s knows nothing of members", peer)

    async def carry_out(self, effect: fx.AskToHost | fx.Audit | fx.LetGo) -> None:
        match effect:
            case fx.AskToHost(site, node):
                answer = await self._ask(site, node)
                self._context.tell(ins.AskedToHost(site, node, answer))
            case fx.Audit(node, sites):
                self._context.tell(await self._audit(node, sites))
            case fx.LetGo(site):
                await self._let_go(site)

    async def _ask(self, site: SiteId, node: SiteId) -> ins.Answer:
        state = self._context.core.state_of(site)
        held = state.held if state else None
        if held is None or not self._context.gate.may_announce(held).allowed:
            return "later"
        peer = peer_of(node)
        try:
            stream = await self._context.network.open(peer, SYNC_PROTOCOL, deadline_s=OPEN_DEADLINE_S)
            async with FrameChannel(stream, idle_s=IDLE_S, write_s=IDLE_S) as channel:
                await channel.send(Wanted(held))
                answer = await channel.receive()
        except PeerError as error:
            log.info("cannot ask %s to host %s: %s", peer, site, error)
            return "silent"
        match answer:
            case msg.Have(seq=seq) if seq >= held.seq:
                return "has"
            case msg.Have():
                return "took"
            case msg.End():
                log.info("%s lacks hosts; %s takes it", site, peer)
                return "took"
            case msg.Refuse(code):
                log.info("%s lacks hosts; %s does not take it: %s", site, peer, code)
                return "later" if code in _PASSING else "refused"
        return "silent"

    async def _audit(self, node: SiteId, sites: tuple[SiteId, ...]) -> ins.Audited:
        peer = peer_of(node)
        try:
            outcomes = await self._auditor.audit(peer, sites)
        except PeerError as error:
            log.info("cannot audit %s: %s", peer, error)
            return ins.Audited(node, (), (), silent=True)
        proved = tuple(site for site, outcome in outcomes.items() if outcome == "proved")
        failed = tuple(site for site, outcome in outcomes.items() if outcome != "proved")
        if lies := [site for site in failed if self._is_a_lie(node, site, outcomes[site])]:
            # Once for an audit: its sites fail together as a rule.
            log.warning("%s cannot prove that it hosts %s (%d of %d)", peer, lies[0], len(lies), len(outcomes))
            self._context.standing.count(trio.current_time(), peer, "audit-failed")
        return ins.Audited(node, proved, failed)

    def _is_a_lie(self, node: SiteId, site: SiteId, outcome: Outcome) -> bool:
        """A filter errs at times: who owns up to not having what only its filter names has said nothing wrong."""
        return outcome == "failed" or self._context.core.keeping.copies.said(site, node)

    async def _let_go(self, site: SiteId) -> None:
        freed_bytes = await self._drop([site])
        log.info("enough others host %s: let go, %d bytes freed", site, freed_bytes)
