"""The admin API served for real on a Unix socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trio

from node.admin.server import AdminLimits, serve_admin
from node.store.memory import MemoryStore
from tests.unit.admin.small_node import SmallNode

LIMITS = AdminLimits(connections_max=5, write_stall_s=1000, idle_s=1000)
"""No test depends on how fast the machine is, but for those of the deadlines themselves."""


@pytest.fixture
def socket_path() -> Iterator[Path]:
    # pytest's own temporary folders have paths that are too long for a socket.
    with TemporaryDirectory(prefix="fednode-") as folder:
        yield Path(folder) / "run" / "admin.sock"


@pytest.fixture
def small_node(tmp_path: Path) -> SmallNode:
    return SmallNode(MemoryStore(quota_bytes=10**6), tmp_path)


@pytest.fixture
async def serving(small_node: SmallNode, socket_path: Path, nursery: trio.Nursery) -> AsyncIterator[SmallNode]:
    await nursery.start(partial(serve_admin, limits=LIMITS), small_node, socket_path)
    yield small_node
    nursery.cancel_scope.cancel()
