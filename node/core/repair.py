"""Sites with fewer hosts than they ask for, and who is asked to host them (docs/spec/membership.md, 7). Pure.

Every host of a site finds the same order of members; the first host in it asks, the others only if that does not help.
"""

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from node.core import effects as fx
from node.core.agenda import Agenda
from node.core.copies import Copies
from node.core.inputs import Answer
from node.core.placement import Orders
from protocol.site_id import SiteId

# With one copy left, there is less time to lose.
LAST_COPY_GRACE_SHARE = 0.25
# A site that never had enough hosts is new: there is nothing to wait for.
NEW_GRACE_S = 10.0
# How long each host waits for the one before it in the order.
TURN_S = 30.0
# Members beyond those that the site lacks that are asked, as some will refuse.
CANDIDATES = 32
ASKED_AT_ONCE = 16
# Sites that are thought about at once: each may need an order, which is dear with many members.
THOUGHT_AT_ONCE = 16
# How long who took a site has until it counts by itself.
TAKING_S = 600.0
SILENT_S = 600.0
LATER_S = 600.0
REFUSED_S = 24 * 3600.0
# A driver that lost a call must not keep its place for ever.
CALL_MAX_S = 300.0


@dataclass(slots=True)
class _Need:
    """A site below its minimum: since when, how many hosts it has, this one counted, and when to think of it next."""

    since_s: float
    hosts: int
    not_before_s: float = float("-inf")


