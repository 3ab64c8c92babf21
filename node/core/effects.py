"""What the core wants done. The driver (node/replication) and the simulator carry effects out."""

from dataclasses import dataclass

from node.core.inputs import PeerId
from protocol.release import SignedRelease
from protocol.site_id import SiteId


@dataclass(frozen=True, slots=True)
class SyncHeads:
    """Tell this peer which heads we know and take what it offers."""

    peer: PeerId


@dataclass(frozen=True, slots=True)
class SendHead:
    """Offer a release that we host (or an end) to a connected peer."""

    peer: PeerId
    signed: SignedRelease


@dataclass(frozen=True, slots=True)
class RecordHead:
    """Keep this head durably, so that it never goes back."""

    signed: SignedRelease


@dataclass(frozen=True, slots=True)
class KeepFork:
    """Keep these two releases as proof: the site's key signed both under one sequence."""

    first: SignedRelease
    second: SignedRelease


@dataclass(frozen=True, slots=True)
class StartFetch:
    """Fetch what is missing of this release from this peer; answered by `Stored` or `FetchFailed`."""

    signed: SignedRelease
    source: PeerId


@dataclass(frozen=True, slots=True)
class CancelFetch:
    """Stop the fetch of this site, if one runs; no input answers."""

    site: SiteId


@dataclass(frozen=True, slots=True)
class EndSite:
    """Keep the signed end durably and free the site's blocks."""

    signed: SignedRelease


@dataclass(frozen=True, slots=True)
class FindHosts:
    """Look for hosts of this site (DHT, connected peers); what is found comes back as `HeadSeen`."""

    site: SiteId


@dataclass(frozen=True, slots=True)
class Announce:
    """Say in the DHT that this node hosts the site; answered by `Announced`."""

    site: SiteId


@dataclass(frozen=True, slots=True)
class CheckAnnounced:
    """See whether the DHT still says so; answered by `Checked`."""

    site: SiteId


@dataclass(frozen=True, slots=True)
class AskToHost:
    """Offer the held release to a member, since too few host it; answered by `AskedToHost`."""

    site: SiteId
    node: SiteId


@dataclass(frozen=True, slots=True)
class Audit:
    """Have a node prove that it holds these sites; answered by `Audited`."""

    node: SiteId
    sites: tuple[SiteId, ...]


@dataclass(frozen=True, slots=True)
class LetGo:
    """Others have proved that they are enough: free the site's blocks, keep its head; `Dropped` answers."""

    site: SiteId


Effect = (
    SyncHeads
    | SendHead
    | RecordHead
    | KeepFork
    | StartFetch
    | CancelFetch
    | EndSite
    | FindHosts
    | Announce
    | CheckAnnounced
    | AskToHost
    | Audit
    | LetGo
)
