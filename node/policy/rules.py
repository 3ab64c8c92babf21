"""Target text ↔ target, stored rows ↔ rules."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import ClassVar, Final, cast

from node.policy.model import CidPath, Ground, Rule, RuleVerdict, Target
from node.store.port import RuleRow
from protocol.deny_keys import NEVER_BLOCKED, rule_keys
from protocol.denylist import format_target, parse_target
from protocol.errors import DecodeError, OperatorError, UnsupportedCodec
from protocol.site_id import SiteId


class BadTarget(OperatorError):
    """What the operator typed names neither a site nor content."""

    code: ClassVar[str] = "bad-target"
    exit_code: ClassVar[int] = 2


class BadRuleRow(OperatorError):
    """A stored rule that this version of fednode cannot read. Nothing is served before that is mended."""

    code: ClassVar[str] = "bad-stored-rule"


ADDRESSES: Final = ("/ip4/", "/ip6/", "/dns/", "/dns4/", "/dns6/")
TARGET_HINT: Final = (
    "write a site id (k51…), a CID, /ipns/SITE/path, /ipns/DOMAIN, /p2p/PEER, or /ipfs/CID/path with * at the end for "
    "all below it"
)


def target_text(target: Target) -> str:
    """The one text of a target: `/ipns/k51…`, `/ipfs/bafk…[/path][*]`, %-encoded, or `/p2p/12D3…`."""
    return format_target(target)


def read_target(text: str) -> Target:
    """What an operator may type: a site id or a CID in any text form, alone, after /ipns/ or /ipfs/, or as ipns://
    or ipfs:// address; a path after a CID; a node as /p2p/PEER, also at the end of an address. BadTarget."""
    text = text.strip()
    if text.startswith(ADDRESSES):
        text = text[max(text.rfind("/p2p/"), 0) :]
    for scheme in ("ipns", "ipfs"):
        if text.lower().startswith(f"{scheme}://"):
            text = f"/{scheme}/" + text[len(scheme) + 3 :]
    try:
        target = parse_target(text if text.startswith("/") else _with_namespace(text))
        rule_keys(target)
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
    if row.verdict not in ("allow", "refuse", "quarantine") or row.ground not in ("policy", "legal"):
        raise BadRuleRow(f"the rule on {row.target} says {row.verdict!r} on the ground of {row.ground!r}")
    return Rule(
        target=_stored_target(row.target),
        verdict=cast(RuleVerdict, row.verdict),
        ground=cast(Ground, row.ground),
        reason=row.reason,
        since_s=row.since_s,
    )


def rules_of(rows: Iterable[RuleRow]) -> list[Rule]:
    """The operator's own rules among the rows; BadRuleRow."""
    return [rule_of(row) for row in rows if row.list_name is None]


def row_of(rule: Rule) -> RuleRow:
    """The row that holds a rule."""
    return RuleRow(
        target=target_text(rule.target),
        verdict=rule.verdict,
        ground=rule.ground,
        reason=rule.reason,
        since_s=rule.since_s,
    )


@lru_cache(maxsize=2**16)
def _stored_target(text: str) -> Target:
    """Kept, because each change of one rule reads all of them again, and decoding is what takes time."""
    try:
        return parse_target(text)
    except DecodeError as error:
        raise BadRuleRow(f"a stored rule has the target {text!r}: {error}") from error
