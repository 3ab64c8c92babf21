"""decide() against a slow oracle that looks at every rule, and its cost with many rules."""

from __future__ import annotations

import time
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from node.policy.decide import Policy, strictness
from node.policy.model import Act, CidPath, Rule, Subject, Verdict
from node.policy.rules import target_text
from protocol.cid import DAG_PB, RAW, Cid
from protocol.site_id import SiteId

SITES = [SiteId(bytes([number]) * 32) for number in range(1, 4)]
CIDS = [Cid.of(codec, bytes([number])) for number in range(4) for codec in (RAW, DAG_PB)]
PATHS = ["", "a", "a/b", "ab", "a/b/c", "é"]

sites = st.sampled_from(SITES)
cids = st.sampled_from(CIDS)
paths = st.sampled_from(PATHS)
targets = sites | st.builds(CidPath, cids.map(lambda cid: cid.multihash), paths, st.booleans())
rules = st.builds(
    Rule,
    target=targets,
    verdict=st.sampled_from(["refuse", "quarantine"]),
    ground=st.sampled_from(["policy", "legal"]),
    reason=st.sampled_from(["", "spam"]),
    since_s=st.integers(0, 3),
)
subjects = st.builds(
    Subject,
    site=st.none() | sites,
    root=st.none() | cids,
    path=paths,
    trail=st.lists(cids, max_size=3).map(tuple),
    local=st.booleans(),
)


def matches(rule: Rule, subject: Subject) -> bool:
    """The table "Rules" of docs/spec/policy.md, word by word."""
    target = rule.target
    if isinstance(target, SiteId):
        return subject.site == target
    assert isinstance(target, CidPath)
    if not target.path:
        passed = [*subject.trail, *([subject.root] if subject.root else [])]
        return any(cid.multihash == target.multihash for cid in passed)
    if subject.root is None or subject.root.multihash != target.multihash:
        return False
    return subject.path.startswith(target.path) if target.is_prefix else subject.path == target.path


@given(given_rules=st.lists(rules, max_size=8), act=st.sampled_from(list(Act)), subject=subjects)
def test_decides_as_a_look_at_every_rule_would(given_rules: list[Rule], act: Act, subject: Subject) -> None:
    # One row for each target, as the store keeps them.
    distinct = list({target_text(rule.target): rule for rule in given_rules}.values())
    verdict = Policy(distinct).decide(act, subject)
    matching = sorted((rule for rule in distinct if matches(rule, subject)), key=strictness)
    if not matching:
        assert verdict == Verdict("allow")
        return
    decided = matching[0]
    assert (verdict.kind, verdict.ground, verdict.list_name) == (decided.verdict, decided.ground, None)
    assert (verdict.rule, verdict.reason, verdict.since_s) == (
        target_text(decided.target),
        decided.reason,
        decided.since_s,
    )


@given(given_rules=st.lists(rules, max_size=6), act=st.sampled_from(list(Act)), subject=subjects)
def test_the_order_of_rules_does_not_matter(given_rules: list[Rule], act: Act, subject: Subject) -> None:
    distinct = list({target_text(rule.target): rule for rule in given_rules}.values())
    assert Policy(distinct).decide(act, subject) == Policy(reversed(distinct)).decide(act, subject)


@given(
    given_rules=st.lists(rules, max_size=6),
    more=st.lists(rules, max_size=3),
    act=st.sampled_from(list(Act)),
    s=subjects,
)
def test_another_rule_never_allows_more(given_rules: list[Rule], more: list[Rule], act: Act, s: Subject) -> None:
    before = Policy(given_rules).decide(act, s)
    after = Policy([*given_rules, *more]).decide(act, s)
    assert before.allowed or not after.allowed
    assert before.http_status != 451 or after.http_status == 451


def cost_s(policy: Policy, subject: Subject) -> float:
    """The best of some runs: the machine's noise only ever adds."""
    best = float("inf")
    for _ in range(7):
        begin = time.perf_counter()
        for _ in range(200):
            policy.decide(Act.HTTP_SERVE, subject)
        best = min(best, time.perf_counter() - begin)
    return best


def test_the_cost_does_not_grow_with_the_number_of_rules() -> None:
    def many(count: int) -> Policy:
        rule = Rule(SITES[0], "quarantine", "policy", "", 0)
        multihashes = [b"\x12\x20" + number.to_bytes(32, "big") for number in range(count)]
        path_rules = [replace(rule, target=CidPath(CIDS[0].multihash, f"p{n:06}", n % 2 == 0)) for n in range(count)]
        return Policy([replace(rule, target=CidPath(multihash, "", False)) for multihash in multihashes] + path_rules)

    subject = Subject(site=SITES[1], root=CIDS[0], path="docs/page.html", trail=tuple(CIDS))
    few_s, many_s = cost_s(many(10), subject), cost_s(many(10_000), subject)
    assert many_s < 4 * few_s
