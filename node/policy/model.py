"""Words of policy: what is asked (Act, Subject), what an operator said (Rule, Hosting), what comes out
(Verdict).

Spec: docs/spec/policy.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from protocol.cid import Cid
from protocol.denylist import CidPath, HashTarget, NamePath, PeerTarget, Target
from protocol.errors import DecodeError
from protocol.site_id import SiteId

__all__ = [
    "ALLOW",
    "Act",
    "CidPath",
    "Ground",
    "HashTarget",
    "Hosting",
    "HostingMode",
    "NamePath",
    "PeerTarget",
    "Publisher",
    "Rule",
    "RuleVerdict",
    "Subject",
    "Target",
    "Verdict",
    "VerdictKind",
    "name_key",
]

VerdictKind = Literal["allow", "refuse", "quarantine"]
RuleVerdict = Literal["allow", "refuse", "quarantine"]
Ground = Literal["policy", "legal"]
HostingMode = Literal["open", "follow", "invite", "none"]


class Act(StrEnum):
    """What the node is about to do when it asks policy."""

    ANNOUNCE = "announce"
    FETCH = "fetch"
    STORE = "store"
    PEER_SERVE = "peer-serve"
    HTTP_SERVE = "http-serve"


@dataclass(frozen=True, slots=True)
class Subject:
    """What the act is about; a field that the caller does not know yet stays empty, and then no rule can
    match on it.

    path: percent-decoded, no leading slash, of the entry that is read; a caller that answers `docs/` with
    `docs/index.html` asks for both. trail: every CID passed on the way, or the CIDs of the blocks that are to
    be sent. domains: names under which it was asked for, or that the site itself lists. size_bytes: of the whole
    site. local: the act was asked for over the operator's own sockets. names: IPNS names that led there beside the
    site's own (name_key). peer: the node that would be told, asked, taken from or served, in base58.
    others_bytes: what other sites of the same publisher have here. media: bytes by media type, as far as is known.
    """

    site: SiteId | None = None
    root: Cid | None = None
    path: str = ""
    trail: tuple[Cid, ...] = ()
    domains: tuple[str, ...] = ()
    size_bytes: int | None = None
    local: bool = False
    names: tuple[SiteId | bytes, ...] = ()
    peer: str | None = None
    others_bytes: int = 0
    media: tuple[tuple[str, int], ...] = ()


def name_key(multihash: bytes) -> SiteId | bytes:
    """An IPNS name as subjects and rules have it: the site, or the multihash itself where the key is no site's."""
    try:
        return SiteId.from_multihash(multihash)
    except DecodeError:
        return multihash


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the operator; since_s counts seconds since 1970. An allowing one lifts what lists say on its
    target. (Rules of lists: node/policy/active.py.)"""

    target: Target
    verdict: RuleVerdict
    ground: Ground
    reason: str
    since_s: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer: what to do, and who decided it by which rule.

    rule is the target as text; it is None when no rule but the hosting settings decided. code is the refuse
    code for a peer or publisher (docs/spec/policy.md, "Codes"), empty when allowed.
    """

    kind: VerdictKind
    ground: Ground = "policy"
    reason: str = ""
    rule: str | None = None
    list_name: str | None = None
    since_s: int | None = None
    code: str = ""

    @property
    def allowed(self) -> bool:
        return self.kind == "allow"

    @property
    def http_status(self) -> int:
        """What a reader gets: 200 when allowed, 451 where the law is the ground, else 410."""
        if self.allowed:
            return 200
        return 451 if self.ground == "legal" else 410


ALLOW = Verdict("allow")


@dataclass(frozen=True, slots=True)
class Publisher:
    """Whom the operator invited: the sites that came with one invitation, and what they may have together; None: what
    the settings say."""

    sites: frozenset[SiteId]
    quota_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Hosting:
    """Which sites the node volunteers to keep. max_site_bytes, publisher_quota_bytes None: no limit but the quota.
    invited: the publishers, by each of their sites. media_types: `text/html` or `image/*`; none: any."""

    mode: HostingMode = "open"
    follow: frozenset[SiteId] = frozenset()
    max_site_bytes: int | None = None
    invited: Mapping[SiteId, Publisher] = field(default_factory=dict)
    publisher_quota_bytes: int | None = None
    media_types: tuple[str, ...] = ()
    other_media_percent: int = 0
