"""How many hosts each site of this node has, and what follows from it (docs/spec/membership.md). Pure.

Puts together who there is (members), who counts as a host (copies), and the three procedures on top: repair below the
band's minimum, letting go above its maximum, and audits all the time.
"""

import math
import random
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from node.core import effects as fx
from node.core.auditing import EVERY_S, Auditing
from node.core.copies import GRACE_S, Copies
from node.core.inputs import Answer
from node.core.letting_go import LettingGo
from node.core.members import Clock, Members
from node.core.placement import TOP
from node.core.repair import Repair
from protocol.release import Band, SignedRelease
from protocol.site_filter import Probe
from protocol.site_id import SiteId
from protocol.statement import SignedStatement, Takes

# Every site is looked at once in this time.
ROUND_S = 60.0
# Part of the quota, or of a smaller disk, that is kept for sites that lack hosts.
RESERVE_SHARE = 0.1
# How far down the order those may be who are asked to host a site that lacks hosts: some of the first will refuse.
WANTED_BEYOND = 8
# Once so many audits and departures have come of one step, the others wait for the next round.
LETTING_GO_AT_ONCE = 8


@dataclass(slots=True)
class _Hosted:
    band: Band
    kept: bool
    new: bool
    """What members stated before it came here has not been looked at yet."""


