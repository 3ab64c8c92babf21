"""What the admin API asks of invitations, and the shapes of its input."""

from __future__ import annotations

from typing import Protocol

from node.admin.control import Json
from node.admin.shapes import Field, Shape
from node.policy.invitations import SITES_MAX

NOTE_MAX_CHARS = 500
ISSUE: Shape = {
    "note": Field(str, default="", max_chars=NOTE_MAX_CHARS, allow_empty=True),
    "until_s": Field(int),
    "sites": Field(int, default=1, min_value=1, max_value=SITES_MAX),
    "quota_bytes": Field(int, default=None),
}
INVITATION: Shape = {"number": Field(int)}


class InvitationControl(Protocol):
    """Who may publish here in `hosting.mode = "invite"` (node/invitation_control.py)."""

    async def show(self) -> list[Json]:
        """All, the newest first, with what their sites have here."""

    async def issue(self, *, note: str, until_s: int, sites: int, quota_bytes: int | None) -> Json:
        """A new one, with its text, which is told this once."""

    async def revoke(self, number: int) -> Json:
        """Ends it for its sites, too; NotFound."""
