"""A fetch ends for the core whatever ends it: a disk whose error the store did not foresee, or a bug of ours."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest

from node.store.memory import MemoryStore
from tests.unit.replication.kit import TreeSite, connect, ring, until

FILES = {f"{number}.txt": b"%d" % number * 1000 for number in range(20)}


class Faulty(MemoryStore):
    """Raises `error` once, in the method of that name."""

    def __init__(self, method: str, error: Exception) -> None:
        super().__init__(quota_bytes=10**9)
        self.faults = 0
        real: Callable[..., Any] = getattr(self, method)

        def call(*args: object, **named: object) -> object:
            if not self.faults:
                self.faults += 1
                raise error
            return real(*args, **named)

        setattr(self, method, call)


DISK_ERRORS = [OSError(errno.ENOSPC, "no space left"), OSError(errno.EIO, "input/output error")]


@pytest.mark.parametrize("method", ["begin_hold", "link_blocks", "put_blocks", "finish_hold", "hold_info"])
@pytest.mark.parametrize("error", DISK_ERRORS, ids=["ENOSPC", "EIO"])
async def test_after_an_error_of_the_disk_the_next_release_comes(method: str, error: OSError) -> None:
    site = TreeSite(FILES)
    update = TreeSite(FILES | {"new.txt": b"new"}, seq=2, key=site.key)
    store = Faulty(method, error)
    async with ring(2, store=store) as (_, nodes):
        nodes[1].host(site)
        await connect(nodes[0], nodes[1])
        await until(lambda: store.faults == 1 and not nodes[0].replicator.fetching())
        state = nodes[0].replicator.context.core.state_of(site.signed.site)
        assert state is not None
        assert state.fetching is None
        assert state.paused_until_s > 0  # a disk does not mend itself within seconds
        nodes[1].host(update)
        await until(lambda: nodes[0].holds(update))


@pytest.mark.parametrize("method", ["begin_hold", "link_blocks", "put_blocks", "finish_hold"])
async def test_after_a_bug_the_fetch_is_tried_again(method: str) -> None:
    site = TreeSite(FILES)
    store = Faulty(method, ZeroDivisionError("a bug"))
    async with ring(3, store=store) as (_, nodes):
        nodes[1].host(site)
        nodes[2].host(site)
        await connect(nodes[0], nodes[1])
        await connect(nodes[0], nodes[2])
        await until(lambda: nodes[0].holds(site))
        assert store.faults == 1