class Keeping:
    """What one node knows and does about the other hosts of its sites. `me` is its key."""

    def __init__(
        self, me: SiteId, rng: random.Random, *, grace_s: float = GRACE_S, members: Members | None = None
    ) -> None:
        """members: those already known; simulations give the same to all nodes."""
        self.members = Members() if members is None else members
        self.clock = Clock()
        self.copies = Copies(grace_s)
        self.repair = Repair(me, self.members.orders, self.copies)
        self.auditing = Auditing(rng, self.copies)
        self.letting_go = LettingGo(me, self.members.orders, self.copies)
        self.pressed = False
        """The quota has run into its reserve: no more sites than must be, and some must go."""
        self.room_bytes = math.inf
        """What there is room for, in the quota and on the disk."""
        self.reserve_bytes = 0.0
        """So much of it is kept for sites that lack hosts."""
        self.leaving = False
        """The operator is going to stop this node for good: others shall take its sites."""
        self.handing_over: set[SiteId] = set()
        """Sites that this node will not host for long: others shall have enough copies without it."""
        self.version = 0
        """Another one whenever this node hosts other sites than before."""
        self._me = me
        self._sites: OrderedDict[SiteId, _Hosted] = OrderedDict()  # the one to be looked at next comes first
        self._looked_s: float | None = None

    def hosted(self, signed: SignedRelease, *, kept: bool, restored: bool = False) -> None:
        """The site is hosted here. kept: whatever others do (followed, or published here); restored: since before."""
        site = signed.site
        known = self._sites.get(site)
        if known is None:
            self.version += 1
        self._sites[site] = _Hosted(signed.release.band, kept, known.new if known else not restored)
        self.copies.watch(site)
        if restored:
            self.repair.restored(site)

    def left(self, site: SiteId) -> None:
        """The site is not hosted here any more."""
        if self._sites.pop(site, None) is not None:
            self.version += 1
            self.copies.unwatch(site)
            self.repair.forget(site)
            self.letting_go.forget(site)
            self.handing_over.discard(site)
            self.members.orders.forget(site)

    def sites(self) -> list[SiteId]:
        """Those that are hosted here."""
        return list(self._sites)

    def heard(self, now_s: float, wall_s: float, signed: SignedStatement, network: str) -> bool:
        """A statement, checked; True when it was news and is to be passed on."""
        if not self.members.take(self.clock.now_s(wall_s), signed, network):
            return False
        if signed.node != self._me:
            statement = signed.statement
            leaving = statement.takes is Takes.LEAVING
            self.copies.statement(now_s, signed.node, statement.holdings, leaving=leaving)
            if self.copies.sites_of(signed.node):
                self.auditing.met(now_s, signed.node)
        return True

    def alive(self, now_s: float, node: SiteId) -> bool:
        """This node, or one that is there, or was within the grace period."""
        return node == self._me or self.copies.alive(now_s, node)

    def connected(self, now_s: float, node: SiteId) -> None:
        """The node is there, under its key."""
        self.copies.connected(node)
        if self.copies.sites_of(node):
            self.auditing.met(now_s, node)

    def answered(self, now_s: float, site: SiteId, node: SiteId, answer: Answer) -> None:
        """What became of `AskToHost`."""
        if answer == "silent":
            self.copies.unreached(now_s, node)
        else:
            self.copies.contact(now_s, node)
        self.repair.answered(now_s, site, node, answer)
        if answer == "has":
            self.stated(now_s, site, node)

    def concerns(self, node: SiteId, signed: SignedRelease) -> bool:
        """Does the node host the site, or is it to? True as well for who is no member, and while there are few."""
        most = signed.release.band.max_hosts
        if self.members.get(node) is None or len(self.members) <= most:
            return True
        if node in self.copies.of_site(signed.site):
            return True
        return any(member.node == node for member in self.members.orders.first(signed.site, most))

    def holdings_of(self, node: SiteId) -> Callable[[SiteId], bool] | None:
        """Tells of a site whether the node may host it, by all that it has said; None for who is no member."""
        known = self.members.get(node)
        if known is None:
            return None
        said, holdings = self.copies.sites_of(node), known.signed.statement.holdings
        return lambda site: site in said or holdings.may_hold(Probe(site))

    def stated(self, now_s: float, site: SiteId, node: SiteId) -> None:
        """A node says, connected as itself, that it hosts the site."""
        self.copies.stated(now_s, site, node)
        self.copies.contact(now_s, node)
        if self.copies.sites_of(node):
            self.auditing.met(now_s, node)

    def should_take(self, now_s: float, signed: SignedRelease, *, wanted: bool = False) -> bool:
        """Is it for this node to host the site, as far as other hosts go? wanted: a host says that it lacks hosts.

        min hosts are a duty, max is the ceiling, and between them room decides. A node that is not among the members
        it knows (it is alone, or has just come) takes what it is offered; what was too much it lets go again.
        """
        band = signed.release.band
        order = [member.node for member in self.members.orders.first(signed.site, TOP // 2)]
        if signed.release.size_bytes > self.room_bytes and signed.site not in self._sites:
            return False
        if signed.site in self._sites:
            return True
        place = order.index(self._me) if self._me in order else len(order)
        if self._me in order and place < band.min_hosts:
            return True
        if place < band.max_hosts and self._leaves_reserve(signed):
            return True
        return wanted and self._place_among_alive(now_s, signed.site) < band.max_hosts + WANTED_BEYOND

    def may_use_reserve(self, signed: SignedRelease) -> bool:
        """The site is hosted here already, or this node is among those whose duty it is."""
        first = self.members.orders.first(signed.site, signed.release.band.min_hosts)
        return signed.site in self._sites or any(member.node == self._me for member in first)

    def _leaves_reserve(self, signed: SignedRelease) -> bool:
        return not self.pressed and signed.release.size_bytes <= self.room_bytes - self.reserve_bytes

    def _place_among_alive(self, now_s: float, site: SiteId) -> float:
        """Who asks may have tried those that come first: members that are not there are no reason to refuse."""
        return self.members.orders.place(site, self._me, lambda node: self.copies.alive(now_s, node))

    def hosts_wanted(self, site: SiteId) -> int:
        """How many hosts the site is to have, this node counted."""
        more = self.leaving or site in self.handing_over
        return self._sites[site].band.min_hosts + (1 if more else 0)

    def due(self, now_s: float, wall_s: float) -> list[fx.Effect]:
        """What to do now; to be called every second, or less often: then more sites are looked at in one call."""
        for node in self.members.expire(self.clock.now_s(wall_s)):
            self.copies.gone(node)
            self.auditing.forget(node)
        found: list[fx.Effect] = []
        self.copies.contact_max_s = self._contact_max_s()
        passed_s = ROUND_S / 60 if self._looked_s is None else now_s - self._looked_s
        self._looked_s = now_s
        for _ in range(math.ceil(len(self._sites) * min(1.0, passed_s / ROUND_S))):
            site = next(iter(self._sites))
            self._sites.move_to_end(site)
            found.extend(self._look(now_s, site, may_let_go=len(found) < LETTING_GO_AT_ONCE))
        return [*found, *self.repair.due(now_s, self.hosts_wanted), *self.auditing.due(now_s)]

    def _contact_max_s(self) -> float:
        """With many nodes to ask, one is not given up before it could have been asked twice."""
        round_s = self.auditing.round_s
        return max(self.copies.grace_s, 2 * round_s if round_s > EVERY_S else 0.0)

    def _look(self, now_s: float, site: SiteId, *, may_let_go: bool) -> list[fx.Audit | fx.LetGo]:
        hosted = self._sites[site]
        if hosted.new:
            hosted.new = False
            for known in self.members:
                node, holdings = known.signed.node, known.signed.statement.holdings
                if node != self._me and self.copies.hinted(now_s, site, node, holdings):
                    self.auditing.met(now_s, node)
        others = self.copies.counted(now_s, site)
        self.repair.look(now_s, site, 1 + len(others), self.hosts_wanted(site))
        if hosted.kept or not may_let_go:
            return []
        found = self.letting_go.look(now_s, site, others, hosted.band.max_hosts)
        if not found and self.pressed and hosted.band.min_hosts < hosted.band.max_hosts:
            found = self.letting_go.look(now_s, site, others, hosted.band.min_hosts + 1, wait_s=0.0)
        return found
