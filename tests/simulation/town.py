"""Many nodes' `Keeping` with modelled disks, in steps of some seconds: how hosts come, go and are found again.

Messages arrive at once and statements reach everybody who is not cut off; what is modelled is who is up, who holds
what, who lies, whose clock is wrong and who reaches whom.
"""

import random
from dataclasses import dataclass, field

from node.core import effects as fx
from node.core.keeping import Keeping
from node.core.members import AHEAD_MAX_S
from protocol.cid import RAW, Cid
from protocol.release import Band, Release, SignedRelease
from protocol.site_filter import SiteFilter
from protocol.site_id import SiteId
from protocol.statement import SignedStatement, Statement, Takes

STEP_S = 15.0
WALL_S = 1_800_000_000
RESTATE_S = 12 * 3600.0
GIB = 1024**3


def release_of(number: int, band: Band) -> SignedRelease:
    site = SiteId((10**6 + number).to_bytes(32, "big"))
    root = Cid.of(RAW, b"%d" % number)
    return SignedRelease(Release(site, 1, None, root, 10, 1, band), b"", bytes(64), b"")  # signatures are not at issue


@dataclass(slots=True)
class Node:
    key: SiteId
    rng: random.Random
    network: str = ""
    operator: str = ""
    takes: Takes = Takes.OPEN
    claims_all: bool = False
    """Says that it holds every site there is, and holds none."""
    refuses: set[SiteId] = field(default_factory=set)
    held: dict[SiteId, SignedRelease] = field(default_factory=dict)
    keeping: Keeping | None = None
    changed_s: float | None = 0.0
    stated_s: float = 0.0
    group: int = 0
    """Only those of one group reach each other."""
    clock_off_s: int = 0
    tells_off_s: int = 0
    """How much later than by its own clock it says that it is."""
    known: dict[SiteId, SignedStatement] = field(default_factory=dict)
    """The statements that outlive a restart."""


