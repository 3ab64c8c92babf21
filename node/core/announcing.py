"""When each hosted site is announced in the DHT, and when it is checked that the announcement is still there.

Pure. Each site has a slot of its own in every period of `ANNOUNCE_S`, drawn from the node and the site, so that the
announcements of one node, and those of a site's hosts, are spread, and a restart moves none of them. What the slots of
a time without this node have missed is made up for, a few at a time.
"""

import hashlib
from dataclasses import dataclass

from node.core import effects as fx
from node.core.agenda import Agenda
from protocol.site_id import SiteId

# Provider records live 24 to 48 h in the DHT; more than twice a day keeps them alive through one missed round.
ANNOUNCE_S = 10 * 3600.0
# Late enough that whoever drops records early has done so, early enough that the site is not missed for long.
CHECK_S = 3600.0
# A new release first goes to the peers: walks by all its hosts at the same time would slow that down.
RELEASE_WAIT_S = 1.0
RELEASE_SPREAD_S = 5.0
# Each is a walk of some forty requests and 50 ms of CPU: one a second is hardly felt, and 36,000 in a period.
START_GAP_S = 0.9
AT_ONCE = 3
# With nobody in the DHT to take a record, all sites wait.
PAUSE_FIRST_S = 15.0
PAUSE_MAX_S = 900.0
# A driver that lost a call must not keep its place for ever.
CALL_MAX_S = 300.0


@dataclass(frozen=True, slots=True)
class AnnouncingReport:
    """`waiting`: sites whose announcement is due and not done; `late_s`: how long the first of them has waited."""

    sites: int
    waiting: int
    late_s: float
    dropped: int

    def as_json(self) -> dict[str, int]:
        return {
            "sites": self.sites,
            "waiting": self.waiting,
            "late_s": int(self.late_s),
            "dropped": self.dropped,
        }


