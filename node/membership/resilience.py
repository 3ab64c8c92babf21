"""What a site survives, where it is weakest and what would help; and who the members are. As JSON."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import trio

from config.sizes import human_size
from node.admin.control import NotFound
from node.core.copies import Copy
from node.core.keeping import Keeping
from node.core.members import Known
from node.core.peers import key_of, peer_of
from node.core.state import SiteState
from node.replication.context import Context
from protocol.errors import DecodeError
from protocol.plain import count
from protocol.release import Band, SignedRelease
from protocol.site_id import SiteId

Json = dict[str, Any]

# Members named as next in order; more would be a phone book.
NEXT_MAX = 5


@dataclass(frozen=True, slots=True)
class Host:
    """One that says it hosts a site, this node among them. proved_s_ago, why_not: None where there is none."""

    node: SiteId
    me: bool
    known: Known | None
    counts: bool
    why_not: str | None
    proved_s_ago: int | None

    def group(self, kind: str) -> str:
        """Its operator, network or region; "" when that is not known."""
        if self.known is None:
            return ""
        statement = self.known.signed.statement
        return {"operator": statement.operator, "network": self.known.network, "region": statement.region}[kind]

    def as_json(self) -> Json:
        return {
            "peer": peer_of(self.node),
            "this_node": self.me,
            "operator": self.group("operator"),
            "network": self.group("network"),
            "region": self.group("region"),
            "lists": [digest.hex() for digest in self.known.signed.statement.lists] if self.known else [],
            "counts": self.counts,
            "why_not": self.why_not,
            "proved_s_ago": self.proved_s_ago,
        }


class MembersView:
    """What the admin API shows of members."""

    def __init__(self, context: Context, me: SiteId) -> None:
        self._context = context
        self._me = me

    @property
    def _keeping(self) -> Keeping:
        return self._context.core.keeping

    async def members(self) -> list[Json]:
        """All that are known, by peer id; this node too."""
        now_s = trio.current_time()
        return sorted((self._member(now_s, known) for known in self._keeping.members), key=lambda row: row["peer"])

    def _member(self, now_s: float, known: Known) -> Json:
        statement, keeping = known.signed.statement, self._keeping
        peer = peer_of(statement.node)
        shared = keeping.copies.sites_of(statement.node)
        proofs = [copy.proved_s for copy in shared.values() if copy.proved_s is not None]
        return {
            "peer": peer,
            "this_node": statement.node == self._me,
            "alive": keeping.alive(now_s, statement.node),
            "operator": statement.operator,
            "region": statement.region,
            "network": known.network,
            "takes": str(statement.takes),
            "room_bytes": statement.room_bytes,
            "sites": statement.sites,
            "shared_sites": len(shared),
            "failed_sites": sum(copy.failed_s is not None for copy in shared.values()),
            "proved_s_ago": int(now_s - max(proofs)) if proofs else None,
            "stated_s": statement.made_s,
            "addresses": list(statement.addresses),
            "faults": self._context.standing.faults(peer),
        }

    async def resilience(self, text: str) -> Json:
        """NotFound for a site that is not hosted here: only its hosts know of each other."""
        try:
            site = SiteId.from_text(text)
        except DecodeError:
            raise NotFound(f"{text!r} is no site id", hint="fednode sites lists the known ones") from None
        state = self._context.core.state_of(site)
        held = state.held if state else None
        if state is None or held is None:
            raise NotFound(f"this node does not host {text}", hint="ask on a node that does; hosts know of each other")
        lacking = state.no_room_for if not state.complete else None
        hosts = self.hosts(site) if lacking is None else self._hosts_beyond(state, held, lacking)
        counted = [host for host in hosts if host.counts]
        return {
            "site": str(site),
            "band": {"min": held.release.band.min_hosts, "max": held.release.band.max_hosts},
            "no_room_for": {"seq": lacking.seq, "size_bytes": lacking.release.size_bytes} if lacking else None,
            "hosts": [host.as_json() for host in hosts],
            "counted": len(counted),
            "losses": {kind: worst_loss(counted, kind) for kind in ("operator", "network", "region")},
            "shared_lists": shared_lists(counted),
            "next": [peer_of(node) for node in self._next(site, held.release.band, {host.node for host in counted})],
            "advice": advice(held.release.band, counted) if lacking is None else [room_advice(lacking)],
            "made_s": int(time.time()),
        }

    def hosts(self, site: SiteId) -> list[Host]:
        """This node first, then those that count, then the others."""
        now_s, keeping = trio.current_time(), self._keeping
        found = [Host(self._me, True, keeping.members.get(self._me), True, None, 0)]
        counted = set(keeping.copies.counted(now_s, site))
        for node, copy in keeping.copies.of_site(site).items():
            why_not = None if node in counted else self._why_not(now_s, node, copy)
            age_s = int(now_s - copy.proved_s) if copy.proved_s is not None else None
            found.append(Host(node, False, keeping.members.get(node), node in counted, why_not, age_s))
        return sorted(found, key=lambda host: (not host.me, not host.counts, host.node))

    def _hosts_beyond(self, state: SiteState, held: SignedRelease, lacking: SignedRelease) -> list[Host]:
        """This node, which has an older release only and so is no host, and who says to have the newest: only its hosts
        ask each other for proofs."""
        members = self._keeping.members
        found = [Host(self._me, True, members.get(self._me), False, f"has release {held.seq}, not {lacking.seq}", None)]
        for peer, signed in state.sources.items():
            node = key_of(peer)
            if node is not None and signed.rank >= lacking.rank:
                found.append(
                    Host(node, False, members.get(node), False, "says that it is one; asked by hosts only", None)
                )
        return found

    def _why_not(self, now_s: float, node: SiteId, copy: Copy) -> str:
        if not self._keeping.copies.alive(now_s, node):
            return "not reached for longer than the grace period"
        if copy.failed_s is not None:
            return "could not prove that it has the site"
        if not copy.counts(now_s):
            return "has proved nothing for too long"
        return "is leaving"

    def _next(self, site: SiteId, band: Band, hosts: set[SiteId]) -> list[SiteId]:
        order = (member.node for member in self._keeping.members.orders.first(site, band.max_hosts + len(hosts)))
        return [node for node in order if node not in hosts][:NEXT_MAX]


def room_advice(lacking: SignedRelease) -> str:
    """For who has an older release only."""
    size = human_size(lacking.release.size_bytes)
    return (
        f"release {lacking.seq} ({size}) does not fit here: raise hosting.quota_bytes, "
        "free disk space, or give up another site; ask a node that hosts it what the site survives"
    )


def worst_loss(hosts: Iterable[Host], kind: str) -> Json | None:
    """The operator, network or region with the most copies, and how many are left without it; None: none is known."""
    some = list(hosts)
    groups = Counter(host.group(kind) for host in some)
    del groups[""]
    if not groups:
        return None
    name, copies = min(groups.items(), key=lambda item: (-item[1], item[0]))
    return {"name": name, "copies": copies, "left": len(some) - copies}


def shared_lists(hosts: Iterable[Host]) -> list[str]:
    """Digests of the lists that all hosts enforce: an entry in one of them takes all copies."""
    sets = [set(host.known.signed.statement.lists) if host.known else set() for host in hosts]
    return sorted(digest.hex() for digest in set.intersection(*sets)) if sets else []


def advice(band: Band, hosts: list[Host]) -> list[str]:
    """What the operator or the publisher can do, the most urgent first; empty when nothing is wrong."""
    found = []
    if len(hosts) < band.min_hosts:
        found.append(
            f"{count(band.min_hosts - len(hosts), 'more host')} needed; nodes are asked by themselves, and more are "
            "found by: fednode peers --connect MULTIADDR"
        )
    for kind, what in (("operator", "one operator"), ("network", "one provider's network"), ("region", "one region")):
        loss = worst_loss(hosts, kind)
        if loss is not None and loss["left"] == 0 and len(hosts) > 1:
            found.append(f"all copies are with {what} ({loss['name']}); connect to nodes elsewhere")
    if len(hosts) > 1 and shared_lists(hosts):
        found.append("all hosts enforce the same list: an entry in it takes all copies at once")
    return found
