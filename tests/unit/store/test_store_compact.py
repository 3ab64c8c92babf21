"""Space that freeing could not give back (docs/spec/store.md, "Compacting")."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest

from node.store import layout
from node.store.disk import DiskStore, open_store
from node.store.files import Files
from node.store.port import Origin
from node.store.reader import open_reader
from node.store.verify import verify
from protocol.errors import OperatorError
from tests.conformance.store_check import problems
from tests.conformance.store_kit import SMALL, Blocks, Publisher, blocks, damage, place, publish, readable, scratch
from tests.unit.store.fault_files import FaultFiles, PowerCut
from tests.unit.store.seeds import over_seeds


@pytest.fixture
def path() -> Iterator[Path]:
    with scratch() as path:
        yield path / "store"


def opened(path: Path, files: Files | None = None) -> DiskStore:
    return open_store(path, quota_bytes=16 * layout.MIB, cache_bytes=10_000, limits=SMALL, files=files)


def interleave(store: DiskStore, seed: int = 1) -> tuple[Blocks, Publisher]:
    """Packs in which blocks of two sites alternate; what stays, and the one to drop."""
    stays, goes = blocks(seed, 60, 200), blocks(seed + 1, 60, 700)
    one, two = Publisher(1), Publisher(2)
    first, second = store.begin_hold(one.release(stays)), store.begin_hold(two.release(goes))
    for kept, dropped in zip(stays.items(), goes.items(), strict=True):
        store.put_blocks(first, [kept])
        store.put_blocks(second, [dropped])
    for hold in (first, second):
        store.finish_hold(hold, origin=Origin.PUBLISHED)
    return stays, two


def disk_bytes(path: Path) -> int:
    return sum(each.stat().st_blocks * 512 for each in layout.packs_dir(path).iterdir())


@pytest.mark.parametrize("can_punch", [True, False])
def test_packs_that_are_mostly_waste_are_rewritten(path: Path, can_punch: bool) -> None:
    with closing(opened(path, FaultFiles(can_punch=can_punch))) as store:
        stays, dropped = interleave(store)
        store.drop_site(dropped.site)
        before, usage = disk_bytes(path), store.usage()
        packs = len(list(layout.packs_dir(path).iterdir()))
        given_back = store.compact()
        assert given_back == before - disk_bytes(path) > 10_000
        assert len(list(layout.packs_dir(path).iterdir())) < packs
        assert store.usage() == usage
        assert readable(store, stays)
        assert verify(path).ok
        assert store.compact() == 0
    opened(path).close()
    assert problems(path) == []


def test_what_cannot_be_punched_reads_as_zeros_in_the_end(path: Path) -> None:
    """So that neither a rebuild nor anybody who looks finds what was deleted."""
    with closing(opened(path, FaultFiles(can_punch=False))) as store:
        one, two = blocks(1, 3, 400), blocks(2, 3, 100)
        publish(store, Publisher(1).release(one), one)
        publish(store, Publisher(2).release(two), two)
        store.drop_site(Publisher(2).site)
        store.compact()
        raw = b"".join(each.read_bytes() for each in layout.packs_dir(path).iterdir())
        assert not any(data in raw for data in two.values())
        assert all(data in raw for data in one.values())
    assert problems(path) == []


def test_readers_elsewhere_go_on_while_packs_are_rewritten(path: Path) -> None:
    done = threading.Event()
    rounds = 0

    def read(stays: Blocks) -> int:
        reads = 0
        with closing(open_reader(path)) as reader:
            while not done.is_set() or reads == 0:
                for cid, data in stays.items():
                    assert reader.get_block(cid) == data
                reads += 1
        return reads

    with closing(opened(path)) as store, ThreadPoolExecutor(1) as pool:
        stays, dropped = interleave(store)
        reading = pool.submit(read, stays)
        try:
            for seed in range(10, 16):
                store.drop_site(dropped.site)
                rounds += store.compact() > 0
                more = blocks(seed, 60, 700)
                publish(store, dropped.release(more), more, batch=1)
        finally:
            done.set()
        assert reading.result() > 0
    assert rounds > 0


def test_a_damaged_block_is_marked_and_not_copied(path: Path) -> None:
    with closing(opened(path)) as store:
        stays, dropped = interleave(store)
        bad = next(iter(stays))
        damage(path, bad)
        store.drop_site(dropped.site)
        store.compact()
        assert store.damaged(10) == [(bad, Publisher(1).site)]
        assert place(path, bad)[0] == 1
        store.cache_blocks([(bad, stays[bad])])
        store.compact()
        assert readable(store, stays)
        assert verify(path).ok


@over_seeds(8)
def test_compacting_may_be_stopped_at_any_step(path: Path, seed: int) -> None:
    """By loss of power: what was acknowledged before is there, unharmed."""
    source = random.Random(seed)
    files = FaultFiles(seed=seed, can_punch=source.random() < 0.5)
    store = opened(path, files)
    stays, dropped = interleave(store)
    store.drop_site(dropped.site)
    files.stop_in(source.randrange(45), source.choice(("before", "torn", "after")))
    with suppress(PowerCut):
        store.compact()
    files.copy_after_power_loss(path, path.parent / "after")
    with closing(opened(path.parent / "after")) as after:
        assert after.usage().corrupt_blocks == 0
        assert after.blocks_of(Publisher(1).site, stays) == set(stays)
        assert readable(after, stays)
        after.compact()
        assert readable(after, stays)
    assert problems(path.parent / "after") == []


@over_seeds(4, 200)
def test_a_disk_that_fails_while_packs_are_rewritten_loses_nothing(path: Path, seed: int) -> None:
    source = random.Random(seed)
    files = FaultFiles(seed=seed, can_punch=source.random() < 0.5)
    with closing(opened(path, files)) as store:
        stays, dropped = interleave(store)
        store.drop_site(dropped.site)
        first = files.steps + source.randrange(40)
        files.fails = lambda step: 5 if first <= step < first + 3 else None
        for _ in range(3):
            with suppress(OperatorError):
                store.compact()
            assert readable(store, stays)
        assert store.usage().corrupt_blocks == 0
    opened(path).close()
    assert problems(path) == []
