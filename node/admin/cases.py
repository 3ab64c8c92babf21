"""What the admin API asks of the desk where reports are decided, and the shapes of its input."""

from __future__ import annotations

from typing import Protocol

from node.admin.control import Json
from node.admin.shapes import Field, Shape
from node.casework.model import LEVELS
from protocol.limits import REASON_MAX_CHARS

CASES_MAX_CHARS = 60_000
CASES: Shape = {
    "state": Field(str, default="open", choices=("open", "decided")),
    "category": Field(str, default="", choices=("", *LEVELS), allow_empty=True),
    "offset": Field(int, default=0),
    "limit": Field(int, default=100, min_value=1, max_value=500),
}
LINES: Shape = {"lines": Field(str, max_chars=65_536)}
NUMBER: Shape = {"number": Field(int)}
DECISION: Shape = {
    "cases": Field(str, max_chars=CASES_MAX_CHARS),
    "verdict": Field(str, choices=("dismiss", "quarantine", "refuse", "legal", "uphold", "lift")),
    "reason": Field(str, max_chars=REASON_MAX_CHARS),
    "note": Field(str, default="", max_chars=2000, allow_empty=True),
    "secret": Field(bool, default=False),
    "now": Field(bool, default=False),
}
NOTICES: Shape = {"site": Field(str, default="", max_chars=200, allow_empty=True)}


class CaseControl(Protocol):
    """The desk, as the operator uses it (node/casework/desk.py)."""

    async def reports(self, *, state: str, category: str, offset: int, limit: int) -> Json:
        """{"cases": [...], "backlog": {...}}, the most urgent first."""

    async def report(self, case_id: int) -> Json:
        """A case with its reports, contacts included; NotFound."""

    async def take(self, lines: str) -> Json:
        """{"tokens": [...]} of reports in JSON lines, all of them taken or none; BadRequest, BookFailed."""

    async def decide(
        self, cases: str, *, verdict: str, reason: str, note: str, secret: bool, now: bool = False
    ) -> Json:
        """Decides open cases; rules, log and queue have it when it returns. NotFound when none of them is open. now:
        without a notice period."""

    async def notices(self, site: str) -> Json:
        """{"node", "notices": [...]}: of a site, the newest first, or with "" the open ones of all sites."""

    async def withhold(self, number: int) -> Json:
        """Stops publishing the texts of an entry of the decision log; NotFound."""
