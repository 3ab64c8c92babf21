"""Hosted sites that a list newly refuses are spared for a while, where the operator gives their publishers notice."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from node.policy.active import ActiveList
from node.policy.decide import Policy
from node.policy.model import Act, Subject
from node.store.port import SiteRecord
from protocol.release import SignedRelease
from protocol.site_id import SiteId


def newly_refused(before: ActiveList | None, after: ActiveList, records: Iterable[SiteRecord]) -> list[SiteId]:
    """The hosted sites that a list refuses as a whole, and did not refuse before. Without sparing anybody."""
    then = Policy(lists=[replace(after, quorum=1)])
    now = Policy(lists=[replace(before, quorum=1)] if before is not None else [])
    return [
        record.site
        for record in records
        if record.held is not None and _refuses(then, record.held) and not _refuses(now, record.held)
    ]


def _refuses(policy: Policy, signed: SignedRelease) -> bool:
    root = signed.release.root
    subject = Subject(signed.site, root, trail=(root,) if root else (), domains=signed.release.domains)
    return not policy.decide(Act.PEER_SERVE, subject).allowed
