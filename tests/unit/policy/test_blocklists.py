"""Blocklist files on a real disk, over the in-memory twin of the store."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from node.policy.blocklists import FILE_MAX_BYTES, LISTS_MAX, PROBLEMS_MAX, BlocklistError, Blocklists, ListStatus
from node.policy.decide import Policy
from node.policy.model import Act, Subject
from node.policy.rules import rules_of
from node.store.errors import StoreFull
from node.store.memory import MemoryStore
from node.store.port import ListRow, RuleRow, Store
from protocol.site_id import SiteId

SITES = [SiteId(bytes([number]) * 32) for number in range(1, 5)]


class Clock:
    now_s = 1000

    def __call__(self) -> int:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> Store:
    return MemoryStore(quota_bytes=10**6)


@pytest.fixture
def lists(store: Store, clock: Clock) -> Blocklists:
    return Blocklists(store, now_s=clock)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "court.deny"
    write(path, SITES[0])
    return path


def text_of(*sites: SiteId) -> str:
    return "".join(f"/ipns/{site}\n" for site in sites)


def write(path: Path, *sites: SiteId) -> None:
    path.write_text(text_of(*sites))


def rename_over(path: Path, *sites: SiteId) -> None:
    new = path.with_suffix(".new")
    write(new, *sites)
    os.replace(new, path)


def blocked(store: Store) -> set[SiteId]:
    policy = Policy(rules_of(store.rules()))
    return {site for site in SITES if not policy.decide(Act.HTTP_SERVE, Subject(site=site)).allowed}


def settle(lists: Blocklists) -> bool:
    """Two looks; True when rules changed in either."""
    return any([lists.poll(), lists.poll()])


def only(lists: Blocklists) -> ListStatus:
    (status,) = lists.show()
    return status


def test_add_reads_the_list_and_says_what_it_holds(store: Store, lists: Blocklists, file: Path) -> None:
    status = lists.add(file)
    assert (status.path, status.rule_count, status.read_s, status.error) == (str(file), 1, 1000, None)
    assert blocked(store) == {SITES[0]}
    (row,) = store.rules()
    assert (row.verdict, row.ground, row.list_name, row.since_s) == ("quarantine", "policy", str(file), 1000)
    assert lists.poll() is False


def test_a_list_that_is_replaced_by_rename(store: Store, lists: Blocklists, file: Path) -> None:
    lists.add(file)
    rename_over(file, SITES[1])
    assert settle(lists)
    assert blocked(store) == {SITES[1]}


def test_a_list_that_is_written_in_place_counts_once_it_settled(store: Store, lists: Blocklists, file: Path) -> None:
    lists.add(file)
    file.write_text("")
    assert lists.poll() is False
    assert blocked(store) == {SITES[0]}  # the rewrite may be half done
    write(file, SITES[1], SITES[2])
    assert lists.poll() is False
    assert blocked(store) == {SITES[0]}
    assert lists.poll() is True
    assert blocked(store) == {SITES[1], SITES[2]}


def test_an_edit_that_keeps_size_and_mtime_is_seen(store: Store, lists: Blocklists, file: Path) -> None:
    # Both names are equally long; mtime goes back, as `cp -p` and some editors do.
    lists.add(file)
    before = file.stat()
    assert len(text_of(SITES[0])) == len(text_of(SITES[1]))
    write(file, SITES[1])
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert settle(lists)
    assert blocked(store) == {SITES[1]}


def test_an_emptied_list_has_no_rules(store: Store, lists: Blocklists, file: Path) -> None:
    lists.add(file)
    file.write_text("# nothing any more\n")
    assert settle(lists)
    assert blocked(store) == set()
    assert only(lists).error is None


def vanish(file: Path) -> None:
    file.unlink()


def garble(file: Path) -> None:
    file.write_bytes(b"\x80\x81 no list\n" * 10)


def outgrow(file: Path) -> None:
    with file.open("ab") as opened:
        opened.truncate(FILE_MAX_BYTES + 1)


def become_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def become_a_fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize("spoil", [vanish, garble, outgrow, become_a_folder, become_a_fifo])
def test_a_list_that_goes_bad_keeps_its_last_good_rules(
    store: Store, lists: Blocklists, file: Path, spoil: Callable[[Path], None]
) -> None:
    lists.add(file)
    spoil(file)
    assert not settle(lists)
    assert blocked(store) == {SITES[0]}
    status = only(lists)
    assert status.rule_count == 1
    assert status.error
    assert store.lists()[0].error == status.error
    # and holds when it is good again, even with what was there before
    if file.is_dir():
        file.rmdir()
    else:
        file.unlink(missing_ok=True)
    write(file, SITES[0], SITES[3])
    assert settle(lists)
    assert only(lists).error is None
    assert store.lists()[0].error is None
    assert blocked(store) == {SITES[0], SITES[3]}


def test_rules_and_errors_survive_a_restart(store: Store, lists: Blocklists, file: Path, clock: Clock) -> None:
    lists.add(file)
    file.unlink()
    again = Blocklists(store, now_s=clock)
    assert only(again).rule_count == 1
    assert again.poll() is False
    assert blocked(store) == {SITES[0]}
    assert "No such file" in (only(again).error or "")


def test_what_changed_while_the_node_was_off_is_read_at_the_first_look(
    store: Store, lists: Blocklists, file: Path, clock: Clock
) -> None:
    lists.add(file)
    write(file, SITES[2])
    assert Blocklists(store, now_s=clock).poll() is True
    assert blocked(store) == {SITES[2]}


def test_a_rule_that_stays_keeps_its_date(store: Store, lists: Blocklists, file: Path, clock: Clock) -> None:
    lists.add(file)
    clock.now_s = 2000
    write(file, SITES[0], SITES[1])
    assert settle(lists)
    assert {row.target: row.since_s for row in store.rules()} == {
        f"/ipns/{SITES[0]}": 1000,
        f"/ipns/{SITES[1]}": 2000,
    }
    assert only(lists).read_s == 2000


def test_lines_with_problems_are_reported_and_the_others_hold(store: Store, lists: Blocklists, file: Path) -> None:
    bad = "not a rule\n" * (PROBLEMS_MAX + 5)
    file.write_text(f"{text_of(SITES[0])}!/ipns/{SITES[1]}\n{text_of(SITES[2])}{bad}")
    status = lists.add(file)
    assert blocked(store) == {SITES[0], SITES[2]}
    assert status.rule_count == 2
    assert status.problems[0][0] == 2
    assert "not supported" in status.problems[0][1]
    assert len(status.problems) == PROBLEMS_MAX
    assert status.problem_count == PROBLEMS_MAX + 6
    assert status.as_json()["problems"][0] == {"line": 2, "message": status.problems[0][1]}  # type: ignore[index]


def test_what_cannot_be_a_list_is_not_added(store: Store, lists: Blocklists, tmp_path: Path) -> None:
    garbled = tmp_path / "garbled"
    garble(garbled)
    for path in (tmp_path / "missing", tmp_path, garbled, Path("relative.deny"), Path("/dev/null"), Path("/dev/zero")):
        with pytest.raises(BlocklistError):
            lists.add(path)
    assert lists.show() == []
    assert store.lists() == []


def test_the_number_of_lists_is_bounded(lists: Blocklists, tmp_path: Path) -> None:
    for number in range(LISTS_MAX):
        path = tmp_path / f"{number}.deny"
        path.write_text("")
        lists.add(path)
    lists.add(path)  # again is no further one
    (tmp_path / "more.deny").write_text("")
    with pytest.raises(BlocklistError, match="already"):
        lists.add(tmp_path / "more.deny")


def test_the_number_of_rules_is_bounded_over_all_lists(
    store: Store, lists: Blocklists, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.policy.blocklists.RULES_MAX", 3)
    write(tmp_path / "a", *SITES[:2])
    write(tmp_path / "b", SITES[2])
    lists.add(tmp_path / "a")
    lists.add(tmp_path / "b")
    write(tmp_path / "b", SITES[2], SITES[3])
    assert not settle(lists)
    assert blocked(store) == set(SITES[:3])
    assert "limit" in (lists.show()[1].error or "")


def test_remove_takes_the_rules_away(store: Store, lists: Blocklists, file: Path) -> None:
    lists.add(file)
    assert lists.remove(file) is True
    assert lists.remove(file) is False
    assert (blocked(store), lists.show(), store.lists()) == (set(), [], [])


def test_lists_do_not_touch_each_other_or_the_operators_rules(
    store: Store, lists: Blocklists, file: Path, tmp_path: Path
) -> None:
    store.add_rule(RuleRow(f"/ipns/{SITES[3]}", "refuse", "legal", "mine", 1))
    other = tmp_path / "other.deny"
    write(other, SITES[0], SITES[1])
    lists.add(file)
    lists.add(other)
    write(file, SITES[2])
    assert settle(lists)
    assert blocked(store) == set(SITES)
    lists.remove(other)
    assert blocked(store) == {SITES[2], SITES[3]}


class FullStore:
    """The real store on a disk that is full now and then."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.full = False

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def save_list(self, row: ListRow) -> None:
        self._refuse()
        self._store.save_list(row)

    def replace_list_rules(self, list_name: str, rows: list[RuleRow], *, row: ListRow | None = None) -> None:
        self._refuse()
        self._store.replace_list_rules(list_name, rows, row=row)

    def _refuse(self) -> None:
        if self.full:
            raise StoreFull("no space left")


def test_a_full_disk_is_tried_again_later(store: Store, file: Path, clock: Clock) -> None:
    full = FullStore(store)
    lists = Blocklists(full, now_s=clock)  # type: ignore[arg-type]
    lists.add(file)
    full.full = True
    write(file, SITES[1])
    assert not settle(lists)
    assert "no space" in (only(lists).error or "")
    full.full = False
    assert not settle(lists)  # not at every look: reading a long list costs
    clock.now_s += 60
    assert lists.poll()
    assert (blocked(store), only(lists).error) == ({SITES[1]}, None)


async def test_watch_tells_of_changes(store: Store, lists: Blocklists, file: Path) -> None:
    lists.add(file)
    changes, changed = trio.open_memory_channel[set[SiteId]](10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lists.watch, lambda: changes.send_nowait(blocked(store)))
        with trio.fail_after(10):
            rename_over(file, SITES[1])
            assert await changed.receive() == {SITES[1]}
            write(file, SITES[2])
            assert await changed.receive() == {SITES[2]}
        nursery.cancel_scope.cancel()
