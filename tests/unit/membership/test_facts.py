"""What a node reads of itself now and then."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from node.membership import membership
from node.store.errors import StoreFailed
from node.store.memory import MemoryStore
from node.store.port import Usage
from tests.unit.membership.kit import members

FAILURES = 3


@pytest.mark.parametrize("error", [StoreFailed("the disk does not give it"), OSError(5, "Input/output error")])
async def test_a_disk_that_fails_for_a_moment_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(membership, "RESTATE_S", 0.01)
    read = MemoryStore.usage
    asked = 0

    def usage(store: MemoryStore) -> Usage:
        nonlocal asked
        asked += 1
        if asked <= FAILURES:
            raise error
        return read(store)

    async with members(1, tmp_path):
        monkeypatch.setattr(MemoryStore, "usage", usage)
        with trio.fail_after(30):
            while asked <= FAILURES:  # noqa: ASYNC110 - in a thread
                await trio.sleep(0.01)
