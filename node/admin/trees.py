"""What the admin API asks of trees and of names of others, and the shapes of its input."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator
from typing import Protocol

from node.admin.control import BadRequest, Json
from node.admin.shapes import Field, Shape

RECORD_MAX_CHARS = 16_000  # base64 of an IPNS record of 10 KiB
UPLOAD: Shape = {"partial": Field(str, default="no", choices=("no", "yes"))}
TREE: Shape = {"root": Field(str, max_chars=400)}
NAME: Shape = {"name": Field(str, max_chars=400)}
RECORD: Shape = {"name": Field(str, max_chars=400), "record": Field(str, max_chars=RECORD_MAX_CHARS)}


class TreeControl(Protocol):
    """Trees and names as the operator sees them (node/trees/control.py)."""

    async def show(self) -> list[Json]:
        """The kept trees, oldest first."""

    async def take(self, pieces: AsyncIterator[bytes], *, partial: bool) -> Json:
        """Keeps the trees of a CAR file."""

    async def drop(self, root: str) -> Json:
        """NotFound."""

    async def names(self) -> list[Json]: ...

    async def take_name(self, name: str, record: bytes) -> Json: ...

    async def drop_name(self, name: str) -> Json:
        """NotFound."""


def record_of(text: str) -> bytes:
    """Raises BadRequest."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest("the record is not base64") from None
