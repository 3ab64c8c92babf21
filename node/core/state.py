"""What the core knows about one site and one peer."""

from collections.abc import Callable
from dataclasses import dataclass, field

from node.core.inputs import PeerId
from protocol.release import SignedRelease

# A host that is not among the first sixteen adds nothing to a fetch that tries them in turn.
SOURCES_MAX = 16


@dataclass(slots=True)
class SiteState:
    """One site that this node hosts, wants to host, or remembers the head of.

    `sources`: who says to host which release; none is older than the held one or newer than the head. The newest word
    comes last. `fetching`: the release that is being fetched, and from whom.
    `recorded`: the store has a row for it, so later heads are recorded too and old ones stay refused after a restart.
    `forked`: two releases of one sequence were seen in this run.
    `paused_until_s`: no fetch before then, because this node itself could not take it (its disk failed).
    `wanted`: a host has said that the site lacks hosts.
    `no_room_for`: a release above the held one that quota or disk had no room for; tried again at `room_again_s`.
    """

    head: SignedRelease | None = None
    held: SignedRelease | None = None
    sources: dict[PeerId, SignedRelease] = field(default_factory=dict)
    fetching: tuple[PeerId, SignedRelease] | None = None
    recorded: bool = False
    forked: bool = False
    failures: int = 0
    paused_until_s: float = 0.0
    wanted: bool = False
    no_room_for: SignedRelease | None = None
    room_again_s: float = 0.0

    @property
    def complete(self) -> bool:
        """Nothing is left to fetch: the head is held, or the site has ended."""
        if self.head is None:
            return False
        return self.head.release.ended or self.held is self.head or self.held == self.head  # a cid costs 0.1 ms

    @property
    def best(self) -> SignedRelease | None:
        """What others can get here: the held release, or the end."""
        return self.head if self.complete else self.held

    def fits(self, now_s: float, signed: SignedRelease) -> bool:
        """Nothing is known against it: there was room for as much as it is, or it is time to try again."""
        if self.no_room_for is None or now_s >= self.room_again_s:
            return True
        return signed.release.size_bytes < self.no_room_for.release.size_bytes

    def add_source(self, peer: PeerId, signed: SignedRelease) -> None:
        """Remembers that `peer` says it hosts this release; the oldest word is forgotten."""
        self.sources.pop(peer, None)
        alike = (known for known in (self.head, self.held, *self.sources.values()) if known == signed)
        self.sources[peer] = next(alike, signed)  # one object for all: thousands of sites have many sources
        while len(self.sources) > SOURCES_MAX:
            del self.sources[next(iter(self.sources))]

    def forget_sources_of(self, signed: SignedRelease) -> None:
        self.sources = {peer: offered for peer, offered in self.sources.items() if offered != signed}

    def next_source(
        self, wants: Callable[[SignedRelease], bool], is_silent: Callable[[PeerId], bool]
    ) -> tuple[PeerId, SignedRelease] | None:
        """The newest wanted release that is above the held one, and who said last to host it; silent peers last."""
        above = (self.held.rank if self.held is not None else (0, b""), True)
        found: tuple[PeerId, SignedRelease] | None = None
        for peer, signed in reversed(self.sources.items()):
            if signed.rank >= above[0] and (offer := (signed.rank, not is_silent(peer))) > above and wants(signed):
                found, above = (peer, signed), offer
        return found

    def take_head(self, signed: SignedRelease) -> None:
        """Replaces the head. Hosts of an older release are kept: this one may never be had."""
        self.head = signed
        self.failures = 0
        self.paused_until_s = 0.0

    def take_held(self, signed: SignedRelease) -> None:
        """Replaces the held release; who has only older ones is of no use any more."""
        self.held = signed
        self.fetching = None
        if self.no_room_for is not None and self.no_room_for.rank <= signed.rank:
            self.no_room_for = None
        self.sources = {peer: offered for peer, offered in self.sources.items() if offered.rank >= signed.rank}
