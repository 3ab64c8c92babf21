"""What only the store on disk has: its directory, packs, other processes, starts, and damage to its files."""

from __future__ import annotations

import itertools
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from node.store import layout
from node.store.disk import DiskStore, open_store
from node.store.errors import (
    BlockCorrupt,
    BlockMissing,
    StoreClosed,
    StoreDamaged,
    StoreFailed,
    StoreLocked,
    StoreTooNew,
)
from node.store.port import Origin, RuleRow
from node.store.reader import open_reader
from protocol.car import CarDecoder
from protocol.cid import Cid
from protocol.errors import HashMismatch, OverLimit
from tests.conformance.store_check import problems
from tests.conformance.store_kit import SMALL, Publisher, block, blocks, damage, place, publish, readable, scratch

MIB = layout.MIB


@pytest.fixture
def path() -> Iterator[Path]:
    with scratch() as path:
        yield path / "store"


def opened(path: Path, limits: layout.StoreLimits = SMALL) -> DiskStore:
    return open_store(path, quota_bytes=256 * MIB, cache_bytes=64 * layout.KIB, limits=limits)


def killed(path: Path, target: Path) -> Path:
    """The store as the death of its process would leave it."""
    return Path(shutil.copytree(path, target, ignore=shutil.ignore_patterns("*-shm")))


# --- the directory -----------------------------------------------------------------------------------------


def test_a_store_is_for_one_process_and_private(path: Path) -> None:
    with closing(opened(path)) as store:
        publish(store, Publisher(1).release(blocks(1, 3)), blocks(1, 3))
        with pytest.raises(StoreLocked) as caught:
            opened(path)
        assert caught.value.hint
        for each in (path, *path.rglob("*")):
            assert each.stat().st_mode & 0o777 == (0o700 if each.is_dir() else 0o600), each
    opened(path).close()


def test_a_closed_store_says_so(path: Path) -> None:
    store = opened(path)
    cid, _ = block(b"x")
    store.close()
    store.close()
    for call in (store.usage, store.sync, store.sites, lambda: store.get_block(cid), lambda: store.cache_blocks([])):
        with pytest.raises(StoreClosed):
            call()


def test_what_is_no_store_is_not_touched(path: Path) -> None:
    path.parent.joinpath("file").write_bytes(b"x")
    with pytest.raises(StoreFailed):
        opened(path.parent / "file")
    path.mkdir()
    database = path / layout.DATABASE_NAME
    database.write_bytes(b"no database at all" * 400)
    with pytest.raises(StoreDamaged):
        opened(path)
    assert database.read_bytes() == b"no database at all" * 400
    database.unlink()
    opened(path).close()


def test_a_store_of_a_later_version_is_refused(path: Path) -> None:
    opened(path).close()
    with closing(sqlite3.connect(path / layout.DATABASE_NAME)) as connection:
        connection.execute(f"PRAGMA user_version = {layout.SCHEMA_VERSION + 1}")
    with pytest.raises(StoreTooNew):
        opened(path)
    with pytest.raises(StoreTooNew):
        open_reader(path)


def test_a_reader_needs_a_store(path: Path) -> None:
    with pytest.raises(StoreFailed):
        open_reader(path)


def test_a_damaged_release_is_not_believed(path: Path) -> None:
    publisher = Publisher(1)
    with closing(opened(path)) as store:
        publish(store, publisher.release(blocks(1, 1)), blocks(1, 1))
    with closing(sqlite3.connect(path / layout.DATABASE_NAME)) as connection:
        connection.execute("UPDATE sites SET head = CAST(substr(head, 1, length(head) - 1) || x'FF' AS BLOB)")
        connection.commit()
    with closing(opened(path)) as store, pytest.raises(StoreDamaged):
        store.site(publisher.site)


# --- packs -------------------------------------------------------------------------------------------------


def test_packs_are_carv1_files_of_bounded_size(path: Path) -> None:
    content = blocks(1, 40, 1000)
    signed = Publisher(1).release(content)
    with closing(opened(path)) as store:
        publish(store, signed, content, batch=10)
    packs = sorted(layout.packs_dir(path).iterdir())
    assert len(packs) == 4
    found = {}
    for pack in packs:
        assert pack.stat().st_size <= SMALL.pack_roll_bytes
        decoder = CarDecoder()
        found.update({section.cid: section.data for section in decoder.feed(pack.read_bytes())})
        decoder.close()
        assert [str(root) for root in decoder.roots or ()] == ["bafkqaaa"]
    (release,) = [cid for cid in found if found[cid] == signed.encode()]
    (mark,) = set(found) - set(content) - {release}
    assert found == content | {mark: b"fednode published", release: signed.encode()}


def test_a_batch_may_be_larger_than_a_pack(path: Path) -> None:
    content = blocks(1, 3, SMALL.pack_roll_bytes)
    with closing(opened(path)) as store:
        publish(store, Publisher(1).release(content), content)
        assert readable(store, content)


