"""Fixtures of the tests in which a node process meets hostile peers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import trio

from tests.integration.hostile_kit import LIMITS, serves_others
from tests.integration.net_kit import NodeProcess


@pytest.fixture(scope="module")
def attacked() -> Iterator[NodeProcess]:
    with NodeProcess(limits=LIMITS) as started:
        yield started


@pytest.fixture
async def node(attacked: NodeProcess) -> AsyncIterator[NodeProcess]:
    """After the test it must still serve others, and never have restarted its host."""
    with trio.fail_after(60):
        yield attacked
        await serves_others(attacked)
    health = attacked.ask("health")
    assert health["state"] == "running"
    assert health["restarts"] == 0
