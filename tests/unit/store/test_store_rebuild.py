"""An index made anew from the packs (docs/spec/store.md, "Rebuilding"), and what is refused without one."""

from __future__ import annotations

import atexit
import os
import random
import shutil
import sqlite3
import tempfile
import tracemalloc
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import cache
from pathlib import Path

import pytest

from node.store import layout, scan
from node.store.disk import DiskStore, open_store
from node.store.errors import StoreDamaged, StoreLocked
from node.store.port import Origin, RuleRow, SiteRecord, TreeOrigin, TreeRecord
from node.store.rebuild import Rebuilt, rebuild
from protocol import ipns
from protocol.cid import Cid
from tests.conformance.store_check import problems
from tests.conformance.store_kit import (
    RAM,
    SMALL,
    Blocks,
    Publisher,
    blocks,
    damage,
    place,
    publish,
    readable,
    scratch,
    tree,
)
from tests.unit.store.exchange_files import ExchangeFiles
from tests.unit.store.fault_files import FaultFiles, PowerCut
from tests.unit.store.seeds import over_seeds

NOW_S = 1_700_000_000.0
RULE = RuleRow("/ipns/a", "refuse", "policy", "why", 7)


@pytest.fixture
def path() -> Iterator[Path]:
    with scratch() as path:
        yield path / "store"


def opened(path: Path) -> DiskStore:
    return open_store(path, quota_bytes=layout.MIB, cache_bytes=10_000, limits=SMALL, clock=lambda: NOW_S)


def rebuilt(path: Path, files: FaultFiles | None = None) -> Rebuilt:
    return rebuild(path, files=files, clock=lambda: NOW_S)


def without_index(path: Path) -> None:
    for each in path.glob(layout.DATABASE_NAME + "*"):
        each.unlink()


def state(store: DiskStore) -> tuple[list[SiteRecord], list[RuleRow], list[set[Cid]]]:
    sites = sorted(store.sites(), key=lambda record: record.site)
    names = store.has_blocks(NAMES)
    return sites, store.rules(), [store.blocks_of(record.site, names) for record in sites]


TREES = [tree(blocks(seed, 6 + seed, 150 * seed)) for seed in range(1, 6)]
NAMES = [cid for content in TREES for cid in content]


TO_LAYOUT_2 = """
DROP TABLE names;
DROP INDEX holds_of_trees;
ALTER TABLE holds DROP COLUMN kind;
ALTER TABLE holds DROP COLUMN origin;
ALTER TABLE holds RENAME COLUMN owner TO site;
ALTER TABLE notes RENAME COLUMN owner TO site;
PRAGMA user_version = 2"""


def fill(path: Path, seed: int) -> None:
    """A copy of the store that `made` makes."""
    shutil.copytree(made(seed), path)


@cache
def made(seed: int) -> Path:
    """Kept for all tests of this process."""
    folder = Path(tempfile.mkdtemp(prefix="fednode-store-", dir=RAM if os.access(RAM, os.W_OK) else None))
    atexit.register(shutil.rmtree, folder)
    make(folder / "store", seed)
    return folder / "store"


def make(path: Path, seed: int) -> None:
    """Sites that came, changed, shared blocks, went and ended; an unfinished one; cached blocks; a rule."""
    source = random.Random(seed)
    publishers = [Publisher(number) for number in (1, 2, 3, 4)]
    with closing(opened(path)) as store:
        store.add_rules([RULE])
        for _ in range(8):
            publisher = source.choice(publishers[:3])
            content = source.choice(TREES)
            publish(store, publisher.release(content), content, batch=source.choice((3, 500)))
            if source.random() < 0.2:
                store.drop_site(publisher.site)
        store.cache_blocks(list(blocks(99, 4).items()))
        last = publishers[3]
        publish(store, last.release(TREES[0]), TREES[0])
        if source.random() < 0.5:
            store.end_site(last.end())
        content = tree(blocks(77, 9))
        store.put_blocks(store.begin_hold(last_of(publishers).release(content)), list(content.items())[:5])


def last_of(publishers: list[Publisher]) -> Publisher:
    return Publisher(len(publishers) + 1)


@over_seeds(4, 100)
def test_a_rebuilt_index_says_what_the_old_one_said(path: Path, seed: int) -> None:
    fill(path, seed)
    with closing(opened(path)) as store:
        before = state(store)
    result = rebuilt(path)
    assert result.lost == []
    assert result.old_index == path / layout.OLD_NAME
    with closing(opened(path)) as store:
        assert state(store) == before
        assert store.usage().corrupt_blocks == 0
        assert all(readable(store, names) for names in before[2])
    assert problems(path) == []


