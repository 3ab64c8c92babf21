"""This node among the members: states what it holds, spreads what others state (docs/spec/membership.md, 2 and 10)."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.core.gossip import RENEW_S, SOON_S, News, Restating
from node.core.inputs import PeerId
from node.core.keeping import Keeping
from node.core.members import AHEAD_MAX_S
from node.core.networks import network_of
from node.core.peers import key_of, peer_of
from node.membership import exchange, saved
from node.net.channel import FrameChannel
from node.net.port import Stream
from node.policy.decide import Policy
from node.replication.context import IDLE_S, OPEN_DEADLINE_S, Context
from protocol.errors import FednodeError, OperatorError, PeerError
from protocol.limits import STATEMENT_ADDRESSES_MAX
from protocol.member_messages import MEMBERS_PROTOCOL
from protocol.site_filter import SiteFilter
from protocol.site_id import SiteId
from protocol.statement import SignedStatement, Statement, Takes, sign_statement
from protocol.summary import Entry

# So often it is looked whether something is to be stated anew.
RESTATE_S = SOON_S
SPREAD_EVERY_S = 2.0
SAVE_S = 600.0
_SITES_AT_ONCE = 200

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a node states of itself beside its sites, room_bytes in steps.

    free_bytes: what there is room for, exactly. reserve_bytes: how much of it is kept for sites that lack hosts.
    """

    takes: Takes
    room_bytes: int
    operator: str = ""
    region: str = ""
    lists: tuple[bytes, ...] = ()
    reserve_bytes: float = field(default=0.0, compare=False)
    free_bytes: float = field(default=math.inf, compare=False)


