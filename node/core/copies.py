"""Who else counts as a host of the sites that this node hosts (docs/spec/membership.md, 6). Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from protocol.site_filter import Probe, SiteFilter
from protocol.site_id import SiteId

# A reboot, an upgrade or a provider's short night moves nothing.
GRACE_S = 3600.0
# Who says that it hosts a site counts for so long before it has proved it, and for so long after it has.
UNPROVED_MAX_S = 24 * 3600.0
PROOF_MAX_S = 7 * 24 * 3600.0


@dataclass(slots=True)
class Copy:
    """What one other node says and has shown of one site. Times are monotonic; None: never."""

    stated_s: float
    proved_s: float | None = None
    failed_s: float | None = None

    def counts(self, now_s: float) -> bool:
        """Whether it is to be believed, if the node is alive."""
        if self.failed_s is not None and (self.proved_s is None or self.proved_s < self.failed_s):
            return False
        if self.proved_s is not None:
            return now_s - self.proved_s < PROOF_MAX_S
        return now_s - self.stated_s < UNPROVED_MAX_S


class Copies:
    """The copies that others have of the sites that are watched here."""

    def __init__(self, grace_s: float = GRACE_S) -> None:
        self.grace_s = grace_s
        self._by_site: dict[SiteId, dict[SiteId, Copy]] = {}
        self._by_node: dict[SiteId, dict[SiteId, Copy]] = {}
        self._probes: dict[SiteId, Probe] = {}
        self._contact_s: dict[SiteId, float] = {}
        self._connected: set[SiteId] = set()
        self._leaving: set[SiteId] = set()

    def watch(self, site: SiteId) -> None:
        """This node hosts the site from now on."""
        if site not in self._by_site:
            self._by_site[site] = {}
            self._probes[site] = Probe(site)

    def unwatch(self, site: SiteId) -> None:
        for node in self._by_site.pop(site, {}):
            self._by_node[node].pop(site, None)
        self._probes.pop(site, None)

    def connected(self, node: SiteId) -> None:
        self._connected.add(node)

    def disconnected(self, now_s: float, node: SiteId) -> None:
        self._connected.discard(node)
        self._contact_s[node] = now_s

    def contact(self, now_s: float, node: SiteId) -> None:
        """The node has just been there, under its key."""
        self._contact_s[node] = now_s

    def alive(self, now_s: float, node: SiteId) -> bool:
        """It is there, or was within the grace period."""
        return node in self._connected or now_s - self._contact_s.get(node, float("-inf")) < self.grace_s

    def stated(self, now_s: float, site: SiteId, node: SiteId) -> None:
        """The node says that it hosts the site."""
        of_site = self._by_site.get(site)
        if of_site is not None and node not in of_site:
            of_site[node] = self._by_node.setdefault(node, {})[site] = Copy(now_s)

    def statement(self, now_s: float, node: SiteId, holdings: SiteFilter, *, leaving: bool) -> None:
        """The node has stated which sites it holds; first heard of, it has until the grace period ends to show up."""
        self._contact_s.setdefault(node, now_s)
        (self._leaving.add if leaving else self._leaving.discard)(node)
        for site, probe in self._probes.items():
            if holdings.may_hold(probe):
                self.stated(now_s, site, node)
            else:
                self._unstate(site, node)

    def proved(self, now_s: float, site: SiteId, node: SiteId) -> None:
        self.contact(now_s, node)
        self.stated(now_s, site, node)
        if (copy := self._by_site.get(site, {}).get(node)) is not None:
            copy.proved_s, copy.failed_s = now_s, None

    def failed(self, now_s: float, site: SiteId, node: SiteId) -> None:
        """It does not have what it says, or not all of it."""
        self.contact(now_s, node)
        if (copy := self._by_site.get(site, {}).get(node)) is not None:
            copy.failed_s = now_s

    def gone(self, node: SiteId) -> None:
        """It is no member any more."""
        for site in self._by_node.pop(node, {}):
            self._by_site[site].pop(node, None)
        self._contact_s.pop(node, None)
        self._leaving.discard(node)

    def counted(self, now_s: float, site: SiteId) -> list[SiteId]:
        """The nodes that count as hosts of the site now, this one not among them."""
        return [
            node
            for node, copy in self._by_site.get(site, {}).items()
            if node not in self._leaving and copy.counts(now_s) and self.alive(now_s, node)
        ]

    def of_site(self, site: SiteId) -> dict[SiteId, Copy]:
        """All that is known of the site's copies, to be read only."""
        return self._by_site.get(site, {})

    def sites_of(self, node: SiteId) -> dict[SiteId, Copy]:
        """The watched sites that the node says it hosts, to be read only."""
        return self._by_node.get(node, {})

    def nodes(self) -> Iterable[SiteId]:
        """All that say they host one of the watched sites."""
        return (node for node, sites in self._by_node.items() if sites)

    def _unstate(self, site: SiteId, node: SiteId) -> None:
        if self._by_site[site].pop(node, None) is not None:
            del self._by_node[node][site]