@over_seeds(4, 100)
def test_the_packs_alone_give_what_was_held_and_ended(path: Path, seed: int) -> None:
    fill(path, seed)
    with closing(opened(path)) as store:
        sites, _, kept = state(store)
    without_index(path)
    result = rebuilt(path)
    assert set(result.lost) == {"rules", "lists", "follows", "peers", "heads", "names"}
    assert result.old_index is None
    with closing(opened(path)) as store:
        found, rules, found_kept = state(store)
        held = [(record, names) for record, names in zip(sites, kept, strict=True) if record.held or record.ended]
        assert list(zip(found, found_kept, strict=True)) == held
        assert rules == []
        publish(store, Publisher(9).release(TREES[2]), TREES[2])
    assert problems(path) == []


@over_seeds(6)
def test_a_rebuild_may_be_stopped_at_any_step(path: Path, seed: int) -> None:
    source = random.Random(seed)
    fill(path, seed % 4)
    with closing(opened(path)) as store:
        before = state(store)
    files = FaultFiles(stop_at=source.randrange(36), how=source.choice(("before", "torn", "after")), seed=seed)
    with suppress(PowerCut):
        rebuilt(path, files)
    files.copy_after_kill(path, path.parent / "after")
    after = path.parent / "after"
    try:
        opened(after).close()
    except StoreDamaged:
        rebuilt(after)
    with closing(opened(after)) as store:
        assert state(store) == before
    assert problems(after) == []


def killed_with_a_log(path: Path) -> list[RuleRow]:
    """A store whose last rule is in the index's log alone."""
    fill(path, 1)
    store = opened(path)
    store.add_rules([RuleRow("/ipns/b", "refuse", "policy", "only in the log", 8)])
    rules = store.rules()
    shutil.copytree(path, path.parent / "killed", ignore=shutil.ignore_patterns("*-shm"))
    store.close()
    shutil.rmtree(path)
    (path.parent / "killed").rename(path)
    return rules


def exchange_steps(path: Path) -> range:
    """The steps of a rebuild that come after the new index is made."""
    shutil.copytree(path, path.parent / "dry")
    dry = path.parent / "dry"
    files = ExchangeFiles(dry, stop_at=None, how="before", seed=0)
    rebuilt(dry, files)
    shutil.rmtree(dry)
    return range(max(at for at, name in enumerate(files.log) if name == "commit") + 1, files.steps)


@over_seeds(1, 60)
def test_loss_of_power_while_indexes_are_exchanged_loses_neither(path: Path, seed: int) -> None:
    """At every step, and again while the next rebuild goes on."""
    source = random.Random(seed)
    rules = killed_with_a_log(path)
    steps = exchange_steps(path)
    assert len(steps) > 12
    for step in steps:
        after, again = path.parent / f"after-{step}", path.parent / f"again-{step}"
        cut(path, after, step, source)
        try:
            opened(after).close()
        except StoreDamaged:
            cut(after, again, source.choice(steps), source)
            rebuilt(again)
            after = again
        with closing(opened(after)) as store:
            assert store.rules() == rules


def cut(path: Path, target: Path, step: int, source: random.Random) -> None:
    """Rebuild a copy of the store until the power goes; `target` is what is left."""
    scrap = target.with_name(target.name + "-cut")
    shutil.copytree(path, scrap)
    files = ExchangeFiles(
        scrap, stop_at=step, how=source.choice(("before", "torn", "after")), seed=source.randrange(1 << 30)
    )
    with suppress(PowerCut):
        rebuilt(scrap, files)
    files.copy_after_power_loss(scrap, target)
    shutil.rmtree(scrap)


