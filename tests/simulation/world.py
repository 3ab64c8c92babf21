"""A federation in one event heap: real cores, modelled disks and links, everything drawn from one seed.

Time is a number, messages are events with delays, and a crash loses all that is not on the modelled disk. The same
`FederationCore` runs in the daemon; only what carries out its effects differs.
"""

import dataclasses
import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.core import effects as fx
from node.core import inputs as ins
from node.core.machine import FederationCore
from protocol.cid import RAW, Cid
from protocol.limits import SEQ_MAX
from protocol.release import Band, Release, SignedRelease, sign_release
from protocol.site_id import SiteId

# A walk in the DHT takes that long, as drawn, and one in so many of them reaches nobody.
DHT_CALL_S = (0.2, 15.0)
DHT_FAILS_ONE_IN = 10


@dataclass(slots=True)
class Disk:
    """What survives a crash of one node."""

    heads: dict[SiteId, SignedRelease] = field(default_factory=dict)
    held: dict[SiteId, SignedRelease] = field(default_factory=dict)
    blocked: set[SiteId] = field(default_factory=set)
    full: bool = False
    room_bytes: int = 10**6
    """For one release."""


class Publisher:
    """A site's key and its releases so far."""

    def __init__(self, seed: int) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed.to_bytes(32, "big"))
        self.site = SiteId.of(self._key)
        self.releases: list[SignedRelease] = []

    def fork(self) -> SignedRelease:
        """Another release of the latest one's sequence, as from a copy of the key."""
        last = self.releases[-1].release
        return sign_release(dataclasses.replace(last, created_s=last.created_s + 500), self._key)

    def publish(self, *, ended: bool = False, size_bytes: int = 10) -> SignedRelease:
        seq = SEQ_MAX if ended else len(self.releases) + 1
        release = Release(
            site=self.site,
            seq=seq,
            prev=self.releases[-1].cid if self.releases else None,
            root=None if ended else Cid.of(RAW, b"content %d" % seq),
            size_bytes=0 if ended else size_bytes,
            block_count=0 if ended else 1,
            band=Band(1, 8),
            domains=(),
            created_s=1_700_000_000 + len(self.releases),
            ended=ended,
        )
        self.releases.append(sign_release(release, self._key))
        return self.releases[-1]


class SimNode:
    """One node: its core while it is up, its disk always."""

    def __init__(self, world: "World", name: str) -> None:
        self.world = world
        self.name = name
        self.disk = Disk()
        self.core: FederationCore | None = None
        self.fetches: dict[SiteId, int] = {}

    def start(self) -> None:
        core = FederationCore(self.wants, random.Random(self.world.rng.random()))
        core.restore(self.world.now_s, [(h, self.disk.held.get(s)) for s, h in self.disk.heads.items()])
        self.core = core
        self.fetches = {}
        self.world.connect_up(self)
        self.world.later(self.world.rng.uniform(0.1, 1.0), self.tick)

    def crash(self) -> None:
        self.core = None
        self.world.connect_down(self)

    def tick(self) -> None:
        if self.core is not None:
            self.feed(ins.Tick())
            self.world.later(1.0, self.tick)

    def wants(self, signed: SignedRelease) -> bool:
        return signed.site not in self.disk.blocked

    def feed(self, event: ins.Input) -> None:
        if self.core is None:
            return
        for effect in self.core.handle(self.world.now_s, event):
            self.carry_out(effect)

    def carry_out(self, effect: fx.Effect) -> None:
        world = self.world
        match effect:
            case fx.SyncHeads(peer):
                assert self.core is not None
                world.send(self.name, peer, lambda n: n.answer_heads(self.name, known))
                known = {signed.site: signed.seq for signed in self.core.known_heads(peer)}
            case fx.SendHead(peer, signed):
                if self.wants(signed):
                    self.offer(peer, signed)
            case fx.RecordHead(signed):
                self.record(signed)
            case fx.EndSite(signed):
                self.record(signed)
                self.disk.held.pop(signed.site, None)
            case fx.StartFetch(signed, source):
                self.start_fetch(signed, source)
            case fx.CancelFetch(site):
                self.fetches.pop(site, None)
            case fx.FindHosts(site):
                for name in world.providers.get(site, set()):
                    world.send(self.name, name, lambda n: n.answer_ask(self.name, site))
            case fx.Announce(site):
                self.announce(site)
            case fx.CheckAnnounced(site):
                seen = int(self.name in world.providers.get(site, set()))
                world.later(world.rng.uniform(*DHT_CALL_S), lambda: self.feed(ins.Checked(site, seen)))

    def announce(self, site: SiteId) -> None:
        took = int(self.world.rng.randrange(DHT_FAILS_ONE_IN) > 0)
        if took:
            self.world.providers.setdefault(site, set()).add(self.name)
        self.world.later(self.world.rng.uniform(*DHT_CALL_S), lambda: self.feed(ins.Announced(site, took)))

    def record(self, signed: SignedRelease) -> None:
        self.world.checker.on_record(self.name, self.disk.heads.get(signed.site), signed)
        self.disk.heads[signed.site] = signed

    def hold(self, signed: SignedRelease) -> None:
        self.world.checker.on_hold(self.name, self.disk.held.get(signed.site), signed)
        self.disk.held[signed.site] = signed

    def answer_heads(self, asker: str, known: dict[SiteId, int]) -> None:
        if self.core is None:
            return
        for signed in self.core.newer_than(known, asker, self.core.sites()):
            if self.wants(signed):
                self.offer(asker, signed)

    def offer(self, peer: str, signed: SignedRelease) -> None:
        self.world.send(self.name, peer, lambda n: n.feed(ins.HeadSeen(self.name, signed)))

    def answer_ask(self, asker: str, site: SiteId) -> None:
        signed = self.disk.held.get(site)
        if self.core is not None and signed is not None and self.wants(signed):
            self.offer(asker, signed)

    def start_fetch(self, signed: SignedRelease, source: str) -> None:
        token = next(self.world.counter)
        assert self.wants(signed), "fetches what policy refuses"
        assert signed.site not in self.fetches, "two fetches of one site at once"
        self.fetches[signed.site] = token
        self.world.later(self.world.rng.uniform(0.05, 3.0), lambda: self.end_fetch(self.core, signed, source, token))

    def end_fetch(self, core: FederationCore | None, signed: SignedRelease, source: str, token: int) -> None:
        if self.core is not core or core is None or self.fetches.get(signed.site) != token:
            return
        del self.fetches[signed.site]
        if self.disk.full:
            self.feed(ins.FetchFailed(signed, source, "local"))
            return
        if signed.release.size_bytes > self.disk.room_bytes:
            self.feed(ins.FetchFailed(signed, source, "full"))
            return
        if not self.world.reachable(self.name, source) or not self.world.nodes[source].serves(signed):
            self.feed(ins.FetchFailed(signed, source, "source"))
            return
        self.store(signed)

    def store(self, signed: SignedRelease) -> None:
        """Publish to this node, or the end of a fetch: durable first, then the core hears of it."""
        current = self.disk.heads.get(signed.site)
        if current is None or signed.seq > current.seq:
            self.record(signed)
        if signed.release.ended:
            self.disk.held.pop(signed.site, None)
        else:
            self.hold(signed)
        self.feed(ins.Stored(signed))

    def serves(self, signed: SignedRelease) -> bool:
        held = self.disk.held.get(signed.site)
        return self.core is not None and held is not None and held.cid == signed.cid and self.wants(signed)