def test_deleting_gives_the_space_back(path: Path) -> None:
    """Holes in the packs that others still need, and whole packs otherwise; small neighbours together."""
    limits = layout.StoreLimits(ballast_bytes=0)
    old, new = blocks(1, 4000, 1000), blocks(2, 1, 1000)
    one, two = Publisher(1), Publisher(2)
    with closing(opened(path, limits)) as store:
        publish(store, one.release(old), old)
        publish(store, two.release(new), new)
        before = disk_bytes(path)
        assert before > 3 * MIB
        store.drop_site(one.site)
        assert disk_bytes(path) < 64 * layout.KIB
        assert readable(store, new)
        store.cache_blocks(list(blocks(3, 100, 1000).items()))
    with closing(opened(path, limits)):
        assert disk_bytes(path) < 200 * layout.KIB


def disk_bytes(path: Path) -> int:
    return sum(each.stat().st_blocks * 512 for each in layout.packs_dir(path).iterdir())


def test_packs_without_a_block_are_unlinked(path: Path) -> None:
    first, last = blocks(1, 40, 1000), blocks(2, 1)
    with closing(opened(path)) as store:
        publish(store, Publisher(1).release(first), first, batch=10)
        publish(store, Publisher(2).release(last), last)
        store.drop_site(Publisher(1).site)
        assert [each.name for each in layout.packs_dir(path).iterdir()] == ["000004.car"]
        publish(store, Publisher(1).release(first, seq=2), first)
        assert readable(store, first)
    assert problems(path) == []


# --- readers -----------------------------------------------------------------------------------------------


def test_a_reader_sees_what_the_writer_has_done(path: Path) -> None:
    content = blocks(1, 3)
    signed = Publisher(1).release(content)
    with closing(opened(path)) as store, closing(open_reader(path)) as reader:
        assert reader.sites() == []
        rules, version = reader.rules_version(), reader.data_version()
        publish(store, signed, content)
        assert reader.data_version() != version
        assert reader.rules_version() == rules
        record = reader.site(signed.site)
        assert record is not None
        assert record.held == signed
        assert all(reader.get_block(cid) == data for cid, data in content.items())
        assert reader.blocks_of(signed.site, content) == reader.has_blocks(content) == set(content)
        row = RuleRow("/ipns/a", "refuse", "policy", "", 0)
        store.add_rules([row])
        assert reader.rules_version() != rules
        assert reader.rules() == [row]
        damage(path, next(iter(content)))
        with pytest.raises(BlockCorrupt):
            reader.get_block(next(iter(content)))
        store.drop_site(signed.site)
        with pytest.raises(BlockMissing):
            reader.get_block(next(iter(content)))
    with pytest.raises(StoreClosed):
        reader.sites()


def test_reading_while_a_site_comes_and_goes(path: Path) -> None:
    """A block that moves or goes under a reader is found or missing; it never looks damaged."""
    content = blocks(1, 30, 3000)
    publisher = Publisher(1)
    done = threading.Event()
    seen = {"found": 0, "missing": 0}

    def read() -> None:
        with closing(open_reader(path)) as reader:
            while not done.is_set():
                for cid, data in content.items():
                    try:
                        assert reader.get_block(cid) == data
                        seen["found"] += 1
                    except BlockMissing:
                        seen["missing"] += 1

    with closing(opened(path)) as store, ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        try:
            for number in itertools.count():
                if reading.done() or (number >= 25 and min(seen.values()) > 0):
                    break
                signed = publisher.release(content)
                publish(store, signed, content)
                assert readable(store, content)
                store.drop_site(publisher.site)
        finally:
            done.set()
        reading.result()
    assert min(seen.values()) > 0


# --- starts ------------------------------------------------------------------------------------------------


def test_a_start_verifies_only_what_was_not_synced(path: Path) -> None:
    synced, unsynced = blocks(1, 5, 500), blocks(2, 5, 500)
    limits = layout.StoreLimits(ballast_bytes=0)
    with closing(opened(path, limits)) as store:
        publish(store, Publisher(1).release(synced), synced)
        later = Publisher(2).release(unsynced)
        store.put_blocks(store.begin_hold(later), list(unsynced.items()))
        after = killed(path, path.parent / "after")
    damage(after, list(synced)[1])
    damage(after, list(unsynced)[3])
    with closing(opened(after, limits)) as store:
        assert store.usage().corrupt_blocks == 0
        with pytest.raises(BlockCorrupt):
            store.get_block(list(synced)[1])
        hold = store.begin_hold(later)
        assert store.link_blocks(hold, list(unsynced)) == list(unsynced)[3:]
        assert store.hold_info(hold).done_bytes == 1500


