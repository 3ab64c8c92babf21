"""How a list stands, as operators are shown it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from node.policy.active import ListMode
from node.policy.list_files import Subscription

STALE_S = 7 * 24 * 3600
"""After so long without one good look at its source a list is called stale."""


@dataclass(frozen=True, slots=True)
class ListStatus:
    """How a list stands. error: why the source cannot be used now, so that older rules are in force, or that a
    version waits. problems: lines that were left out, as (line number, what is wrong), the first ones;
    problem_count counts all."""

    path: str
    rule_count: int
    read_s: int
    error: str | None = None
    problems: tuple[tuple[int, str], ...] = ()
    problem_count: int = 0
    name: str = ""
    mode: ListMode = "enforce"
    pending: str | None = None
    checked_s: int = 0
    overruled: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()
    quorum: int = 1

    def as_json(self) -> dict[str, object]:
        """For the admin API (docs/operators/admin-api.md)."""
        return {
            "path": self.path,
            "rule_count": self.rule_count,
            "read_s": self.read_s,
            "error": self.error,
            "problems": [{"line": line, "message": message} for line, message in self.problems],
            "problem_count": self.problem_count,
            "name": self.name,
            "mode": self.mode,
            "pending": self.pending,
            "checked_s": self.checked_s,
            "overruled": list(self.overruled),
            "accepted": list(self.accepted),
            "quorum": self.quorum,
        }


def status_of(each: Subscription, now_s: int) -> ListStatus:
    """A list as it stands at a time in Unix seconds."""
    shown = each.current if each.current.digest else each.pending or each.current
    return ListStatus(
        path=each.source,
        rule_count=each.current.rule_count,
        read_s=each.current.read_s,
        error=_error(each, now_s),
        problems=shown.problems,
        problem_count=shown.problem_count,
        name=each.name,
        mode=each.mode,
        pending=each.pending_why or None,
        checked_s=each.checked_s,
        overruled=each.overruled,
        accepted=each.accepted,
        quorum=each.quorum,
    )


def _error(each: Subscription, now_s: int) -> str | None:
    if each.error is None:
        return f"a new version waits: {each.pending_why}" if each.pending is not None else None
    silent_s = now_s - each.checked_s
    if each.kind != "file" and each.checked_s and silent_s > STALE_S:
        return f"stale: no good answer for {silent_s // 86400} days; {each.error}"
    return each.error
