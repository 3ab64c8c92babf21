"""What the core knows about one site and one peer."""

from dataclasses import dataclass, field

from node.core.inputs import PeerId
from protocol.release import SignedRelease

# A host that is not among the first sixteen adds nothing to a fetch that tries them in turn.
SOURCES_MAX = 16


@dataclass(slots=True)
class SiteState:
    """One site that this node hosts, wants to host, or remembers the head of.

    `recorded`: the store has a row for it, so later heads are recorded too and old ones stay refused after a restart.
    `paused_until_s`: no fetch before then, because this node itself could not take it (full disk or quota).
    """

    head: SignedRelease | None = None
    held: SignedRelease | None = None
    sources: dict[PeerId, None] = field(default_factory=dict)
    fetching_from: PeerId | None = None
    recorded: bool = False
    failures: int = 0
    paused_until_s: float = 0.0

    @property
    def complete(self) -> bool:
        """Nothing is left to fetch: the head is held, or the site has ended."""
        if self.head is None:
            return False
        return self.head.release.ended or self.held is self.head or self.held == self.head  # a cid costs 0.1 ms

    def add_source(self, peer: PeerId) -> None:
        """Remembers that `peer` says it hosts the head; the newest word counts most, the oldest is forgotten."""
        self.sources.pop(peer, None)
        self.sources[peer] = None
        while len(self.sources) > SOURCES_MAX:
            del self.sources[next(iter(self.sources))]

    def take_head(self, signed: SignedRelease) -> None:
        """Replaces the head; who hosted the old one may not host this one."""
        self.head = signed
        self.sources.clear()
        self.failures = 0
        self.paused_until_s = 0.0