def test_a_healed_copy_that_was_lost_is_to_be_healed_again(path: Path) -> None:
    content = blocks(1, 3, 500)
    bad = list(content)[1]
    with closing(opened(path)) as store:
        publish(store, Publisher(1).release(content), content)
        store.mark_corrupt(bad)
        store.cache_blocks([(bad, content[bad])])
        after = killed(path, path.parent / "after")
    damage(after, bad)
    for _ in range(2):
        with closing(opened(after)) as store:
            assert store.usage().corrupt_blocks == 1
            assert store.has_blocks(content) == set(content) - {bad}
            more = blocks(2, 3, 700)
            publish(store, Publisher(2).release(more, seq=1), more)
    with closing(opened(after)) as store:
        store.cache_blocks([(bad, content[bad])])
        assert readable(store, content)
    opened(after).close()
    assert problems(after) == []


def test_a_lost_pack_is_asked_for_again(path: Path) -> None:
    content = blocks(1, 30, 1000)
    signed = Publisher(1).release(content)
    with closing(opened(path)) as store:
        publish(store, signed, content, batch=10)
    layout.pack_path(path, 1).unlink()
    shortened = layout.pack_path(path, 2)
    shortened.write_bytes(shortened.read_bytes()[:-100])
    gone = {cid for cid in content if place(path, cid)[0] == 1}
    for _ in range(2):
        with closing(opened(path)) as store:
            assert store.has_blocks(content) == set(content) - gone
            assert store.usage().corrupt_blocks == len(gone)
    with closing(opened(path)) as store:
        torn = [cid for cid in content if cid not in gone and not _reads(store, cid)]
        assert len(torn) == 1
    with closing(opened(path)) as store:
        hold = store.begin_hold(signed)
        missing = store.link_blocks(hold, list(content))
        assert set(missing) == gone | set(torn)
        store.put_blocks(hold, [(cid, content[cid]) for cid in missing])
        assert readable(store, content)
        assert all(store.is_linked(cid) for cid in content)


def _reads(store: DiskStore, cid: Cid) -> bool:
    try:
        store.get_block(cid)
    except BlockCorrupt:
        return False
    return True


def test_freeing_goes_on_after_a_kill(path: Path) -> None:
    """A release that gave way and an aborted hold are freed at the next start, if not before."""
    content = blocks(1, 20, 500)
    with closing(opened(path)) as store:
        publish(store, Publisher(1).release(content), content)
        with closing(sqlite3.connect(path / layout.DATABASE_NAME)) as connection:
            connection.execute("UPDATE holds SET state = ?", (layout.DOOMED,))
            connection.execute("UPDATE sites SET hold = NULL")
            connection.commit()
        after = killed(path, path.parent / "after")
    with closing(opened(after)) as store:
        assert store.usage().blocks == 0
    assert problems(after) == []


def test_the_lowered_quota_is_kept(path: Path) -> None:
    content = blocks(1, 5)
    with closing(opened(path)) as store:
        publish(store, Publisher(1).release(content), content)
    with closing(open_store(path, quota_bytes=100, limits=SMALL)) as store:
        assert store.usage().free_bytes == 0
        assert readable(store, content)
        hold = store.begin_hold(Publisher(1).release(content, seq=2))
        assert store.link_blocks(hold, list(content)) == []
        store.finish_hold(hold, origin=Origin.PUBLISHED)
        assert store.drop_site(hold.site) == 1500


LARGE = list(blocks(1, 10, 100_000).items())


@pytest.mark.parametrize("bad", [0, 5, 9])
def test_a_wrong_block_among_large_ones_spoils_the_batch(path: Path, bad: int) -> None:
    """They are hashed in threads while they are written: what is wrong is in the pack then, but never named."""
    wrong = [(cid, data if at != bad else data[:-1] + b"!") for at, (cid, data) in enumerate(LARGE)]
    with closing(opened(path, layout.StoreLimits())) as store:
        hold = store.begin_hold(Publisher(1).release(dict(LARGE)))
        for put in (partial(store.put_blocks, hold), store.cache_blocks):
            with pytest.raises(HashMismatch):
                put(wrong)
            assert store.usage().blocks == 0
        assert store.hold_info(hold).done_blocks == 0
        store.put_blocks(hold, LARGE)
        store.finish_hold(hold, origin=Origin.PUBLISHED)
        assert readable(store, dict(LARGE))
    assert problems(path) == []


def test_a_wrong_block_is_told_before_a_lack_of_room(path: Path) -> None:
    with closing(opened(path, layout.StoreLimits())) as store:
        hold = store.begin_hold(Publisher(1).release(dict(LARGE[:2])))
        with pytest.raises(OverLimit):
            store.put_blocks(hold, LARGE)
        with pytest.raises(HashMismatch):
            store.put_blocks(hold, [*LARGE[:9], (LARGE[9][0], b"no" * 10_000)])