class Announcing:
    """The announcements of one node. `node` is any bytes that no other node has, such as its peer id."""

    def __init__(self, node: bytes) -> None:
        self._node = node
        self._wall_minus_now_s = 0.0
        self._slots: Agenda[SiteId] = Agenda()
        self._checks: Agenda[SiteId] = Agenda()
        self._releases: Agenda[SiteId] = Agenda()
        self._owed: dict[SiteId, float] = {}  # due since, first come first; never one that is not hosted
        self._queue: dict[SiteId, None] = {}  # those of `_owed` that no call is under way for
        self._calls: dict[SiteId, float] = {}
        self._outdated: set[SiteId] = set()  # a release came during the call that announces the one before
        self._took: dict[SiteId, int] = {}  # hosted sites, and how many nodes took the record last
        self._pause_s = PAUSE_FIRST_S
        self._paused_until_s = float("-inf")
        self._next_start_s = float("-inf")
        self._dropped = 0

    def restore(self, now_s: float, wall_s: float, through_wall_s: float, sites: list[SiteId]) -> None:
        """Takes up the hosted sites at start. Slots up to `through_wall_s` were kept by the run before."""
        self._wall_minus_now_s = wall_s - now_s
        for site in sites:
            self._took[site] = 0
            slot_s = self._next_slot_s(now_s, site)
            self._slots.set(site, slot_s)
            if slot_s - ANNOUNCE_S > through_wall_s - self._wall_minus_now_s:
                self._owe(now_s, site)

    def hosted(self, now_s: float, site: SiteId) -> None:
        """A release of the site is held here now. Each is announced within seconds: IPFS clients look for its root."""
        if site not in self._took:
            self._took[site] = 0
            self._slots.set(site, self._next_slot_s(now_s, site))
        if site not in self._releases:
            self._releases.set(site, now_s + RELEASE_WAIT_S + RELEASE_SPREAD_S * self._phase(site))

    def left(self, site: SiteId) -> None:
        """The site is not held here any more."""
        self._slots.drop(site)
        self._checks.drop(site)
        self._releases.drop(site)
        for table in (self._owed, self._queue, self._calls, self._took):
            table.pop(site, None)
        self._outdated.discard(site)

    def met_a_peer(self, now_s: float) -> None:
        """Somebody new is there, who may take records."""
        self._pause_s = PAUSE_FIRST_S
        self._paused_until_s = min(self._paused_until_s, now_s + PAUSE_FIRST_S)

    def due(self, now_s: float) -> list[fx.Effect]:
        """What to do now. Each effect is answered by `announced` or `checked`."""
        for site in self._slots.due(now_s):
            self._slots.set(site, self._next_slot_s(now_s, site))
            self._owe(now_s, site)
        for site in self._releases.due(now_s):
            if site in self._calls:
                self._outdated.add(site)
            self._owe(now_s, site)
        for site in [site for site, began_s in self._calls.items() if began_s + CALL_MAX_S < now_s]:
            self._end_call(site)
        effect = self._next(now_s)
        if effect is None:
            return []
        self._next_start_s = now_s + START_GAP_S
        self._calls[effect.site] = now_s
        return [effect]

    def _next(self, now_s: float) -> fx.Announce | fx.CheckAnnounced | None:
        if now_s < self._next_start_s or len(self._calls) >= AT_ONCE:
            return None
        if self._queue and now_s >= self._paused_until_s:
            site = next(iter(self._queue))
            del self._queue[site]
            return fx.Announce(site)
        checks = self._checks.due(now_s, 1)
        return fx.CheckAnnounced(checks[0]) if checks else None

    def announced(self, now_s: float, site: SiteId, took: int | None) -> None:
        """So many DHT nodes took the record; None when policy forbade to announce."""
        self._calls.pop(site, None)
        if site not in self._took:
            return
        if took == 0:
            self._paused_until_s = now_s + self._pause_s
            self._pause_s = min(PAUSE_MAX_S, 2 * self._pause_s)
            self._owe(now_s, site)
            return
        self._owed.pop(site, None)
        self._queue.pop(site, None)
        if took is not None:
            self._pause_s = PAUSE_FIRST_S
            self._took[site] = took
            self._checks.set(site, now_s + CHECK_S)
        if site in self._outdated:
            self._outdated.discard(site)
            self._owe(now_s, site)

    def checked(self, now_s: float, site: SiteId, seen: int | None) -> None:
        """So many DHT nodes still name this node as a host. With less than half of them the record is put again."""
        self._calls.pop(site, None)
        if site in self._took and seen is not None and 2 * seen < self._took[site]:
            self._dropped += 1
            self._owe(now_s, site)
        elif site in self._owed:
            self._queue.setdefault(site)

    def report(self, now_s: float) -> AnnouncingReport:
        first_s = min(self._owed.values(), default=now_s)
        return AnnouncingReport(len(self._took), len(self._owed), now_s - first_s, self._dropped)

    def through_wall_s(self, now_s: float) -> float:
        """Every slot up to this time has been kept: to be given to `restore` at the next start."""
        return min(self._owed.values(), default=now_s) + self._wall_minus_now_s

    def _owe(self, now_s: float, site: SiteId) -> None:
        self._owed.setdefault(site, now_s)
        self._checks.drop(site)
        if site not in self._calls:
            self._queue.setdefault(site)

    def _end_call(self, site: SiteId) -> None:
        del self._calls[site]
        if site in self._owed:
            self._queue.setdefault(site)

    def _next_slot_s(self, now_s: float, site: SiteId) -> float:
        phase_s = self._phase(site) * ANNOUNCE_S
        wait_s = (phase_s - (now_s + self._wall_minus_now_s)) % ANNOUNCE_S
        return now_s + (wait_s or ANNOUNCE_S)

    def _phase(self, site: SiteId) -> float:
        """From 0 to 1, the same at every start, and another one for each node and site."""
        return int.from_bytes(hashlib.sha256(self._node + site).digest()[:6], "big") / 2**48
