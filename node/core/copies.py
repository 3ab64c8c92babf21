"""Who else counts as a host of the sites that this node hosts (docs/spec/membership.md, 6). Pure."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from protocol.site_filter import Probe, SiteFilter
from protocol.site_id import SiteId

# A reboot, an upgrade or a provider's short night moves nothing.
GRACE_S = 3600.0
# Who says that it hosts a site counts for so long before it has proved anything, and for so long after it has.
UNPROVED_MAX_S = 24 * 3600.0
PROOF_MAX_S = 7 * 24 * 3600.0
# Who was caught is believed nothing but proofs for so long.
DOUBT_S = 24 * 3600.0
# A filter names sites that were not put in. If more than this share of what it names may be such, it is only a hint.
VAGUE_SHARE = 0.1
# Who did not answer is asked to host sites again after so long, and then after twice as long each time.
SILENT_FIRST_S = 600.0
SILENT_MAX_S = 3600.0
# A node that has made no statement is noted as a host of a site while there are fewer hosts than this: keys are free.
STRANGERS_MAX = 64


@dataclass(slots=True)
class Copy:
    """What one other node says and has shown of one site. Times are monotonic; None: never.

    said: to this node, connected as itself, or proved once; otherwise only its filter names the site.
    restated: a later statement still names the site, though the node could not prove it before.
    """

    stated_s: float
    said: bool = False
    proved_s: float | None = None
    failed_s: float | None = None
    restated: bool = False

    @property
    def failed(self) -> bool:
        """It could not prove the site when it was last asked."""
        return self.failed_s is not None and (self.proved_s is None or self.proved_s < self.failed_s)

    @property
    def asked_s(self) -> float:
        """When it last answered an audit of the site."""
        return max(self.proved_s or float("-inf"), self.failed_s or float("-inf"))

    def counts(self, now_s: float, believed_s: float = float("-inf")) -> bool:
        """Whether it is to be believed, if the node is alive. believed_s: when it last proved all it was asked for."""
        if self.failed:
            return False
        if self.proved_s is not None and now_s - self.proved_s < PROOF_MAX_S:
            return True
        return now_s - max(self.stated_s, believed_s) < UNPROVED_MAX_S


class Copies:
    """The copies that others have of the sites that are watched here."""

    def __init__(self, grace_s: float = GRACE_S) -> None:
        self.grace_s = grace_s
        self.contact_max_s = grace_s
        """How long ago a node's last contact may be: the grace period, or longer when audits do not get round in it."""
        self._by_site: dict[SiteId, dict[SiteId, Copy]] = {}
        self._by_node: dict[SiteId, dict[SiteId, Copy]] = {}
        self._probes: dict[SiteId, Probe] = {}
        self._contact_s: dict[SiteId, float] = {}
        self._connected: set[SiteId] = set()
        self._members: set[SiteId] = set()  # nodes that have made a statement
        self._leaving: set[SiteId] = set()
        self._passed_s: dict[SiteId, float] = {}  # when a node last proved all that it was asked for
        self._shown_s: dict[SiteId, float] = {}  # when it last proved anything
        self._caught_s: dict[SiteId, float] = {}  # when it last could not prove what it had said
        self._vague: set[SiteId] = set()  # nodes whose filters name more than they hold
        self._silent_s: dict[SiteId, tuple[float, int]] = {}  # nodes not reached: when last, and how often in a row

    def watch(self, site: SiteId) -> None:
        """This node hosts the site from now on."""
        if site not in self._by_site:
            self._by_site[site] = {}
            self._probes[site] = Probe(site)

    def unwatch(self, site: SiteId) -> None:
        for node in self._by_site.pop(site, {}):
            self._drop_from_node(site, node)
        self._probes.pop(site, None)

    def connected(self, node: SiteId) -> None:
        self._connected.add(node)
        self._silent_s.pop(node, None)

    def disconnected(self, now_s: float, node: SiteId) -> None:
        self._connected.discard(node)
        self._note_contact(now_s, node)
        self._forget_stranger(node)

    def contact(self, now_s: float, node: SiteId) -> None:
        """The node has just been there, under its key."""
        self._note_contact(now_s, node)
        self._silent_s.pop(node, None)

    def _note_contact(self, now_s: float, node: SiteId) -> None:
        """Of strangers, who come in any number, nothing is kept."""
        if node in self._contact_s or node in self._by_node:
            self._contact_s[node] = now_s

    def unreached(self, now_s: float, node: SiteId) -> None:
        """The node could not be reached, or did not answer."""
        if node in self._contact_s or node in self._connected:
            self._silent_s[node] = (now_s, 1 + self._silent_s.get(node, (now_s, 0))[1])

    def silent(self, node: SiteId) -> bool:
        """It did not answer when it was last asked, and nothing was heard of it since: others are asked first."""
        return node in self._silent_s

    def silent_until_s(self, node: SiteId) -> float:
        """Before then it is not asked again, whatever for: the longer, the more often it did not answer."""
        last_s, times = self._silent_s.get(node, (float("-inf"), 1))
        return last_s + min(SILENT_MAX_S, SILENT_FIRST_S * 2.0 ** min(times - 1, 16))

    def alive(self, now_s: float, node: SiteId) -> bool:
        """It is there, or was within the grace period."""
        return node in self._connected or now_s - self._contact_s.get(node, float("-inf")) < self.contact_max_s

    def stated(self, now_s: float, site: SiteId, node: SiteId) -> None:
        """The node says, connected as itself, that it hosts the site. What its filter was wrong about is forgotten."""
        copy = self._named(now_s, site, node)
        if copy is not None and not copy.said:
            copy.said, copy.stated_s, copy.failed_s = True, now_s, None

    def hinted(self, now_s: float, site: SiteId, node: SiteId, holdings: SiteFilter) -> bool:
        """Tests the node's known filter for a site that has only now come to be hosted here."""
        probe = self._probes.get(site)
        return probe is not None and holdings.may_hold(probe) and self._named(now_s, site, node) is not None

    def statement(self, now_s: float, node: SiteId, holdings: SiteFilter, *, leaving: bool) -> None:
        """The node has stated which sites it holds; first heard of, it has until the grace period ends to show up."""
        self._members.add(node)
        self._contact_s.setdefault(node, now_s)
        self._silent_s.pop(node, None)
        (self._leaving.add if leaving else self._leaving.discard)(node)
        named = {site: None for site, probe in self._probes.items() if holdings.may_hold(probe)}  # in a fixed order
        for site in [site for site in self._by_node.get(node, {}) if site not in named]:
            self._unstate(site, node)
        for site in named:
            if (copy := self._named(now_s, site, node)) is not None:
                copy.restated = copy.failed
        vague = holdings.false_share * len(self._probes) > VAGUE_SHARE * len(named)
        (self._vague.add if vague else self._vague.discard)(node)

    def proved(self, now_s: float, site: SiteId, node: SiteId) -> None:
        self.contact(now_s, node)
        if (copy := self._named(now_s, site, node)) is not None:
            copy.said, copy.proved_s, copy.failed_s = True, now_s, None

    def failed(self, now_s: float, site: SiteId, node: SiteId) -> None:
        """It does not have what it says, or not all of it."""
        self.contact(now_s, node)
        if (copy := self._by_site.get(site, {}).get(node)) is not None:
            copy.failed_s, copy.restated = now_s, False

    def audited(self, now_s: float, node: SiteId, proved: Collection[SiteId], failed: Collection[SiteId]) -> None:
        """What one audit showed. Drawn at random, it tells of the node's other sites too.

        A filter errs; so a site that only the filter named is no lie, unless most of those asked for are such.
        """
        if node not in self._members and node not in self._by_node:
            return  # it has gone meanwhile
        if proved:
            self._shown_s[node] = now_s
        if len(failed) > len(proved) or any(self.said(site, node) for site in failed):
            self._caught_s[node] = now_s
        elif proved and not failed:
            self._passed_s[node] = now_s
        for site in failed:
            self.failed(now_s, site, node)
        for site in proved:
            self.proved(now_s, site, node)

    def said(self, site: SiteId, node: SiteId) -> bool:
        """The node itself said that it hosts the site, or proved it once: it is at fault if it cannot prove it now."""
        copy = self._by_site.get(site, {}).get(node)
        return copy is not None and copy.said

    def doubted(self, now_s: float, site: SiteId, node: SiteId) -> bool:
        """It was caught lately, or could not prove the site: that it takes the site says nothing."""
        copy = self._by_site.get(site, {}).get(node)
        return self._is_doubted(now_s, node) or (copy is not None and copy.failed)

    def gone(self, node: SiteId) -> None:
        """It is no member any more."""
        for site in self._by_node.pop(node, {}):
            self._by_site[site].pop(node, None)
        self._members.discard(node)
        self._leaving.discard(node)
        self._vague.discard(node)
        self._forget_stranger(node)

    def _forget_stranger(self, node: SiteId) -> None:
        """Nothing is kept of who is no member and is not noted as a host of any site."""
        if node not in self._members and node not in self._by_node:
            for known in (self._contact_s, self._passed_s, self._shown_s, self._caught_s, self._silent_s):
                known.pop(node, None)

    def counted(self, now_s: float, site: SiteId) -> list[SiteId]:
        """The nodes that count as hosts of the site now, this one not among them."""
        return [
            node
            for node, copy in self._by_site.get(site, {}).items()
            if node not in self._leaving and self.alive(now_s, node) and self._believed(now_s, node, copy)
        ]

    def away(self, now_s: float, site: SiteId) -> int:
        """How many more would count, had they been there within the grace period."""
        return sum(
            node not in self._leaving and not self.alive(now_s, node) and self._believed(now_s, node, copy)
            for node, copy in self._by_site.get(site, {}).items()
        )

    def of_site(self, site: SiteId) -> dict[SiteId, Copy]:
        """All that is known of the site's copies, to be read only."""
        return self._by_site.get(site, {})

    def sites_of(self, node: SiteId) -> dict[SiteId, Copy]:
        """The watched sites that the node says it hosts, to be read only."""
        return self._by_node.get(node, {})

    def nodes(self) -> Iterable[SiteId]:
        """All that say they host one of the watched sites."""
        return self._by_node

    def _was_caught(self, now_s: float, node: SiteId) -> bool:
        return now_s - self._caught_s.get(node, float("-inf")) < DOUBT_S

    def _is_doubted(self, now_s: float, node: SiteId) -> bool:
        """Caught without anything, and nothing proved since: what it says after it was caught is no more worth."""
        return self._was_caught(now_s, node) and self._shown_s.get(node, float("-inf")) < self._caught_s[node]

    def _believed(self, now_s: float, node: SiteId, copy: Copy) -> bool:
        if copy.proved_s is not None and not copy.failed and now_s - copy.proved_s < PROOF_MAX_S:
            return True  # as it is nearly always, of all sites in each minute
        before = copy.stated_s <= self._caught_s.get(node, float("-inf"))
        doubted = self._is_doubted(now_s, node) or (before and self._was_caught(now_s, node))
        if doubted or (not copy.said and node in self._vague):
            return False
        return copy.counts(now_s, self._passed_s.get(node, float("-inf")))

    def _named(self, now_s: float, site: SiteId, node: SiteId) -> Copy | None:
        """The node's copy of a watched site, a new one if need be and there is room."""
        of_site = self._by_site.get(site)
        if of_site is None:
            return None
        if node not in of_site:
            if len(of_site) >= STRANGERS_MAX and node not in self._members:
                return None
            of_site[node] = self._by_node.setdefault(node, {})[site] = Copy(now_s)
        return of_site[node]

    def _unstate(self, site: SiteId, node: SiteId) -> None:
        if self._by_site[site].pop(node, None) is not None:
            self._drop_from_node(site, node)

    def _drop_from_node(self, site: SiteId, node: SiteId) -> None:
        sites = self._by_node.get(node, {})
        sites.pop(site, None)
        if not sites:
            self._by_node.pop(node, None)
            self._forget_stranger(node)
