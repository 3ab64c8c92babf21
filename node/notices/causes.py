"""Which hosted sites are or will be refused as a whole, and why. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from node.notices.book import Cause, Measure
from node.policy.decide import Policy, questions
from node.policy.model import CidPath, Rule, Target, Verdict
from node.policy.rules import read_target, rule_of
from node.replication.gate import Gate, whole
from node.store.port import RuleRow, SiteRecord
from protocol.release import SignedRelease
from protocol.site_id import SiteId


class Causes:
    """The policy in force and what is to come, as one question for a site."""

    def __init__(self, policy: Policy, measures: Iterable[Measure]) -> None:
        self._now = Gate(policy)
        self._measures = {each.target: each for each in measures}
        coming = [rule_of(each.row()) for each in self._measures.values() if not each.in_force]
        self._coming = Gate(Policy(coming))
        self._unspared = Gate(policy.without_sparing())
        self._spared = {site: until_s for each in policy.lists for site, until_s in each.spared.items()}

    def of(self, signed: SignedRelease) -> Cause | None:
        """Why this release's site is refused now, or else will be."""
        verdict = self._now.may_serve_peers(signed)
        if not verdict.allowed:
            return self._cause(verdict)
        verdict = self._coming.may_serve_peers(signed)
        if not verdict.allowed:
            return self._cause(verdict)
        if signed.site in self._spared:
            verdict = self._unspared.may_serve_peers(signed)
            if not verdict.allowed:
                return replace(self._cause(verdict), effective_s=self._spared[signed.site])
        return None

    def _cause(self, verdict: Verdict) -> Cause:
        measure = self._measures.get(verdict.rule or "") if verdict.list_name is None else None
        return Cause(
            verdict=verdict.kind,
            ground=verdict.ground,
            reason=verdict.reason,
            rule=verdict.rule or "",
            list_name=verdict.list_name,
            effective_s=verdict.since_s or 0,
            drop_s=measure.drop_s if measure else None,
            secret=measure.secret if measure else False,
        )


class Hosted:
    """The hosted sites, found by what a rule may name: many rules on many sites are one look at each."""

    def __init__(self, policy: Policy, records: Iterable[SiteRecord]) -> None:
        self._now = Gate(policy)
        self._all = [record.held for record in records if record.held is not None]
        self._named: dict[SiteId | bytes, list[SignedRelease]] = {}
        for held in self._all:
            self._named.setdefault(held.site, []).append(held)
            if held.release.root is not None:
                self._named.setdefault(held.release.root.multihash, []).append(held)

    def hit(self, rule: Rule) -> bool:
        """Whether the rule refuses, as a whole, one of them that is not refused yet."""
        then = Gate(Policy([rule]))
        return any(
            not then.may_serve_peers(held).allowed and self._now.may_serve_peers(held).allowed
            for held in self._named_by(rule.target)
        )

    def _named_by(self, target: Target) -> list[SignedRelease]:
        if isinstance(target, SiteId):
            return self._named.get(target, [])
        if isinstance(target, CidPath):
            return self._named.get(target.multihash, [])
        return self._all


def lines_hitting(policy: Policy, signed: SignedRelease, list_name: str) -> list[str]:
    """The lines of a list that refuse this release's site as a whole, or will."""
    found = []
    for each in policy.without_sparing().lists:
        if each.name == list_name:
            hits_here = (each.match(question) for question in questions(whole(signed)))
            found += [hit.line for hit in hits_here if hit is not None and not hit.rule.allow]
    return list(dict.fromkeys(found))


def sites_under(target: str, records: Iterable[SiteRecord]) -> list[SiteId]:
    """The sites whose blocks a dropping rule deletes: the site itself, or all whose root is the CID."""
    read: Target = read_target(target)
    if isinstance(read, SiteId):
        return [read]
    if not isinstance(read, CidPath) or read.path:
        return []
    roots = [(record.site, record.held.release.root) for record in records if record.held is not None]
    return [site for site, root in roots if root is not None and root.multihash == read.multihash]


def own_rules(rows: Iterable[RuleRow]) -> Mapping[str, RuleRow]:
    """The operator's own rules, by their targets."""
    return {row.target: row for row in rows if row.list_name is None}