class Repair:
    """The sites of one node that lack hosts. `me` is the node's key."""

    def __init__(self, me: SiteId, orders: Orders, copies: Copies) -> None:
        self._me = me
        self._orders = orders
        self._copies = copies
        self._needs: dict[SiteId, _Need] = {}
        self._wake: Agenda[SiteId] = Agenda()
        self._queue: list[tuple[int, float, SiteId]] = []  # by hosts and how long it has lacked some
        self._queued: set[SiteId] = set()
        self._had_enough: set[SiteId] = set()
        self._calls: dict[tuple[SiteId, SiteId], float] = {}
        self._not_before_s: dict[SiteId, dict[SiteId, float]] = {}  # when a member may be asked for a site again
        self._taking: dict[SiteId, dict[SiteId, float]] = {}  # until when it has time to fetch

    def __len__(self) -> int:
        return len(self._needs)

    def needs(self) -> dict[SiteId, int]:
        """The sites below their minimum, each with its number of hosts."""
        return {site: need.hosts for site, need in self._needs.items()}

    def restored(self, site: SiteId) -> None:
        """The site was hosted here before this run: what it lacks may be no more than a restart's blindness."""
        self._had_enough.add(site)

    def forget(self, site: SiteId) -> None:
        """The site is not hosted here any more."""
        self._had_enough.discard(site)
        self._healed(site)

    def look(self, now_s: float, site: SiteId, hosts: int, min_hosts: int) -> None:
        """The site counts so many hosts now, this one too."""
        if hosts >= min_hosts:
            self._had_enough.add(site)
            self._healed(site)
            return
        if (need := self._needs.get(site)) is None:
            # Those that are away have counted for the grace period: it need not pass twice.
            waited = hosts + self._copies.away(now_s, site) >= min_hosts
            need = self._needs[site] = _Need(now_s - waited * self._copies.grace_s, hosts)
        need.hosts = hosts
        if site not in self._queued:
            self._wake.set(site, max(need.since_s + self._grace_s(site), need.not_before_s))

    def _healed(self, site: SiteId) -> None:
        self._needs.pop(site, None)
        self._wake.drop(site)
        self._queued.discard(site)
        self._not_before_s.pop(site, None)
        self._taking.pop(site, None)

    def due(self, now_s: float, min_hosts: Callable[[SiteId], int]) -> list[fx.AskToHost]:
        """Whom to ask now; the sites nearest to loss first."""
        for call in [call for call, began_s in self._calls.items() if began_s + CALL_MAX_S < now_s]:
            del self._calls[call]
        for site in self._wake.due(now_s):
            need = self._needs[site]
            self._queued.add(site)
            heapq.heappush(self._queue, (need.hosts, need.since_s, site))
        found: list[fx.AskToHost] = []
        thought = 0
        while self._queue and len(self._calls) < ASKED_AT_ONCE and thought < THOUGHT_AT_ONCE:
            *_, site = heapq.heappop(self._queue)
            if site in self._queued:
                self._queued.discard(site)
                thought += 1
                found.extend(self._ask(now_s, site, min_hosts(site)))
        return found

    def answered(self, now_s: float, site: SiteId, node: SiteId, answer: Answer) -> None:
        """What became of `AskToHost`."""
        self._calls.pop((site, node), None)
        need = self._needs.get(site)
        if need is None:
            return
        need.not_before_s = now_s
        if site not in self._queued:
            self._wake.set(site, now_s)
        if answer in ("has", "took"):
            self._taking.setdefault(site, {})[node] = now_s + TAKING_S
        if answer == "silent" and self._copies.silent(node):
            return  # it is asked for any site again when it is there
        wait_s = {"has": TAKING_S, "took": TAKING_S, "refused": REFUSED_S, "later": LATER_S, "silent": SILENT_S}[answer]
        self._not_before_s.setdefault(site, {})[node] = now_s + wait_s

    def _grace_s(self, site: SiteId) -> float:
        if site not in self._had_enough:
            return NEW_GRACE_S
        last = self._needs[site].hosts <= 1
        return self._copies.grace_s * (LAST_COPY_GRACE_SHARE if last else 1.0)

    def _ask(self, now_s: float, site: SiteId, min_hosts: int) -> Iterable[fx.AskToHost]:
        order = [member.node for member in self._orders.first(site, CANDIDATES)]
        hosts = {self._me, *self._copies.counted(now_s, site)}
        turn = sum(node in hosts for node in order[: order.index(self._me)]) if self._me in order else len(hosts)
        need = self._needs[site]
        if now_s < (my_turn_s := need.since_s + self._grace_s(site) + turn * TURN_S):
            self._wake.set(site, my_turn_s)
            return
        taking = {node for node, until_s in self._taking.get(site, {}).items() if until_s > now_s}
        asked = {node for asked_site, node in self._calls if asked_site == site}
        # Or one that says yes and never has anything would hold up the repair for as long as it likes.
        doubted = {node for node in order if self._copies.doubted(now_s, site, node)}
        lacking = min_hosts - len(hosts | (taking | asked) - doubted)
        not_before_s = self._not_before_s.get(site, {})
        for node in self._candidates(now_s, site, order, doubted):
            if lacking <= 0:
                return
            if len(self._calls) >= ASKED_AT_ONCE:
                self._wake.set(site, now_s)
                return
            if node in hosts or node in asked or not_before_s.get(node, 0.0) > now_s:
                continue
            self._calls[site, node] = now_s
            lacking -= 1
            yield fx.AskToHost(site, node)
        if not asked and lacking > 0:
            need.not_before_s = now_s + SILENT_S  # nobody is left to ask: others come first for a while

    def _candidates(self, now_s: float, site: SiteId, order: list[SiteId], doubted: set[SiteId]) -> Iterable[SiteId]:
        """In the order in which to ask: who is known to be silent, or caught, comes after those who may answer."""
        silent = {node for node in order if self._copies.silent(node)}
        useless = silent | doubted
        yield from (node for node in order if node not in useless)
        if useless:  # a flood of members that are not there, or have nothing, must not hide the others

            def is_useful(node: SiteId) -> bool:
                return not self._copies.silent(node) and not self._copies.doubted(now_s, site, node)

            further = (member.node for member in self._orders.beyond(site, CANDIDATES, is_useful))
            yield from (node for node in further if node not in order and node != self._me)
        due = (node for node in order if node in silent and self._copies.silent_until_s(node) <= now_s)
        yield from sorted(due, key=doubted.__contains__)
        yield from (node for node in order if node in doubted - silent)