class Town:
    def __init__(self, seed: int, count: int, *, grace_s: float = 600.0) -> None:
        self.rng = random.Random(seed)
        self.now_s = 0.0
        self.grace_s = grace_s
        self.nodes: dict[SiteId, Node] = {}
        self.statements: dict[SiteId, SignedStatement] = {}
        self.copied = 0
        self.let_go = 0
        self.asked = 0
        self.in_vain = 0
        """Asks of those that are not there."""
        self.audited = 0
        for number in range(1, count + 1):
            key = SiteId(number.to_bytes(32, "big"))
            self.nodes[key] = Node(key, random.Random(self.rng.random()))
        for node in self.nodes.values():
            self.start(node)

    def start(self, node: Node) -> None:
        node.keeping = Keeping(node.key, node.rng, grace_s=self.grace_s)
        for signed in node.held.values():
            node.keeping.hosted(signed, kept=False, restored=True)
        for stated in node.known.values():
            self.hear(node, stated)
        for other in self.nodes.values():
            if other is not node and self.reach(node, other):
                self.meet(node, other)
        self.state(node)

    def reach(self, one: Node, other: Node) -> bool:
        return one.keeping is not None and other.keeping is not None and one.group == other.group

    def hear(self, node: Node, signed: SignedStatement) -> bool:
        assert node.keeping is not None
        network = self.nodes[signed.node].network if signed.node in self.nodes else "?"
        if not node.keeping.heard(self.now_s, WALL_S + self.now_s + node.clock_off_s, signed, network):
            return False
        node.known[signed.node] = signed
        return True

    def meet(self, one: Node, other: Node) -> None:
        """They connect, tell each other all that they know, and see each other's clocks."""
        for node, peer in ((one, other), (other, one)):
            assert node.keeping is not None
            node.keeping.connected(self.now_s, peer.key)
            wall_s = WALL_S + self.now_s
            told_s = wall_s + peer.clock_off_s + peer.tells_off_s
            node.keeping.clock.heard(peer.key, wall_s + node.clock_off_s, told_s)
            for signed in peer.known.values():
                self.hear(node, signed)

    def partition(self, groups: int) -> None:
        """Everybody is put into one of so many groups at random; who is in one group finds each other."""
        for node in self.nodes.values():
            node.group = self.rng.randrange(groups)
        some = list(self.nodes.values())
        for index, one in enumerate(some):
            for other in some[:index]:
                if self.reach(one, other):
                    self.meet(one, other)
                else:
                    self._part(one, other)
                    self._part(other, one)

    def _part(self, node: Node, other: Node) -> None:
        if node.keeping is not None:
            node.keeping.copies.disconnected(self.now_s, other.key)

    def kill(self, node: Node, *, disk_too: bool = False) -> None:
        node.keeping = None
        if disk_too:
            node.held.clear()
        for other in self.nodes.values():
            if other.keeping is not None:
                other.keeping.copies.disconnected(self.now_s, node.key)

    def state(self, node: Node) -> None:
        """Signs a statement and brings it to everybody who is up."""
        sites = [signed.site for one in self.nodes.values() for signed in one.held.values()]
        holdings = SiteFilter.of(set(sites) if node.claims_all else list(node.held))
        assert node.keeping is not None
        wall_s = node.keeping.clock.now_s(WALL_S + self.now_s + node.clock_off_s)
        known = node.keeping.members.get(node.key)
        made_s = int(wall_s)
        if known is not None and known.signed.made_s > wall_s + AHEAD_MAX_S:
            node.keeping.members.forget(node.key)
        elif known is not None:
            made_s = max(made_s, known.signed.made_s + 1)
        statement = Statement(
            node.key, made_s, (), node.takes, 40 * GIB, len(node.held), holdings, operator=node.operator
        )
        self.statements[node.key] = signed = SignedStatement(statement, bytes(64))
        node.changed_s, node.stated_s = None, self.now_s
        self.hear(node, signed)
        for other in self.nodes.values():
            if other is not node and self.reach(node, other):
                self.hear(other, signed)

    def publish(self, node: Node, signed: SignedRelease) -> None:
        """To one node, which offers it to all."""
        self.store(node, signed)
        for other in self.nodes.values():
            self.offer(node, other, signed, wanted=False)

    def store(self, node: Node, signed: SignedRelease) -> None:
        assert node.keeping is not None
        assert not node.claims_all
        node.held[signed.site] = signed
        node.keeping.hosted(signed, kept=False)
        node.changed_s = node.changed_s or self.now_s

    def offer(self, giver: Node, taker: Node, signed: SignedRelease, *, wanted: bool) -> str:
        if taker.keeping is None or not self.reach(giver, taker):
            return "silent"
        taker.keeping.stated(self.now_s, signed.site, giver.key)
        if signed.site in taker.held or taker.claims_all:
            return "has"
        if taker.takes is not Takes.OPEN or signed.site in taker.refuses:
            return "refused"
        if not taker.keeping.should_take(self.now_s, signed, wanted=wanted):
            return "refused"
        self.store(taker, signed)
        taker.keeping.stated(self.now_s, signed.site, giver.key)
        self.copied += 1
        return "has"  # copied at once

    def run(self, for_s: float) -> None:
        end_s = self.now_s + for_s
        while self.now_s < end_s:
            self.now_s += STEP_S
            for node in self.nodes.values():
                if node.keeping is None:
                    continue
                for effect in node.keeping.due(self.now_s, WALL_S + self.now_s + node.clock_off_s):
                    self.carry_out(node, effect)
                news = node.changed_s is not None and self.now_s > node.changed_s + 60
                wall_s = node.keeping.clock.now_s(WALL_S + self.now_s + node.clock_off_s)
                age_s = wall_s - self.statements[node.key].made_s
                if news or not -AHEAD_MAX_S <= age_s <= RESTATE_S or self.now_s > node.stated_s + RESTATE_S:
                    self.state(node)

    def carry_out(self, node: Node, effect: fx.Effect) -> None:
        assert node.keeping is not None
        match effect:
            case fx.AskToHost(site, other):
                self.asked += 1
                target = self.nodes.get(other)
                answer = "silent" if target is None else self.offer(node, target, node.held[site], wanted=True)
                self.in_vain += answer == "silent"
                node.keeping.answered(self.now_s, site, other, answer)  # type: ignore[arg-type]
            case fx.Audit(other, sites):
                self.audited += 1
                target = self.nodes.get(other)
                there = target is not None and self.reach(node, target)
                held = target.held if target is not None else {}
                if there and target is not None and target.keeping is not None:
                    target.keeping.copies.contact(self.now_s, node.key)
                node.keeping.auditing.answered(
                    self.now_s,
                    other,
                    [site for site in sites if site in held],
                    [site for site in sites if site not in held],
                    silent=not there,
                )
            case fx.LetGo(site):
                self.let_go += 1
                del node.held[site]
                node.keeping.left(site)
                node.changed_s = self.now_s

    def hosts(self, signed: SignedRelease) -> list[Node]:
        """Those that are up and hold it."""
        return [node for node in self.nodes.values() if node.keeping is not None and signed.site in node.held]
