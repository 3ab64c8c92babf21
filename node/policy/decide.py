"""The one gate: pure, and its cost does not grow with the number of rules (docs/spec/policy.md)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from typing import TypeVar

from node.policy.active import ActiveList, reason, rule_text
from node.policy.hosting import decide_hosting
from node.policy.model import ALLOW, Act, CidPath, Hosting, Rule, Subject, Target, Verdict
from node.policy.rules import target_text
from protocol.deny_index import Hit
from protocol.deny_keys import OTHER_HASHES, Question, cid_question, name_question, peer_question, rule_keys
from protocol.site_id import SiteId

Key = TypeVar("Key")


class Policy:
    """A snapshot of the operator's rules, lists and hosting settings; never changes, safe to share between
    threads. Lists are read in the order of their names."""

    def __init__(
        self,
        rules: Iterable[Rule] = (),
        hosting: Hosting | None = None,
        lists: Sequence[ActiveList] = (),
    ) -> None:
        self.hosting = hosting if hosting is not None else Hosting()
        self.lists = tuple(sorted(lists, key=lambda each: each.name))
        self._sites: dict[SiteId, Rule] = {}
        self._cids: dict[bytes, Rule] = {}
        self._paths: dict[tuple[bytes, str], Rule] = {}
        self._prefixes: dict[bytes, dict[int, dict[str, Rule]]] = {}
        self._keyed: dict[bytes, Rule] = {}  # on domains, below names, hashed
        self._allowing: dict[bytes, Rule] = {}
        for rule in rules:
            self._index(rule)

    def decide(self, act: Act, subject: Subject) -> Verdict:
        """The verdict on doing `act` with `subject`: the operator's strictest matching rule, else the lists, else the
        hosting settings. Readers are no peers: no rule on a peer is about serving them."""
        if act is Act.HTTP_SERVE and subject.peer is not None:
            subject = replace(subject, peer=None)
        strictest = min(self._matches(subject), key=strictness, default=None)
        if strictest is not None:
            return _verdict(strictest)
        if self.lists and (listed := self._decide_lists(subject)) is not None:
            return listed
        if act is Act.STORE and not subject.local:
            return decide_hosting(self.hosting, subject)
        return ALLOW

    def why_allowed(self, subject: Subject) -> Verdict:
        """Of something that is allowed: with the first allowing rule that answers for it, if there is one."""
        for question in questions(subject):
            if (rule := next(_keyed_matches(self._allowing, question), None)) is not None:
                return Verdict("allow", reason=rule.reason, rule=target_text(rule.target), since_s=rule.since_s)
            for each in reversed(self.lists):
                if (hit := each.match(question)) is not None and hit.rule.allow:
                    return replace(_list_verdict(each, hit), kind="allow", code="")
        return ALLOW

    def without_sparing(self) -> Policy:
        """The same, with the lists as they will be once no site is spared any more."""
        other = copy(self)
        other.lists = tuple(replace(each, spared={}) for each in self.lists)
        return other

    def _index(self, rule: Rule) -> None:
        target = rule.target
        if rule.verdict == "allow":
            self._allowing.update(dict.fromkeys(rule_keys(target), rule))
        elif isinstance(target, SiteId):
            _keep_strictest(self._sites, target, rule)
        elif not isinstance(target, CidPath):
            for key in rule_keys(target):
                _keep_strictest(self._keyed, key, rule)
        elif not target.path:
            _keep_strictest(self._cids, target.multihash, rule)
        elif target.is_prefix:
            by_length = self._prefixes.setdefault(target.multihash, {})
            _keep_strictest(by_length.setdefault(len(target.path), {}), target.path, rule)
        else:
            _keep_strictest(self._paths, (target.multihash, target.path), rule)

    def _matches(self, subject: Subject) -> Iterator[Rule]:
        if subject.site is not None and (rule := self._sites.get(subject.site)):
            yield rule
        for name in subject.names:
            if isinstance(name, SiteId) and (rule := self._sites.get(name)):
                yield rule
        if self._cids:
            yield from self._cid_matches(subject)
        if subject.root is not None and (self._paths or self._prefixes):
            yield from self._path_matches(subject.root.multihash, subject.path.rstrip("/"))
        if self._keyed:
            for question in questions(subject):
                yield from _keyed_matches(self._keyed, question)

    def _cid_matches(self, subject: Subject) -> Iterator[Rule]:
        if subject.root is not None and (rule := self._cids.get(subject.root.multihash)):
            yield rule
        for cid in subject.trail:
            if rule := self._cids.get(cid.multihash):
                yield rule

    def _path_matches(self, multihash: bytes, path: str) -> Iterator[Rule]:
        if rule := self._paths.get((multihash, path)):
            yield rule
        for length, by_prefix in self._prefixes.get(multihash, {}).items():
            if rule := by_prefix.get(path[:length]):
                yield rule

    def _decide_lists(self, subject: Subject) -> Verdict | None:
        """Every question is answered by itself; the first that is refused decides."""
        for question in questions(subject):
            if self._allowing and next(_keyed_matches(self._allowing, question), None) is not None:
                continue
            said = [
                (each, hit)
                for each in reversed(self.lists)
                if subject.site not in each.spared and (hit := each.match(question)) is not None
            ]
            agreed = sum(not hit.rule.allow for _, hit in said)
            for each, hit in said:
                if hit.rule.allow:
                    break
                if agreed >= each.quorum:
                    return _list_verdict(each, hit)
        return None


def questions(subject: Subject) -> Iterator[Question]:
    """What lists are asked about a subject, in this order: the site, other names, domains, the root (each with the
    path), the other CIDs of the trail, and the peer."""
    path = subject.path.rstrip("/")
    if subject.site is not None:
        yield name_question(subject.site, path)
    for name in (*subject.names, *subject.domains):
        yield name_question(name, path)
    root = subject.root
    if root is not None and (question := cid_question(root, path)) is not None:
        yield question
    for cid in subject.trail:
        if cid != root and (question := cid_question(cid)) is not None:
            yield question
    if subject.peer is not None:
        yield peer_question(subject.peer)


def _keyed_matches(table: dict[bytes, Rule], question: Question) -> Iterator[Rule]:
    keys = list(question.keys())
    for code in OTHER_HASHES:
        keys += question.other_keys(code)
    if question.marker in table:
        keys += question.prefix_keys()
    for key in keys:
        if rule := table.get(key):
            yield rule


def strictness(rule: Rule) -> tuple[bool, bool, int, str]:
    """Sorts the rule that decides first; the order of the table "Precedence" in docs/spec/policy.md."""
    return (
        rule.ground != "legal",
        rule.verdict != "refuse",
        _breadth(rule.target),
        target_text(rule.target),
    )


def _breadth(target: Target) -> int:
    """0 for the widest kind of target, more for narrower ones."""
    if isinstance(target, SiteId):
        return 0
    if not isinstance(target, CidPath):
        return 4
    if not target.path:
        return 1
    return 2 if target.is_prefix else 3


def _keep_strictest(table: dict[Key, Rule], key: Key, rule: Rule) -> None:
    known = table.get(key)
    if known is None or strictness(rule) < strictness(known):
        table[key] = rule


def _verdict(rule: Rule) -> Verdict:
    policy_code = "blocked-policy" if rule.verdict == "refuse" else "quarantined"
    return Verdict(
        kind=rule.verdict,
        ground=rule.ground,
        reason=rule.reason,
        rule=target_text(rule.target),
        since_s=rule.since_s,
        code="blocked-law" if rule.ground == "legal" else policy_code,
    )


def _list_verdict(each: ActiveList, hit: Hit) -> Verdict:
    return Verdict(
        kind="quarantine",
        reason=reason(hit),
        rule=rule_text(hit),
        list_name=each.name,
        since_s=hit.since_s,
        code="quarantined",
    )
