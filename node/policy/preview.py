"""What a list would mean here: which hosted sites it hits, where, and how many bytes, and which known peers
(docs/operators/blocking.md, "Lists")."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from node.policy.active import ActiveList
from node.policy.list_sources import block_of
from node.store.port import PeerRow, SiteRecord
from protocol.cid import DAG_PB, Cid
from protocol.deny_index import Hit
from protocol.deny_keys import Question, cid_question, name_question, peer_question
from protocol.errors import FednodeError
from protocol.walk import DirectoryList

ENTRIES_MAX = 200_000
"""Files and folders looked at for one preview; about ten seconds."""

SHOWN_MAX = 1000
"""Hits on sites that are shown one by one; all are counted."""


class HostedStore(Protocol):
    """The part of node.store.port.Store that a preview needs."""

    def sites(self) -> list[SiteRecord]: ...
    def peers(self) -> list[PeerRow]: ...
    def get_block(self, cid: Cid) -> bytes: ...


@dataclass(frozen=True, slots=True)
class SiteHit:
    """A line that hits a hosted site. what: the path, the domain or CID that it hits; "" for the site as a whole."""

    site: str
    what: str
    line: str


@dataclass(slots=True)
class Preview:
    """sites: hosted sites with a hit, with their sizes in bytes; complete: every file of every site was looked at.
    known_peers: how many the node remembers; peers: those of them that would be refused, each with the line."""

    hosted: int = 0
    hits: list[SiteHit] = field(default_factory=list)
    hit_count: int = 0
    sites: dict[str, int] = field(default_factory=dict)
    complete: bool = True
    known_peers: int = 0
    peers: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        return {
            "hosted": self.hosted,
            "sites_hit": len(self.sites),
            "bytes_hit": sum(self.sites.values()),
            "hit_count": self.hit_count,
            "hits": [{"site": hit.site, "what": hit.what, "line": hit.line} for hit in self.hits],
            "complete": self.complete,
            "known_peers": self.known_peers,
            "peers_hit": len(self.peers),
            "peer_hits": [{"peer": peer, "line": line} for peer, line in self.peers.items()],
        }


def preview(each: ActiveList, store: HostedStore, named_peers: Collection[str] = ()) -> Preview:
    """Asks the list about every hosted site: its name, its domains, and its files and folders by path and CID; and
    about every peer that is remembered. named_peers: those that lists cannot refuse."""
    found = Preview()
    for row in store.peers():
        found.known_peers += 1
        hit = each.match(peer_question(row.peer))
        if hit is not None and not hit.rule.allow and row.peer not in named_peers:
            found.peers[row.peer] = hit.line
    budget = ENTRIES_MAX
    for record in store.sites():
        if record.held is None or record.held.release.root is None:
            continue
        found.hosted += 1
        for what, question in _questions(record, store):
            budget -= 1
            if budget < 0:
                found.complete = False
                break
            hit = each.match(question) if question is not None else None
            if hit is not None and not hit.rule.allow:
                _note(found, record, what, hit)
    return found


def _note(found: Preview, record: SiteRecord, what: str, hit: Hit) -> None:
    site = str(record.site)
    found.sites[site] = record.held_bytes
    found.hit_count += 1
    if len(found.hits) < SHOWN_MAX:
        found.hits.append(SiteHit(site, what, hit.line))


def _questions(record: SiteRecord, store: HostedStore) -> Iterator[tuple[str, Question | None]]:
    if record.held is None or record.held.release.root is None:
        return
    root = record.held.release.root
    yield "", name_question(record.site)
    for domain in record.held.release.domains:
        yield domain, name_question(domain)
    yield str(root), cid_question(root)
    for path, cid in _tree(root, store):
        yield path, cid_question(cid)
        yield path, cid_question(root, path)


def _tree(root: Cid, store: HostedStore) -> Iterator[tuple[str, Cid]]:
    """(path, CID) of every file and folder; what cannot be read is left out."""
    pending = [("", root)]
    while pending:
        at, cid = pending.pop()
        listing = DirectoryList(cid)
        try:
            while (wanted := listing.want()) is not None:
                for entry in listing.feed(block_of(store, wanted)):
                    path = f"{at}/{entry.name}".lstrip("/")
                    yield path, entry.cid
                    if entry.cid.codec == DAG_PB:
                        pending.append((path, entry.cid))
        except FednodeError:  # a file, a symlink, or a damaged block
            continue
