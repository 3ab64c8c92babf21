"""What was loaded becomes a version of a list, and is weighed: may it take effect by itself (docs/spec/policy.md,
"Lists")?"""

from __future__ import annotations

from collections.abc import Collection

from node.policy.active import ActiveList
from node.policy.list_files import Subscription
from node.policy.list_sources import BlocklistError, Loaded
from node.policy.preview import HostedStore, Preview, preview
from protocol.deny_index import Built, DenyIndex, build
from protocol.errors import DecodeError
from protocol.plain import count

RULES_MAX = 4_000_000
"""Rules of all lists together: 100 MB of tables, which all processes share."""

CAP_SITES = 10
CAP_SHARE = 0.2
CAP_SHARE_SITES = 3
"""A version that newly hits more hosted sites than its list's cap (CAP_SITES unless said otherwise), or a share of
CAP_SHARE of them and at least CAP_SHARE_SITES, waits for the operator, whatever the mode; so does one that newly hits
as many known peers."""

SHRUNKEN_SHARE = 0.5
SHRUNKEN_RULES = 20
"""A list from elsewhere that had so many rules and lost more than this share of them waits for the operator, too."""


def compiled(
    source: str, loaded: Loaded, *, now_s: int, before: DenyIndex | None = None, rules_elsewhere: int = 0
) -> Built:
    """The table of a list; before: as it stands, for the dates of rules that stay. rules_elsewhere: those that other
    lists have. BlocklistError."""
    try:
        most = max(0, RULES_MAX - rules_elsewhere)
        built = loaded.with_errors(build(loaded.raw, now_s=now_s, before=before, rules_max=most))
    except DecodeError as error:
        limit = f"; {RULES_MAX} in all is the limit" if error.code == "unsupported-rule" else ""
        raise BlocklistError(f"{source} is no list: {error}{limit}") from error
    if built.errors and not built.rule_count:
        first = built.errors[0]
        raise BlocklistError(f"no line of {source} is a rule; line {first.line}: {first.error}")
    return built


def why_wait(
    each: Subscription,
    after: DenyIndex,
    rule_count: int,
    before: DenyIndex | None,
    store: HostedStore,
    named_peers: Collection[str] = (),
) -> str:
    """Why a version with so many rules does not take effect by itself; empty when it does. named_peers: as of
    `preview`."""
    old = each.current.rule_count
    if each.kind != "file" and old >= SHRUNKEN_RULES and rule_count < old * SHRUNKEN_SHARE:
        return f"it shrank from {old} to {count(rule_count, 'rule')}"
    found = preview(on_trial(each, after), store, named_peers)
    known = Preview()
    if before is not None and (found.sites or found.peers):
        known = preview(on_trial(each, before), store, named_peers)
    too_many = [
        f"{new} of {count(of, what)}"
        for new, of, what in (
            (len(found.sites.keys() - known.sites.keys()), found.hosted, "hosted site"),
            (len(found.peers.keys() - known.peers.keys()), found.known_peers, "known peer"),
        )
        if new > each.cap_sites or (new >= CAP_SHARE_SITES and new > CAP_SHARE * of)
    ]
    return f"it newly hits {' and '.join(too_many)}" if too_many else ""


def on_trial(each: Subscription, index: DenyIndex) -> ActiveList:
    """A version as if it were in force, whatever the mode."""
    return ActiveList(each.name, "enforce", index, frozenset(each.overruled))