def test_the_memory_of_a_rebuild_does_not_depend_on_the_pack(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Damage in it included, behind which the next section is looked for."""
    monkeypatch.setattr(scan, "WINDOW_BYTES", layout.MIB)
    content = tree(blocks(3, 100, 150_000))
    with closing(open_store(path, quota_bytes=256 * layout.MIB)) as store:
        publish(store, Publisher(1).release(content), content)
    for number in (20, 70):
        overwrite(path, list(content)[number], b"\xff" * 200)
    tracemalloc.start()
    try:
        result = rebuilt(path)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert result.blocks == 99
    assert 290_000 < result.unreadable_bytes < 310_000
    assert peak_bytes < 5 * layout.MIB


def test_a_store_without_its_index_does_not_start_and_loses_nothing(path: Path) -> None:
    fill(path, 1)
    packs = {each.name: each.read_bytes() for each in layout.packs_dir(path).iterdir()}
    without_index(path)
    for _ in range(2):
        with pytest.raises(StoreDamaged) as caught:
            opened(path)
        assert caught.value.hint == "fednode store rebuild"
    assert {each.name: each.read_bytes() for each in layout.packs_dir(path).iterdir()} == packs
    rebuilt(path)
    opened(path).close()


def test_a_rebuild_waits_for_no_daemon(path: Path) -> None:
    with closing(opened(path)), pytest.raises(StoreLocked):
        rebuilt(path)


def test_damage_in_a_block_is_to_be_healed(path: Path) -> None:
    content = TREES[3]
    signed = Publisher(1).release(content)
    with closing(opened(path)) as store:
        publish(store, signed, content)
    bad = list(content)[4]
    damage(path, bad)
    assert rebuilt(path).damaged_blocks == 1
    with closing(opened(path)) as store:
        assert store.has_blocks(content) == set(content) - {bad}
        record = store.site(signed.site)
        assert record is not None
        assert record.held == signed
        store.cache_blocks([(bad, content[bad])])
        assert readable(store, content)
    opened(path).close()
    assert problems(path) == []


def test_damage_in_a_length_costs_that_block_alone(path: Path) -> None:
    """Without it the site is incomplete: what there is waits for the rest."""
    content = TREES[3]
    signed = Publisher(1).release(content)
    with closing(opened(path)) as store:
        publish(store, signed, content)
    bad = list(content)[4]
    overwrite(path, bad, b"\xff\xff\xff\xff\x01\x02\x03\x04")
    result = rebuilt(path)
    assert result.sites_incomplete == [signed.site]
    assert result.unreadable_bytes > 100
    with closing(opened(path)) as store:
        assert [info.hold.signed for info in store.holds()] == [signed]
        hold = store.begin_hold(signed)
        assert store.link_blocks(hold, list(content)) == [bad]
        store.put_blocks(hold, [(bad, content[bad])])
        store.finish_hold(hold, origin=Origin.REPLICATED)
        assert readable(store, content)
    opened(path).close()
    assert problems(path) == []


def overwrite(path: Path, cid: Cid, raw: bytes) -> None:
    pack, start, _, _ = place(path, cid)
    with layout.pack_path(path, pack).open("r+b") as file:
        file.seek(start)
        file.write(raw)


def test_a_torn_tail_is_cut(path: Path) -> None:
    content = TREES[1]
    with closing(opened(path)) as store:
        publish(store, Publisher(1).release(content), content)
    pack = layout.pack_path(path, 1)
    whole = pack.read_bytes()
    with pack.open("ab") as file:
        file.write(whole[26:200])
    without_index(path)
    assert rebuilt(path).unreadable_bytes > 100
    opened(path).close()
    assert pack.read_bytes() == whole
    assert problems(path) == []


def test_a_peer_cannot_smuggle_a_site_into_a_rebuild(path: Path) -> None:
    """A file that is another site's release is a file."""
    other = Publisher(2).release(TREES[0])
    raw = other.encode()
    content: Blocks = tree({other.cid: raw} | TREES[0])
    with closing(opened(path)) as store:
        publish(store, Publisher(1).release(content), content)
    without_index(path)
    rebuilt(path)
    with closing(opened(path)) as store:
        assert [record.site for record in store.sites()] == [Publisher(1).site]
        assert readable(store, content)


def test_what_a_damaged_index_still_gives_is_kept(path: Path) -> None:
    fill(path, 2)
    with closing(opened(path)) as store:
        before = state(store)
    with closing(sqlite3.connect(path / layout.DATABASE_NAME)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'sites'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with (path / layout.DATABASE_NAME).open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\x77" * size)
    result = rebuilt(path)
    assert result.lost == ["heads"]
    assert result.kept["rules"] == 1
    with closing(opened(path)) as store:
        assert state(store)[1] == before[1]
        assert [record for record in state(store)[0] if record.held] == [record for record in before[0] if record.held]


def test_every_rebuild_keeps_the_index_before_it(path: Path) -> None:
    fill(path, 3)
    first = rebuilt(path).old_index
    second = rebuilt(path).old_index
    assert first is not None
    assert second is not None
    assert first != second
    assert first.exists()
    assert second.exists()
    shutil.rmtree(path)


def test_a_store_of_the_first_layout_gets_its_notes(path: Path) -> None:
    fill(path, 5)
    with closing(opened(path)) as store:
        before = state(store)
    with closing(sqlite3.connect(path / layout.DATABASE_NAME)) as connection:
        connection.execute("INSERT INTO dead SELECT pack, start, span FROM notes")  # packs of then had none
        connection.executescript(f"{TO_LAYOUT_2}; DROP TABLE notes; DROP TABLE scrub; PRAGMA user_version = 1")
    with closing(opened(path)) as store:
        assert state(store) == before
    assert problems(path) == []
    rebuilt(path)
    with closing(opened(path)) as store:
        assert state(store) == before


def test_a_store_of_the_second_layout_goes_on(path: Path) -> None:
    fill(path, 1)
    with closing(opened(path)) as store:
        before = state(store)
    with closing(sqlite3.connect(path / layout.DATABASE_NAME)) as connection:
        connection.executescript(TO_LAYOUT_2)
    with closing(opened(path)) as store:
        assert state(store) == before
        record = keep_tree(store, TREES[1])
    assert problems(path) == []
    with closing(opened(path)) as store:
        assert store.trees() == [record]


# --- trees -------------------------------------------------------------------------------------------------


def keep_tree(store: DiskStore, content: Blocks, *, whole: bool = True) -> TreeRecord:
    hold = store.begin_tree(next(iter(content)))
    store.put_blocks(hold, list(content.items()))
    store.finish_tree(hold, origin=TreeOrigin.FETCHED, whole=whole)
    found = store.tree(hold.root)
    assert found is not None
    return found


def test_trees_survive_whole_and_partial(path: Path) -> None:
    part = dict(list(TREES[1].items())[:4])
    with closing(opened(path)) as store:
        publish(store, Publisher(1).release(TREES[0]), TREES[0])
        keep_tree(store, part, whole=False)
        keep_tree(store, TREES[2])
        kept = [keep_tree(store, content) for content in (TREES[0], TREES[2])]
        kept.append(keep_tree(store, part, whole=False))
        usage = store.usage()
    without_index(path)
    result = rebuilt(path)
    assert (result.sites_held, result.trees_held, result.trees_incomplete) == (1, 3, [])
    assert problems(path) == []
    with closing(opened(path)) as store:
        assert sorted(store.trees(), key=lambda each: each.root) == sorted(kept, key=lambda each: each.root)
        assert store.usage() == usage
        assert readable(store, [*TREES[2], *part])
        store.drop_tree(kept[1].root)
    without_index(path)
    assert rebuilt(path).trees_held == 2


def test_a_tree_that_lost_blocks_is_open_again(path: Path) -> None:
    content = TREES[3]
    with closing(opened(path)) as store:
        record = keep_tree(store, content)
    pack, start, span, _ = place(path, list(content)[2])
    with layout.pack_path(path, pack).open("r+b") as file:
        file.seek(start)
        file.write(bytes(span))
    without_index(path)
    result = rebuilt(path)
    assert (result.trees_held, result.trees_incomplete) == (0, [record.root])
    with closing(opened(path)) as store:
        assert store.trees() == []
        (info,) = store.open_trees()
        assert info.done_blocks == len(content) - 1
        hold = store.begin_tree(record.root)
        assert hold == info.hold
        store.put_blocks(hold, list(content.items()))
        store.finish_tree(hold, origin=TreeOrigin.IMPORTED)
        assert store.tree(record.root) is not None
    assert problems(path) == []


def test_names_of_others_are_taken_over_once_verified(path: Path) -> None:
    key = Publisher(1).key
    record = ipns.create(key, value=b"/ipfs/bafkqaaa", sequence=1, validity_s=int(NOW_S), ttl_s=60)
    name = Publisher(1).site.cid.multihash
    with closing(opened(path)) as store:
        store.save_name(name, record, kept=True)
        row = store.name(name)
    with closing(sqlite3.connect(path / layout.DATABASE_NAME)) as connection, connection:
        connection.execute("INSERT INTO names VALUES (?, ?, 1, 1)", (Publisher(2).site.cid.multihash, record))
    result = rebuilt(path)
    assert (result.kept["names"], result.lost) == (1, [])
    with closing(opened(path)) as store:
        assert store.names() == [row]
