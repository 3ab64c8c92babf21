"""A federation of many nodes in one event heap: each node's real `Keeping`, everything around it modelled.

What is modelled, and how, is told in docs/scale.md. Nodes whose sites did not change are not stepped: `Keeping.due` is
a function of what it was told, so it would find nothing.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from operator import attrgetter

from bench.scale.churn import DAY_S, HOUR_S, YEAR_S, Churn
from bench.scale.tally import Tally
from node.core import effects as fx
from node.core.auditing import EVERY_S
from node.core.gossip import apart_s
from node.core.keeping import Keeping
from node.core.members import Members
from protocol.cid import RAW, Cid
from protocol.release import Band, Release, SignedRelease
from protocol.site_filter import SiteFilter
from protocol.site_id import SiteId
from protocol.statement import SignedStatement, Statement, Takes

WALL_S = 1_800_000_000
GIB = 1024**3
# A change is stated 15 s later, if the last statement is long enough ago, and passed on every 2 s to three peers: a
# dozen steps reach 10,000 nodes.
STATED_S = (5.0, 60.0)
NIGHT_S = 300.0
# Who takes a site fetches at most two at once.
FETCHES = 2
# When the statement of a node that is gone is no longer valid.
FORGOTTEN_S = 30 * HOUR_S
PROOFS_S = 5 * DAY_S
BAND = Band(3, 6)


@dataclass(frozen=True)
class Setting:
    """What one run is about. one_in: of so many sites one is followed, with that share of each node's bandwidth."""

    seed: int
    nodes: int
    sites: int
    churn: Churn
    one_in: int = 1
    band: Band = BAND
    size_bytes: int = 20 * 1024**2
    bytes_per_s: float = 2e6
    liars: float = 0.0
    unwilling: float = 0.0
    step_s: float = 30.0
    calm_s: float = NIGHT_S
    disturbed: bool = True


@dataclass(slots=True, eq=False)
class Node:
    key: SiteId
    rng: random.Random
    provider: int
    network: str
    operator: str
    liar: bool = False
    willing: bool = True
    dead: bool = False
    disk: dict[SiteId, SignedRelease] = field(default_factory=dict)
    claims: set[SiteId] = field(default_factory=set)
    fetching: set[SiteId] = field(default_factory=set)
    keeping: Keeping | None = None
    holdings: SiteFilter = field(default_factory=SiteFilter)
    lines: list[float] = field(default_factory=lambda: [0.0] * FETCHES)
    stated: set[SiteId] = field(default_factory=set)
    told: list[Node] = field(default_factory=list)
    stating: bool = False
    stated_s: float = -math.inf
    step_at_s: float = math.inf
    runs: int = 0

    @property
    def up(self) -> bool:
        return self.keeping is not None

    def named(self) -> Iterable[SiteId]:
        """What it says that it holds."""
        return [*self.disk, *self.claims]