class Checker:
    """Safety: neither heads nor held releases go back, and nothing is recorded that its publisher did not sign."""

    def on_record(self, name: str, old: SignedRelease | None, new: SignedRelease) -> None:
        assert old is None or new.seq > old.seq, f"{name}: head went from {old and old.seq} to {new.seq}"
        assert SignedRelease.decode(new.encode()) == new

    def on_hold(self, name: str, old: SignedRelease | None, new: SignedRelease) -> None:
        assert old is None or new.seq >= old.seq, f"{name}: went from holding {old and old.seq} to {new.seq}"


class World:
    """Nodes, links, faults and the clock."""

    def __init__(self, seed: int, nodes: int) -> None:
        self.rng = random.Random(seed)
        self.now_s = 0.0
        self.counter = itertools.count()
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self.checker = Checker()
        self.providers: dict[SiteId, set[str]] = {}
        self.group: dict[str, int] = {}
        self.drop = 0.0
        self.nodes = {f"n{i}": SimNode(self, f"n{i}") for i in range(nodes)}
        for node in self.nodes.values():
            self.group[node.name] = 0
            node.start()

    def neighbours(self, name: str) -> list[str]:
        """Everybody else: a small federation finds all its members, so refusing nodes cut nobody off."""
        return [other for other in self.nodes if other != name]

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (self.now_s + delay_s, next(self.counter), action))

    def reachable(self, a: str, b: str) -> bool:
        one, other = self.nodes.get(a), self.nodes.get(b)
        up = one is not None and one.core is not None and other is not None and other.core is not None
        return up and self.group[a] == self.group[b]

    def send(self, sender: str, receiver: str, action: Callable[[SimNode], None]) -> None:
        """Delivers later, or never: messages are dropped, and those in flight over a cut link are lost."""
        if self.rng.random() < self.drop:
            return

        def deliver() -> None:
            if self.reachable(sender, receiver):
                action(self.nodes[receiver])

        self.later(self.rng.uniform(0.001, 0.5), deliver)

    def connect_up(self, node: SimNode) -> None:
        for other in self.neighbours(node.name):
            if self.reachable(node.name, other):
                self.later(0.01, lambda o=other: self._tell_up(node.name, o))  # type: ignore[misc]

    def _tell_up(self, a: str, b: str) -> None:
        if self.reachable(a, b):
            self.nodes[a].feed(ins.PeerUp(b))
            self.nodes[b].feed(ins.PeerUp(a))

    def connect_down(self, node: SimNode) -> None:
        for other in self.neighbours(node.name):
            self.nodes[other].feed(ins.PeerDown(node.name))

    def partition(self, groups: dict[str, int]) -> None:
        """Cuts and mends links so that exactly the nodes of one group reach each other."""
        before = dict(self.group)
        self.group = groups
        for a, b in itertools.combinations(self.nodes, 2):
            was, now = before[a] == before[b], groups[a] == groups[b]
            if was and not now:
                self.nodes[a].feed(ins.PeerDown(b))
                self.nodes[b].feed(ins.PeerDown(a))
            elif now and not was:
                self._tell_up(a, b)

    def run(self, until_s: float) -> None:
        while self._heap and self._heap[0][0] <= until_s:
            self.now_s, _, action = heapq.heappop(self._heap)
            action()
        self.now_s = until_s
