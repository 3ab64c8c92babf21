"""What the admin API asks of imports from the IPFS network, the shapes of its input, and their routes' bodies."""

from __future__ import annotations

from typing import Any, Protocol

from node.admin.control import BadRequest, Json
from node.admin.shapes import Field, Shape

ADDRESSES_MAX_CHARS = 16_000
START: Shape = {
    "target": Field(str, max_chars=1000),
    "peers": Field(str, default="", max_chars=ADDRESSES_MAX_CHARS, allow_empty=True),
}
IMPORT: Shape = {"number": Field(int)}


class ImportControl(Protocol):
    """Imports under way, as the operator sees them (node/bitswap/imports.py)."""

    async def start(self, target: str, addresses: list[str]) -> Json:
        """Begins, or joins the one of the same target that is under way."""

    async def show(self) -> list[Json]:
        """Those under way and those that ended last."""

    async def get(self, number: int) -> Json:
        """NotFound."""

    async def cancel(self, number: int) -> Json:
        """Ends it; NotFound."""


def addresses_in(body: dict[str, Any]) -> list[str]:
    """The peers to ask, which are separated by spaces."""
    addresses: list[str] = body["peers"].split()
    if any(not address.startswith("/") for address in addresses):
        raise BadRequest("peers are multiaddrs, separated by spaces")
    return addresses
