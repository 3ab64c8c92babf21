"""What the core is told. Releases in inputs have been verified: nothing unsigned ever gets here."""

from dataclasses import dataclass
from typing import Literal

from protocol.release import SignedRelease
from protocol.site_id import SiteId

PeerId = str

# Who is to blame for a fetch that failed decides what the core tries next. full: there is no room for this release.
Blame = Literal["source", "local", "refused", "full"]

# What became of asking a member to host a site. took: it is going to fetch it; has: it hosts it; later: not now.
Answer = Literal["has", "took", "refused", "later", "silent"]


@dataclass(frozen=True, slots=True)
class PeerUp:
    """A peer is connected."""

    peer: PeerId


@dataclass(frozen=True, slots=True)
class PeerDown:
    """The last connection to a peer has ended."""

    peer: PeerId


@dataclass(frozen=True, slots=True)
class Heard:
    """A peer, under its key, has asked this node for something that no other input tells of."""

    peer: PeerId


@dataclass(frozen=True, slots=True)
class Unreached:
    """A peer that was to send blocks could not be reached."""

    peer: PeerId


@dataclass(frozen=True, slots=True)
class HeadSeen:
    """A peer says that it hosts this release; `wanted`: and that the site lacks hosts."""

    peer: PeerId
    signed: SignedRelease
    wanted: bool = False


@dataclass(frozen=True, slots=True)
class Stored:
    """This release is now fully and durably stored here (published to this node, or fetched)."""

    signed: SignedRelease


@dataclass(frozen=True, slots=True)
class FetchFailed:
    """A fetch that the core started did not complete."""

    signed: SignedRelease
    source: PeerId
    blame: Blame


@dataclass(frozen=True, slots=True)
class Announced:
    """The answer to `Announce`: how many DHT nodes took the record, None when policy forbids to announce."""

    site: SiteId
    took: int | None


@dataclass(frozen=True, slots=True)
class Checked:
    """The answer to `CheckAnnounced`: how many DHT nodes name this node as a host, None when that is unknown."""

    site: SiteId
    seen: int | None


@dataclass(frozen=True, slots=True)
class Followed:
    """The operator wants this site to be hosted here, whether or not a head of it is known yet."""

    site: SiteId


@dataclass(frozen=True, slots=True)
class Dropped:
    """The operator had this site's blocks deleted."""

    site: SiteId


@dataclass(frozen=True, slots=True)
class PolicyChanged:
    """Rules, follows or hosting settings are not what they were."""


@dataclass(frozen=True, slots=True)
class AskedToHost:
    """The answer to `AskToHost`."""

    site: SiteId
    node: SiteId
    answer: Answer


@dataclass(frozen=True, slots=True)
class Audited:
    """The answer to `Audit`. silent: the node could not be reached, or said nothing."""

    node: SiteId
    proved: tuple[SiteId, ...]
    failed: tuple[SiteId, ...]
    silent: bool = False


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed; sent at least every `TICK_S`. wall_s: Unix time by this node's clock."""

    wall_s: float = 0.0


Input = (
    PeerUp
    | PeerDown
    | Heard
    | Unreached
    | HeadSeen
    | Stored
    | FetchFailed
    | Announced
    | Checked
    | Followed
    | Dropped
    | PolicyChanged
    | AskedToHost
    | Audited
    | Tick
)
