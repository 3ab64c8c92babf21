"""What the daemon does for its store in the background: `node/upkeep.py`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import trio
import trio.testing

from node.gateway.backend import Unavailable
from node.store import layout
from node.store.disk import DiskStore, open_store
from node.store.port import Origin, ScrubState, Usage
from node.upkeep import FIRST_COMPACT_S, SCRUB_PERIOD_S, TICK_S, Upkeep, due_bytes, total_bytes
from protocol.cid import Cid
from protocol.site_id import SiteId
from tests.conformance.store_kit import SMALL, Publisher, blocks, damage, publish, readable, scratch

DAY_S = 86400.0
BEGAN_S = 1000.0
CONTENT = blocks(1, 50, 2000)


@pytest.fixture
def path() -> Iterator[Path]:
    with scratch() as path:
        yield path / "store"


def opened(path: Path) -> DiskStore:
    return open_store(path, quota_bytes=layout.MIB, limits=SMALL, clock=lambda: BEGAN_S)


class OtherHosts:
    """Give any block, except to begin with."""

    def __init__(self, store: DiskStore, refusals: int = 0) -> None:
        self.store = store
        self.refusals = refusals
        self.gave = trio.Event()
        self.asked: list[tuple[SiteId, Cid]] = []

    async def fetch_block(self, site: SiteId, cid: Cid) -> None:
        self.asked.append((site, cid))
        if len(self.asked) <= self.refusals:
            raise Unavailable("timeout", "nobody is there")
        self.store.cache_blocks([(cid, CONTENT[cid])])
        self.gave.set()


async def test_rot_is_found_and_healed(path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """In the first round that is due; a host that is away is asked again later."""
    autojump_clock.autojump_threshold = 0.02  # so that worker threads mostly come to their end
    bad = list(CONTENT)[33]
    with closing(opened(path)) as store:
        publish(store, Publisher(1).release(CONTENT), CONTENT)
        damage(path, bad)
        store.scrub_some(1)
        hosts = OtherHosts(store, refusals=1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Upkeep(store, hosts, now_s=lambda: BEGAN_S + SCRUB_PERIOD_S).run)
            await hosts.gave.wait()
            nursery.cancel_scope.cancel()
        assert store.scrub_state().finished_s == BEGAN_S
        assert hosts.asked == [(Publisher(1).site, bad)] * 2
        assert readable(store, CONTENT)


def test_reading_is_spread_over_the_period() -> None:
    usage = Usage(10**10, 0, 0, 10**11, 0, 0, 10**5, 0)
    total = total_bytes(usage)
    assert due_bytes(ScrubState(0, 0, 0, 0, 0), usage, 10**9) == 1
    assert due_bytes(ScrubState(100, 0, 0, 0, 0), usage, 100) == 0
    assert due_bytes(ScrubState(100, 0, 0, 0, 0), usage, 100 + DAY_S) == total // 14
    assert due_bytes(ScrubState(100, total // 14, 0, 0, 0), usage, 100 + DAY_S) == 0
    assert due_bytes(ScrubState(100, total // 7, 0, 0, 0), usage, 100 + DAY_S) < 0
    assert due_bytes(ScrubState(100, 5, 0, 0, 0), usage, 101 + SCRUB_PERIOD_S) > total
    assert due_bytes(ScrubState(100, 5, 0, 0, 0), usage, 50) > total


async def test_packs_are_compacted_now_and_then(path: Path, autojump_clock: trio.testing.MockClock) -> None:
    autojump_clock.autojump_threshold = 0.05
    goes = blocks(2, 50, 2500)
    with closing(opened(path)) as store:
        one, two = (store.begin_hold(Publisher(n).release(c)) for n, c in ((1, CONTENT), (2, goes)))
        for kept, dropped in zip(CONTENT.items(), goes.items(), strict=True):
            store.put_blocks(one, [kept])
            store.put_blocks(two, [dropped])
        store.finish_hold(one, origin=Origin.PUBLISHED)
        store.finish_hold(two, origin=Origin.PUBLISHED)
        store.drop_site(two.site)
        packs = len(list(layout.packs_dir(path).iterdir()))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Upkeep(store, OtherHosts(store), now_s=lambda: BEGAN_S).run)
            await trio.sleep(FIRST_COMPACT_S)
            while len(list(layout.packs_dir(path).iterdir())) >= packs:  # noqa: ASYNC110 - a thread is at it
                await trio.sleep(TICK_S)
            nursery.cancel_scope.cancel()
        assert readable(store, CONTENT)
