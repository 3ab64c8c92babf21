"""What the admin API asks of members and of the hosts of a site, and the shape of its input."""

from __future__ import annotations

from typing import Protocol

from node.admin.control import Json
from node.admin.shapes import Field, Shape

SITE_QUERY: Shape = {"site": Field(str, max_chars=200)}


class MemberControl(Protocol):
    """Members as the operator sees them (node/membership/resilience.py)."""

    async def members(self) -> list[Json]: ...

    async def resilience(self, text: str) -> Json:
        """NotFound."""
