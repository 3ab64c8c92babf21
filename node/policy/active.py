"""Lists as they decide: a compiled list with what the operator said about its entries. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from protocol.deny_index import DenyIndex, Hit
from protocol.deny_keys import Question
from protocol.limits import REASON_MAX_CHARS
from protocol.site_id import SiteId

ListMode = Literal["enforce", "review", "observe"]


@dataclass(frozen=True, slots=True)
class ActiveList:
    """overruled: lines without effect, by the operator's word, as long as they stay as they are. accepted: lines that
    hold although the mode is `review`. spared: hosted sites that the list does not refuse yet, because their publishers
    have notice, and until when, in Unix seconds; whoever keeps the list ends that. quorum: how many lists,
    itself among them, must refuse something for it to do so."""

    name: str
    mode: ListMode
    index: DenyIndex
    overruled: frozenset[str] = field(default_factory=frozenset)
    accepted: frozenset[str] = field(default_factory=frozenset)
    spared: Mapping[SiteId, int] = field(default_factory=dict)
    quorum: int = 1

    def match(self, question: Question) -> Hit | None:
        """The line that decides here, an allowing one perhaps."""
        if self.mode == "observe":
            return None
        for hit in self.index.matches(question):
            if hit.line in self.overruled or (self.mode == "review" and hit.line not in self.accepted):
                continue
            return hit
        return None


def rule_text(hit: Hit) -> str:
    """The rule of a line, as written, without hints."""
    return hit.line.split()[0]


def reason(hit: Hit) -> str:
    """What the line gives as a reason."""
    return dict(hit.rule.hints).get("reason", "")[:REASON_MAX_CHARS]
