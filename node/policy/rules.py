"""Target text ↔ target, stored rows ↔ rules, lines of lists → rows."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import ClassVar, Final, NamedTuple, cast

from node.policy.model import CidPath, Ground, Rule, RuleVerdict, Target
from node.store.port import RuleRow
from protocol.cid import Cid
from protocol.denylist import format_target, parse_denylist, parse_target
from protocol.errors import DecodeError, OperatorError, UnsupportedCodec
from protocol.limits import REASON_MAX_CHARS
from protocol.site_id import SiteId


class BadTarget(OperatorError):
    """What the operator typed names neither a site nor content."""

    code: ClassVar[str] = "bad-target"


class BadRuleRow(OperatorError):
    """A stored rule that this version of fednode cannot read. Nothing is served before that is mended."""

    code: ClassVar[str] = "bad-stored-rule"


TARGET_HINT: Final = "write a site id (k51…), /ipns/SITE, a CID, or /ipfs/CID/path with * at the end for all below it"

_EMPTY_CIDS = (
    "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku",  # no bytes
    "bafkqaaa",  # no bytes, inlined
    "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH",  # empty UnixFS file
    "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn",  # empty UnixFS folder
    "bafyaabakaieac",  # the same, inlined
)
NEVER_BLOCKED: Final = frozenset(Cid.from_text(text).multihash for text in _EMPTY_CIDS)
"""The empty file and the empty folder, by multihash: they are part of countless sites, so no rule may name
them."""


def target_text(target: Target) -> str:
    """The one text of a target: `/ipns/k51…` or `/ipfs/bafk…[/path][*]`, %-encoded."""
    return format_target(target)


def read_target(text: str) -> Target:
    """What an operator may type: a site id or a CID in any text form, alone, after /ipns/ or /ipfs/, or as ipns://
    or ipfs:// address; a path after a CID. BadTarget."""
    text = text.strip()
    for scheme in ("ipns", "ipfs"):
        if text.lower().startswith(f"{scheme}://"):
            text = f"/{scheme}/" + text[len(scheme) + 3 :]
    try:
        target = parse_target(text if text.startswith("/") else _with_namespace(text))
    except DecodeError as error:
        raise BadTarget(f"{text[:200]!r} is no target: {error}", hint=TARGET_HINT) from error
    if _is_site_key(target):
        raise BadTarget("this is a site id, not a CID of content", hint="write it alone or after /ipns/")
    if isinstance(target, CidPath) and target.multihash in NEVER_BLOCKED:
        raise BadTarget("this is the empty file or folder, which countless sites contain; it cannot be blocked")
    return target


def _with_namespace(text: str) -> str:
    name = text.partition("/")[0]
    try:
        SiteId.from_text(name)
    except UnsupportedCodec:  # a CID, but not of a key
        return f"/ipfs/{text}"
    return f"/ipns/{text}"


def _is_site_key(target: Target) -> bool:
    try:
        return isinstance(target, CidPath) and bool(SiteId.from_multihash(target.multihash))
    except DecodeError:
        return False


def rule_of(row: RuleRow) -> Rule:
    """The rule that a row holds; BadRuleRow."""
    if row.verdict not in ("refuse", "quarantine") or row.ground not in ("policy", "legal"):
        raise BadRuleRow(f"the rule on {row.target} says {row.verdict!r} on the ground of {row.ground!r}")
    return Rule(
        target=_stored_target(row.target),
        verdict=cast(RuleVerdict, row.verdict),
        ground=cast(Ground, row.ground),
        reason=row.reason,
        since_s=row.since_s,
        list_name=row.list_name,
    )


def rules_of(rows: Iterable[RuleRow]) -> list[Rule]:
    """The rules of all rows; BadRuleRow."""
    return [rule_of(row) for row in rows]


def row_of(rule: Rule) -> RuleRow:
    """The row that holds a rule."""
    return RuleRow(
        target=target_text(rule.target),
        verdict=rule.verdict,
        ground=rule.ground,
        reason=rule.reason,
        since_s=rule.since_s,
        list_name=rule.list_name,
    )


@lru_cache(maxsize=2**16)
def _stored_target(text: str) -> Target:
    """Kept, because each change of one rule reads all of them again, and decoding is what takes time."""
    try:
        return parse_target(text)
    except DecodeError as error:
        raise BadRuleRow(f"a stored rule has the target {text!r}: {error}") from error


class ListRules(NamedTuple):
    """rows: one for each target. problems: lines without effect, as (line number, what is wrong), the first
    ones."""

    rows: list[RuleRow]
    problems: list[tuple[int, str]]
    problem_count: int


def list_rules(raw: bytes, *, list_name: str, now_s: int) -> ListRules:
    """The rows of a list. A list gives no ground and no verdict, so its rules quarantine by policy.

    DecodeError for a list that is refused as a whole (docs/spec/policy.md, "Lists").
    """
    parsed = parse_denylist(raw)
    rows: dict[str, RuleRow] = {}
    empties = 0
    for rule in parsed.rules:
        if isinstance(rule.target, CidPath) and rule.target.multihash in NEVER_BLOCKED:
            empties += 1
            continue
        text = target_text(rule.target)
        reason = dict(rule.hints).get("reason", "")[:REASON_MAX_CHARS]
        rows.setdefault(text, RuleRow(text, "quarantine", "policy", reason, now_s, list_name))
    problems = [(error.line, str(error.error)) for error in parsed.errors]
    return ListRules(list(rows.values()), problems, parsed.error_count + empties)