class Membership:
    """`read_facts` is called in a worker thread now and then; `file` keeps the known members over restarts."""

    def __init__(self, context: Context, key: Ed25519PrivateKey, read_facts: Callable[[], Facts], file: Path) -> None:
        self._context = context
        self._key = key
        self._me = SiteId.of(key)
        self._read_facts = read_facts
        self._facts = Facts(Takes.NONE, 0)
        self._file = file
        self._own: SignedStatement | None = None
        self._stated: tuple[Facts, SiteFilter, tuple[str, ...]] | None = None
        self._holdings, self._sites = SiteFilter(), 0
        self._sites_of: tuple[int, Policy] | None = None
        rng = random.Random()  # noqa: S311 - spreads timers and news
        self._restating = Restating(rng, soon_s=RESTATE_S)
        self._news = News(rng)

    @property
    def _keeping(self) -> Keeping:
        return self._context.core.keeping

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled. Reports as started when the members of the last run are known again."""
        for signed in await trio.to_thread.run_sync(saved.load, self._file):
            self._hear(signed)
        self._news.clear()
        await self._look_at_facts()
        self._restate()
        task_status.started()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._restate_forever)
            nursery.start_soon(self._spread_forever)
            nursery.start_soon(self._save_forever)

    async def serve(self, stream: Stream) -> None:
        """One inbound stream. Faults of the peer are counted and end only the stream."""
        async with FrameChannel(stream, idle_s=IDLE_S, write_s=IDLE_S) as channel:
            try:
                await exchange.answer(channel, self, stream.peer)
            except PeerError as error:
                log.info("members of %s: %s", stream.peer, error)
                self._context.standing.count(trio.current_time(), stream.peer, error.code)

    async def compare(self, peer: PeerId) -> None:
        """Learns what a connected peer knows of members, and tells it what it does not know. Raises PeerError."""
        open_stream = self._context.network.open
        stream = await open_stream(peer, MEMBERS_PROTOCOL, deadline_s=OPEN_DEADLINE_S, dial=False)
        async with FrameChannel(stream, idle_s=IDLE_S, write_s=IDLE_S) as channel:
            await exchange.compare(channel, self, peer)

    # --- exchange.Register ---------------------------------------------------------------------------------

    def own(self) -> SignedStatement:
        return self._own or self._restate()

    def get(self, node: SiteId) -> SignedStatement | None:
        known = self._keeping.members.get(node)
        return known.signed if known else None

    def entries(self) -> list[Entry]:
        return [Entry(known.signed.node, known.signed.made_s) for known in self._keeping.members]

    def take(self, signed: SignedStatement, sender: PeerId) -> None:
        if signed.node != self._me and self._hear(signed):
            self._news.note(signed.node, sender)

    def heard_clock(self, sender: PeerId, now_s: int) -> None:
        node = key_of(sender)
        if node is not None:
            self._keeping.clock.heard(node, time.time(), now_s)

    def now_s(self) -> int:
        return int(time.time())

    # --- own statement -------------------------------------------------------------------------------------

    def _restate(self) -> SignedStatement:
        """Signs a new statement. It is later than the last one, unless nobody took that: it was made in the future."""
        facts, addresses = self._facts, self._addresses()
        self._stated = (facts, self._holdings, addresses)
        known = self.get(self._me)
        made_s = self._clock_s()
        if known is not None and known.made_s > made_s + AHEAD_MAX_S:
            self._keeping.members.forget(self._me)
        elif known is not None:
            made_s = max(made_s, known.made_s + 1)
        statement = Statement(
            node=self._me,
            made_s=made_s,
            addresses=addresses,
            takes=facts.takes,
            room_bytes=facts.room_bytes,
            sites=self._sites,
            holdings=self._holdings,
            operator=facts.operator,
            region=facts.region,
            lists=facts.lists,
        )
        self._own = signed = sign_statement(statement, self._key)
        self._restating.made(trio.current_time())
        self._hear(signed)
        self._news.note(self._me, None)
        return signed

    async def _look_at_facts(self) -> None:
        self._facts = await trio.to_thread.run_sync(self._read_facts)
        self._keeping.pressed = self._facts.free_bytes < self._facts.reserve_bytes
        self._keeping.reserve_bytes = self._facts.reserve_bytes
        self._keeping.room_bytes = self._facts.free_bytes
        self._keeping.leaving = self._facts.takes is Takes.LEAVING
        if self._sites_of != (self._keeping.version, self._context.gate.policy):
            await self._look_at_sites()

    async def _look_at_sites(self) -> None:
        """What is hosted here and may be announced: nobody audits a host for what it refuses."""
        self._sites_of = (self._keeping.version, self._context.gate.policy)
        found = []
        for number, site in enumerate(self._keeping.sites()):
            if number % _SITES_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
            state = self._context.core.state_of(site)
            held = state.held if state else None
            if held is not None and self._context.gate.may_announce(held).allowed:
                found.append(site)
        self._sites, self._holdings = len(found), await trio.to_thread.run_sync(SiteFilter.of, found)

    def _addresses(self) -> tuple[str, ...]:
        found = (address.rpartition("/p2p/")[0] for address in self._context.network.addresses())
        return tuple(found)[:STATEMENT_ADDRESSES_MAX]

    async def _restate_forever(self) -> None:
        while True:
            await trio.sleep(RESTATE_S)
            try:
                await self._look_at_facts()
            except (OperatorError, OSError) as error:  # what was stated last goes on
                log.warning("the disk does not say how much room there is: %s", error)
            if self._misdated() or self._is_due():
                self._restate()

    def _is_due(self) -> bool:
        if self._stated is None:
            return True
        facts, holdings, addresses = self._stated
        moved = (replace(facts, room_bytes=0), addresses) != (replace(self._facts, room_bytes=0), self._addresses())
        changed = holdings != self._holdings or facts != self._facts
        members = len(self._keeping.members)
        return self._restating.due(trio.current_time(), members, urgent=moved, changed=changed)

    def _clock_s(self) -> int:
        """Unix time, by the clocks of others where this node's is wrong."""
        return int(self._keeping.clock.now_s(time.time()))

    def _misdated(self) -> bool:
        """The last statement was made by a clock that has turned out to be wrong: others refuse it, or will soon."""
        age_s = self._clock_s() - self.own().made_s
        return not -AHEAD_MAX_S <= age_s <= RENEW_S

    # --- what others state ---------------------------------------------------------------------------------

    def _hear(self, signed: SignedStatement) -> bool:
        addresses = signed.statement.addresses
        network = network_of(addresses, among_private=self._among_private())
        if not self._keeping.heard(trio.current_time(), time.time(), signed, network):
            return False
        if signed.node != self._me:
            peer = peer_of(signed.node)
            self._context.network.remember(peer, [f"{address}/p2p/{peer}" for address in addresses])
        return True

    def _among_private(self) -> bool:
        """This node itself has only private addresses: so it is in a network where those tell nothing."""
        return network_of(self._addresses(), among_private=True) == ""

    async def _spread_forever(self) -> None:
        while True:
            await trio.sleep(SPREAD_EVERY_S)
            told = self._news.take([info.peer for info in self._context.network.peers()])
            async with trio.open_nursery() as nursery:
                for peer, nodes in told.items():
                    nursery.start_soon(self._tell, peer, nodes)

    async def _tell(self, peer: PeerId, nodes: list[SiteId]) -> None:
        statements = [signed for node in nodes if (signed := self.get(node)) is not None]
        if not statements:
            return
        try:
            open_stream = self._context.network.open
            stream = await open_stream(peer, MEMBERS_PROTOCOL, deadline_s=OPEN_DEADLINE_S, dial=False)
            async with FrameChannel(stream, idle_s=IDLE_S, write_s=IDLE_S) as channel:
                await exchange.tell(channel, statements)
        except FednodeError as error:
            log.debug("cannot tell %s of members: %s", peer, error)

    async def _save_forever(self) -> None:
        while True:
            await trio.sleep(SAVE_S)
            await self.save()

    async def save(self) -> None:
        """Writes the known members to the file."""
        known = [member.signed for member in self._keeping.members]
        await trio.to_thread.run_sync(saved.save, self._file, known)
