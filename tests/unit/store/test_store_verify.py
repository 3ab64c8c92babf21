"""What `fednode store verify` finds (docs/spec/store.md, "Verifying"), and what scrubbing does ("Scrubbing")."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from node.store import layout
from node.store.disk import DiskStore, open_store
from node.store.errors import StoreFailed
from node.store.verify import Pace, verify
from protocol.errors import OperatorError
from tests.conformance.store_kit import SMALL, Publisher, blocks, damage, place, publish, scratch


@pytest.fixture
def path() -> Iterator[Path]:
    with scratch() as path:
        yield path / "store"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What looks wrong is looked at again; most tests have no daemon that would change anything meanwhile."""
    monkeypatch.setattr("node.store.verify._TRY_AGAIN_S", 0.01)


def opened(path: Path, now_s: float = 1000.0) -> DiskStore:
    return open_store(path, quota_bytes=layout.MIB, cache_bytes=10_000, limits=SMALL, clock=lambda: now_s)


CONTENT = blocks(1, 40, 700)


def filled(path: Path) -> None:
    with closing(opened(path)) as store:
        publish(store, Publisher(1).release(CONTENT), CONTENT, batch=9)
        store.cache_blocks(list(blocks(2, 5).items()))


def test_a_sound_store_is_sound(path: Path) -> None:
    filled(path)
    found = verify(path)
    assert found.ok
    assert (found.blocks, found.problems, found.damaged) == (45, [], [])


def test_rot_is_found_wherever_it_is(path: Path) -> None:
    filled(path)
    bad = [list(CONTENT)[at] for at in (0, 17, 39)]
    for cid in bad:
        damage(path, cid)
    found = verify(path)
    assert (set(found.damaged), found.damaged_count, found.problem_count) == (set(bad), 3, 0)
    with closing(opened(path)) as store:
        for cid in bad:
            store.mark_corrupt(cid)
        again = verify(path)
        assert (again.damaged_count, again.known_damaged, again.ok) == (0, 3, False)


def write(path: Path, pack: int, at: int, raw: bytes) -> None:
    with layout.pack_path(path, pack).open("r+b") as file:
        file.seek(at)
        file.write(raw)


def sql(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path / layout.DATABASE_NAME)) as connection:
        connection.execute(statement)
        connection.commit()


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("DELETE FROM refs WHERE block = 3", "1 blocks that nobody keeps"),
        ("DELETE FROM blocks WHERE id = 3", "bytes after byte"),
        ("DELETE FROM notes", "bytes after byte"),
        ("UPDATE totals SET held_bytes = held_bytes + 1", "1 wrong totals"),
        ("INSERT INTO dead SELECT pack, start + 1, span FROM blocks WHERE id = 4", "two things at byte"),
        ("UPDATE packs SET size_bytes = size_bytes + 9 WHERE id = 1", "bytes where the index says"),
        ("DELETE FROM packs WHERE id = 2", "the index does not know this pack"),
    ],
)
def test_an_index_that_says_something_else_is_found(path: Path, statement: str, problem: str) -> None:
    filled(path)
    sql(path, statement)
    assert any(problem in text for text in verify(path).problems)


def test_packs_that_say_something_else_are_found(path: Path) -> None:
    filled(path)
    write(path, 1, 3, b"X")
    layout.pack_path(path, 2).unlink()
    layout.pack_path(path, 77).write_bytes(b"")
    with closing(sqlite3.connect(path / layout.DATABASE_NAME)) as connection:
        pack, start, span = connection.execute("SELECT pack, start, span FROM notes").fetchone()
    write(path, pack, start + span - 1, b"\xee")
    texts = " ".join(verify(path).problems)
    for words in ("000001.car: its header", "000002.car: this pack is missing", "000077.car: the index", "the note at"):
        assert words in texts


def test_no_store_is_no_sound_store(path: Path) -> None:
    with pytest.raises(StoreFailed):
        verify(path)
    path.mkdir()
    path.joinpath(layout.DATABASE_NAME).write_bytes(b"not a database" * 500)
    with pytest.raises(OperatorError) as caught:
        verify(path)
    assert "fednode store rebuild" in str(caught.value.hint)


def test_nothing_is_wrong_while_a_daemon_writes(path: Path) -> None:
    done = threading.Event()

    def work() -> None:
        with closing(opened(path)) as store:
            publisher = Publisher(2)
            while not done.is_set():
                content = blocks(publisher.seq % 3 + 5, 20, 600)
                publish(store, publisher.release(content), content, batch=3)
                store.compact()
                if publisher.seq % 4 == 0:
                    store.drop_site(publisher.site)

    filled(path)
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        try:
            for _ in range(12):
                found = verify(path)
                assert found.ok, found
        finally:
            done.set()
        working.result()


def test_the_pace_is_kept() -> None:
    slept: list[float] = []
    pace = Pace(1000, slept.append)
    pace.spend(500)
    pace.spend(1500)
    assert slept[-1] == pytest.approx(2, abs=0.3)
    Pace(0, slept.append).spend(10**9)
    assert len(slept) == 2


# --- scrub -------------------------------------------------------------------------------------------------


def test_scrubbing_reads_everything_and_marks_rot_over_restarts(path: Path) -> None:
    filled(path)
    bad = list(CONTENT)[30]
    damage(path, bad)
    read = steps = 0
    while True:
        with closing(opened(path, now_s=1000.0 + steps)) as store:
            done = store.scrub_some(3000)
            steps, read = steps + 1, read + done.read_bytes
            state = store.scrub_state()
            if done.finished:
                break
            assert (state.read_bytes, state.began_s, state.finished_s) == (read, 1000, 0)
    assert steps > 5
    assert read > sum(map(len, CONTENT.values()))
    assert (state.last_damaged, state.read_bytes, state.finished_s) == (1, 0, 1000 + steps - 1)
    with closing(opened(path)) as store:
        assert store.damaged(10) == [(bad, Publisher(1).site)]
        store.cache_blocks([(bad, CONTENT[bad])])
        assert store.damaged(10) == []
        while not store.scrub_some(10**6).finished:
            pass
        assert store.scrub_state().last_damaged == 0


def test_an_empty_store_is_scrubbed_at_once(path: Path) -> None:
    with closing(opened(path)) as store:
        assert store.scrub_some(1).finished
        assert store.scrub_state().finished_s == 1000


def test_a_disk_that_gives_nothing_is_rot(path: Path) -> None:
    filled(path)
    first = next(iter(CONTENT))
    pack, start, _, _ = place(path, first)
    os.truncate(layout.pack_path(path, pack), start + 10)
    assert first in verify(path).damaged