class World:
    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.rng = random.Random(setting.seed)
        self.now_s = 0.0
        self.members = Members()
        self.nodes: dict[SiteId, Node] = {}
        self.named: dict[SiteId, set[Node]] = {}
        self.releases: dict[SiteId, SignedRelease] = {}
        self.tally = Tally(setting.band, setting.size_bytes)
        self._numbers = itertools.count(1)
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._networks = max(25, setting.nodes // 10)
        for _ in range(setting.nodes):
            self.start(self.join())
        self._place_all()
        if setting.disturbed:
            self._disturb()

    # --- nodes come and go ---------------------------------------------------------------------------------

    def join(self) -> Node:
        """A new node, not up yet. Providers have very different sizes, and several networks each."""
        rng, number = self.rng, next(self._numbers)
        provider = int(10 * rng.random() ** 2)
        share = self._networks // 10 + 1
        network = f"{provider}.{rng.randrange(1 + share * (2 if provider < 3 else 1))}"
        operator = f"operator {rng.randrange(max(1, self.setting.nodes // 3))}"
        key = SiteId(rng.randbytes(28) + number.to_bytes(4, "big"))
        node = Node(key, random.Random(rng.random()), provider, network, operator)
        node.liar = rng.random() < self.setting.liars
        node.willing = rng.random() >= self.setting.unwilling
        self.nodes[key] = node
        self._state(node)
        return node

    def start(self, node: Node) -> None:
        """Comes up, with what is on its disk; it and the others find each other again in a while."""
        node.runs += 1
        node.stating, node.stated_s = False, -math.inf
        node.lines = [self.now_s] * FETCHES
        keeping = node.keeping = Keeping(node.key, node.rng, members=self.members)
        self._state(node)
        for signed in node.disk.values():
            keeping.hosted(signed, kept=False, restored=True)
            self.tally.live(self.now_s, signed.site, 1)
        for other in self.partners(node):
            keeping.copies.statement(self.now_s, other.key, other.holdings, leaving=False)
        self.spread(node)
        self.step_at(node, self.now_s + HOUR_S)
        if self.setting.disturbed:
            self.later(self.setting.churn.up_s(node.rng), self._if_same_run(node, self.reboot))

    def stop(self, node: Node) -> None:
        node.keeping, node.fetching, node.step_at_s = None, set(), math.inf
        for site in node.disk:
            self.tally.live(self.now_s, site, -1)
        for other in self.partners(node):
            if other.keeping is not None:
                other.keeping.copies.disconnected(self.now_s, node.key)
                self.step_at(other, self.now_s + other.keeping.copies.contact_max_s + 1)

    def reboot(self, node: Node, away_s: float | None = None) -> None:
        self.stop(node)
        runs = node.runs
        self.later(FORGOTTEN_S, lambda: self._forget(node, runs))
        away_s = self.setting.churn.down_s(node.rng) if away_s is None else away_s
        self.later(away_s, lambda: None if node.up or node.dead else self.start(node))

    def lose_disk(self, node: Node) -> None:
        """Its copies are gone; what that makes the least repair is counted."""
        for site in list(node.disk):
            del node.disk[site]
            self.tally.disk_lost(self.now_s, site, sum(site in one.disk for one in self.named[site]))
        if not node.dead:
            self.spread(node)

    def die(self, node: Node, *, replaced: bool = True) -> None:
        if node.dead:
            return
        node.dead = True
        if node.up:
            self.stop(node)
        self.lose_disk(node)
        self.later(FORGOTTEN_S, lambda: self._forget(node, node.runs))
        if replaced:
            self.start(self.join())

    def _forget(self, node: Node, runs: int) -> None:
        """Its statement is too old: it is not asked any more, and nobody counts on it."""
        if node.up or node.runs != runs:
            return
        self._state(node, Takes.NONE)
        for other in self.partners(node):
            if other.keeping is not None:
                other.keeping.copies.gone(node.key)
        if node.dead:
            for site in list(self.named):
                self.named[site].discard(node)
            self.nodes.pop(node.key, None)

    def _if_same_run(self, node: Node, action: Callable[[Node], None]) -> Callable[[], None]:
        runs = node.runs
        return lambda: action(node) if node.up and node.runs == runs else None

    # --- what nodes know of each other ---------------------------------------------------------------------

    def partners(self, node: Node) -> list[Node]:
        """Those that say they hold a site which it says it holds, in an order that is the same in each run."""
        found: set[Node] = set().union(*(self.named[site] for site in node.named()))
        found.discard(node)
        return sorted(found, key=attrgetter("key"))

    def round_s(self, node: Node) -> float:
        """How long the audits of all that it shares sites with take, of all its sites, not only of those followed."""
        nodes, held = len(self.nodes), len(node.disk) * self.setting.one_in
        hosts = self.setting.band.max_hosts
        return max(EVERY_S, nodes * (1 - (1 - 1 / max(2, nodes)) ** (held * hosts)))

    def spread(self, node: Node) -> None:
        """It holds other sites than before, or is there again: soon its statement goes round, then audits follow."""
        if node.stating:
            return
        node.stating, runs = True, node.runs

        def arrive() -> None:
            if not node.up or node.runs != runs:
                return
            node.stating, node.stated_s = False, self.now_s
            self.tally.statements += 1
            named = set(node.named())
            node.holdings = SiteFilter.of(named)
            for site in node.stated - named:
                self.named[site].discard(node)
            node.stated = named
            partners = self.partners(node)
            for other in sorted({*node.told, *partners}, key=attrgetter("key")):
                if other.keeping is not None:
                    other.keeping.copies.statement(self.now_s, node.key, node.holdings, leaving=False)
                    self._meet_later(node, other)
            node.told = partners

        wait_s = node.stated_s + apart_s(len(self.nodes)) - self.now_s
        self.later(max(0.0, wait_s) + self.rng.uniform(*STATED_S), arrive)

    def _meet_later(self, one: Node, other: Node) -> None:
        """Audits of both, drawn into the round of the one with fewer nodes to ask."""
        within_s = min(self.round_s(one), self.round_s(other))
        runs = one.runs, other.runs
        self.later(
            self.rng.uniform(5, within_s), lambda: self._meet(one, other) if runs == (one.runs, other.runs) else None
        )

    def _meet(self, one: Node, other: Node) -> None:
        if one.keeping is not None and other.keeping is not None:
            for a, b in ((one, other), (other, one)):
                assert a.keeping is not None
                a.keeping.connected(self.now_s, b.key)
                self.audit(a, b, a.keeping.copies.sites_of(b.key))
                if a.keeping.repair.needs():
                    self.step_at(a, self.now_s + 1)

    def audit(self, verifier: Node, prover: Node, sites: Iterable[SiteId]) -> None:
        assert verifier.keeping is not None
        proved = [site for site in sites if site in prover.disk]
        failed = [site for site in sites if site not in prover.disk]
        verifier.keeping.copies.audited(self.now_s, prover.key, proved, failed)

    def _prove_again(self, node: Node) -> None:
        """Proofs grow old; in a real node audits go on all the time."""
        for other in self.partners(node):
            if other.up and node.up:
                self._meet(node, other)
        if not node.dead:
            self.later(PROOFS_S * self.rng.uniform(0.9, 1.1), lambda: self._prove_again(node))

    def _state(self, node: Node, takes: Takes | None = None) -> None:
        """To the members, one table for all: it differs between nodes for seconds, and the grace period is an hour."""
        if takes is None:
            takes = Takes.OPEN if node.willing else Takes.NONE
        known = self.members.get(node.key)
        if known is not None and known.signed.statement.takes is takes:
            return
        made_s = WALL_S if known is None else known.signed.made_s + 1
        statement = Statement(node.key, made_s, (), takes, 40 * GIB, 0, SiteFilter(), operator=node.operator)
        self.members.take(made_s, SignedStatement(statement, bytes(64)), node.network)

    # --- what nodes do -------------------------------------------------------------------------------------

    def step_at(self, node: Node, at_s: float) -> None:
        if node.up and at_s < node.step_at_s:
            node.step_at_s = at_s
            self.later(at_s - self.now_s, lambda: self._step(node, at_s))

    def _step(self, node: Node, at_s: float) -> None:
        if node.keeping is None or node.step_at_s != at_s:
            return
        node.step_at_s = math.inf
        effects = node.keeping.due(self.now_s, WALL_S)
        asks = 0
        for effect in effects:
            match effect:
                case fx.AskToHost(site, key):
                    asks += 1
                    self._ask(node, site, key)
                case fx.Audit(key, sites) if len(sites) == 1:
                    self._audit_soon(node, key, sites)
                case fx.LetGo(site):
                    self._let_go(node, site)
        if node.keeping.repair.needs():
            self.step_at(node, self.now_s + (self.setting.step_s if asks else self.setting.calm_s))
        elif any(self.tally.too_many(site) for site in node.disk):
            self.step_at(node, self.now_s + self.setting.calm_s)

    def _ask(self, node: Node, site: SiteId, key: SiteId) -> None:
        self.tally.asks += 1
        taker = self.nodes.get(key)
        answer = self._offer(node, taker, self.releases[site]) if taker is not None else "silent"
        keeping = node.keeping

        def answered() -> None:
            if keeping is not None and keeping is node.keeping:
                keeping.answered(self.now_s, site, key, answer)  # type: ignore[arg-type]
                self.step_at(node, self.now_s + self.setting.step_s)

        self.later(0.2 if answer != "silent" else 10.0, answered)

    def _offer(self, giver: Node, taker: Node | None, signed: SignedRelease) -> str:
        if taker is None or taker.keeping is None:
            return "silent"
        site = signed.site
        taker.keeping.stated(self.now_s, site, giver.key)
        if site in taker.disk or site in taker.claims:
            return "has"
        if site in taker.fetching:
            return "took"
        if taker.liar:
            taker.claims.add(site)
            self.named[site].add(taker)
            self.spread(taker)
            return "has"
        if not taker.willing or not taker.keeping.should_take(self.now_s, signed, wanted=True):
            return "refused"
        taker.fetching.add(site)
        self._fetch(giver, taker, signed)
        return "took"

    def _fetch(self, giver: Node, taker: Node, signed: SignedRelease) -> None:
        line = min(range(FETCHES), key=lambda index: taker.lines[index])
        took_s = self.setting.size_bytes * FETCHES * self.setting.one_in / self.setting.bytes_per_s
        taker.lines[line] = max(self.now_s, taker.lines[line]) + took_s
        runs = taker.runs

        def done() -> None:
            if taker.keeping is None or taker.runs != runs:
                return
            taker.fetching.discard(signed.site)
            if giver.up and signed.site in giver.disk:
                self.tally.copied(signed.site)
                self.store(taker, signed)
                taker.keeping.stated(self.now_s, signed.site, giver.key)

        self.later(taker.lines[line] - self.now_s, done)

    def store(self, node: Node, signed: SignedRelease, *, told: bool = True) -> None:
        assert node.keeping is not None
        node.disk[signed.site] = signed
        self.named[signed.site].add(node)
        node.keeping.hosted(signed, kept=False, restored=not told)
        self.tally.live(self.now_s, signed.site, 1)
        if told:
            self.spread(node)

    def _audit_soon(self, node: Node, key: SiteId, sites: tuple[SiteId, ...]) -> None:
        self.tally.audits += 1

        def answered() -> None:
            other = self.nodes.get(key)
            if node.keeping is not None and other is not None and other.up:
                self.audit(node, other, sites)

        self.later(0.5, answered)

    def _let_go(self, node: Node, site: SiteId) -> None:
        assert node.keeping is not None
        del node.disk[site]
        node.keeping.left(site)
        self.tally.let_go += 1
        self.tally.live(self.now_s, site, -1)
        self.spread(node)

    # --- time ----------------------------------------------------------------------------------------------

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (self.now_s + delay_s, next(self._numbers), action))

    def run(self, until_s: float) -> None:
        while self._heap and self._heap[0][0] <= until_s:
            self.now_s, _, action = heapq.heappop(self._heap)
            action()
        self.now_s = until_s

    def _place_all(self) -> None:
        """Every site starts with `max` hosts, the first in its order: as when room is no matter. All know of all."""
        blocks = -(-self.setting.size_bytes // 2**18)
        for number in range(self.setting.sites):
            site = SiteId(self.rng.randbytes(28) + number.to_bytes(4, "big"))
            signed = SignedRelease(
                Release(site, 1, None, Cid.of(RAW, site), self.setting.size_bytes, blocks, self.setting.band),
                b"",
                bytes(64),
                b"",
            )
            self.releases[site] = signed
            self.named[site] = set()
            self.tally.begin(site)
            first = [self.nodes[m.node] for m in self.members.orders.first(site, self.setting.band.max_hosts)]
            for node in first:
                if node.liar:
                    node.claims.add(site)
                    self.named[site].add(node)
                else:
                    self.store(node, signed, told=False)
        for node in self.nodes.values():
            node.stated = set(node.named())
            node.holdings = SiteFilter.of(node.stated)
        for node in list(self.nodes.values()):
            node.told = self.partners(node)
            for other in node.told:
                assert node.keeping is not None
                node.keeping.copies.statement(0.0, other.key, other.holdings, leaving=False)
                self._meet_later(node, other)
            self.later(PROOFS_S * self.rng.random(), lambda node=node: self._prove_again(node))  # type: ignore[misc]

    def _disturb(self) -> None:
        churn, count = self.setting.churn, self.setting.nodes
        for rate, action in (
            (churn.dies_a_year * count, self._some_node_dies),
            (churn.disk_a_year * count, self._some_disk_dies),
            (churn.provider_out_a_year * 10, self._some_provider_is_out),
            (churn.operator_quits_a_year * count / 3, self._some_operator_quits),
        ):
            self._again(rate, action)

    def _again(self, a_year: float, action: Callable[[], None]) -> None:
        def happen() -> None:
            action()
            self.later(self.rng.expovariate(a_year / YEAR_S), happen)

        if a_year > 0:
            self.later(self.rng.expovariate(a_year / YEAR_S), happen)

    def _some_node_dies(self) -> None:
        self.die(self.rng.choice([node for node in self.nodes.values() if not node.dead]))

    def _some_disk_dies(self) -> None:
        node = self.rng.choice([node for node in self.nodes.values() if not node.dead])
        if node.up:
            self.stop(node)
        self.lose_disk(node)
        self.later(HOUR_S, lambda: None if node.up or node.dead else self.start(node))

    def _some_provider_is_out(self) -> None:
        provider, away_s = self.rng.randrange(10), self.setting.churn.provider_out_s(self.rng)
        for node in [node for node in self.nodes.values() if node.provider == provider and node.up]:
            self.reboot(node, away_s)

    def _some_operator_quits(self) -> None:
        operator = self.rng.choice(list(self.nodes.values())).operator
        for node in [node for node in self.nodes.values() if node.operator == operator]:
            self.die(node)
