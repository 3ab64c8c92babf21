"""What the operator is told about one site, as JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from node.core.machine import FederationCore
from node.net.port import PeerId
from node.notices.book import Standing
from node.store.port import SiteRecord
from protocol.release import SignedRelease

Json = dict[str, Any]


def site_report(
    record: SiteRecord,
    *,
    verdict: Json | None,
    fetching: tuple[SignedRelease, PeerId | None] | None,
    urls: list[str],
    told: Standing | None = None,
    hosts: Json | None = None,
    no_room_for: SignedRelease | None = None,
) -> Json:
    """One row of `fednode sites`, and all of `fednode show`."""
    return {
        "site": str(record.site),
        "state": _state(record, verdict, fetching is not None),
        "head": _release(record.head),
        "held": _release(record.held) if record.held is not None else None,
        "held_bytes": record.held_bytes,
        "origin": str(record.origin) if record.origin is not None else None,
        "updated_s": record.updated_s,
        "blocked": verdict,
        "notice": _notice(told) if told is not None else None,
        "hosts": hosts,
        "fetching": {"seq": fetching[0].seq, "from": fetching[1]} if fetching else None,
        "no_room_for": _release(no_room_for) if no_room_for is not None else None,
        "urls": urls if record.held is not None and verdict is None else [],
    }


def fits(record: SiteRecord, find: str) -> bool:
    """Whether a site's id or one of its domains has the text in it."""
    names = (str(record.site), *(record.held or record.head).release.domains)
    return any(find.casefold() in name.casefold() for name in names)


def order(sort: str) -> Callable[[SiteRecord], Any]:
    """Sort key: by site id, or the largest or the latest first."""
    keys: dict[str, Callable[[SiteRecord], Any]] = {
        "size": lambda record: (-record.held_bytes, str(record.site)),
        "updated": lambda record: (-record.updated_s, str(record.site)),
    }
    return keys.get(sort, lambda record: str(record.site))


def members_json(core: FederationCore, now_s: float) -> Json:
    """Members known, those of them that are alive, sites that lack hosts, and what came of the audits so far."""
    keeping = core.keeping
    return {
        "known": len(keeping.members),
        "alive": sum(keeping.alive(now_s, known.signed.node) for known in keeping.members),
        "sites_lacking_hosts": len(keeping.repair.needs()),
        "audits_proved": core.audits["proved"],
        "audits_failed": core.audits["failed"],
        "audits_silent": core.audits["silent"],
    }


def fork_json(pair: tuple[SignedRelease, SignedRelease]) -> Json:
    """Two releases of one sequence that the site's key signed; hex, so that anybody can check the proof."""
    return {
        "seq": pair[0].seq,
        "releases": [signed.encode().hex() for signed in pair],
        "roots": [str(signed.release.root) for signed in pair],
    }


def _notice(told: Standing) -> Json:
    """What the publisher was told: the node's own words are in the notice itself."""
    cause = told.cause
    return {
        "number": told.number,
        "effective_s": cause.effective_s,
        "drop_s": cause.drop_s,
        "verdict": cause.verdict,
        "ground": cause.ground,
        "reason": cause.reason,
        "rule": cause.rule,
        "list": cause.list_name,
    }


def _state(record: SiteRecord, verdict: Json | None, is_fetching: bool) -> str:
    if record.ended:
        return "ended"
    if verdict is not None:
        return "quarantined" if record.held is not None else "refused"
    if is_fetching:
        return "updating" if record.held is not None else "fetching"
    return "hosted" if record.held is not None else "known"


def _release(signed: SignedRelease) -> Json:
    release = signed.release
    return {
        "seq": release.seq,
        "cid": str(signed.cid),
        "root": str(release.root) if release.root is not None else None,
        "size_bytes": release.size_bytes,
        "block_count": release.block_count,
        "min_hosts": release.band.min_hosts,
        "max_hosts": release.band.max_hosts,
        "domains": list(release.domains),
        "hosts": list(release.hosts),
        "created_s": release.created_s,
        "ended": release.ended,
    }
