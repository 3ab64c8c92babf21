from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.gateway.nodes import Node, running_node


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    """A gateway with default settings."""
    async with running_node(tmp_path, node_name="test <node>", contact="ops@example.org") as running:
        yield running
