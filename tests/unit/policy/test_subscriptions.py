"""Lists in files on a real disk, over the in-memory twin of the store."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from node.policy.decide import Policy
from node.policy.list_files import ListFiles, ListsDamaged
from node.policy.list_sources import FILE_MAX_BYTES, BlocklistError
from node.policy.list_status import ListStatus
from node.policy.model import Act, Subject
from node.policy.rules import rules_of
from node.policy.subscriptions import LISTS_MAX, PROBLEMS_MAX, Subscriptions
from node.store.errors import StoreFull
from node.store.memory import MemoryStore
from node.store.port import ListRow, RuleRow, Store
from protocol.site_id import SiteId
from tests.unit.policy.looking import poll

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
def lists(store: Store, clock: Clock, folder: Path) -> Subscriptions:
    return Subscriptions(store, folder, now_s=clock)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "lists"


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


def blocked(store: Store, lists: Subscriptions) -> set[SiteId]:
    """As another process sees it."""
    policy = Policy(rules_of(store.rules()), lists=ListFiles(lists.files.folder).active())
    return {site for site in SITES if not policy.decide(Act.HTTP_SERVE, Subject(site=site)).allowed}


def settle(lists: Subscriptions) -> bool:
    """Two looks; True when rules changed in either."""
    return any([poll(lists), poll(lists)])


def only(lists: Subscriptions) -> ListStatus:
    (status,) = lists.show()
    return status


def test_add_reads_the_list_and_says_what_it_holds(store: Store, lists: Subscriptions, file: Path) -> None:
    status = lists.add(file)
    assert (status.path, status.rule_count, status.read_s, status.error) == (str(file), 1, 1000, None)
    assert blocked(store, lists) == {SITES[0]}
    verdict = Policy(lists=lists.files.active()).decide(Act.STORE, Subject(site=SITES[0]))
    assert (verdict.kind, verdict.ground, verdict.list_name) == ("quarantine", "policy", str(file))
    assert (verdict.since_s, verdict.rule) == (1000, f"/ipns/{SITES[0]}")
    assert poll(lists) is False


def test_a_list_that_is_replaced_by_rename(store: Store, lists: Subscriptions, file: Path) -> None:
    lists.add(file)
    rename_over(file, SITES[1])
    assert settle(lists)
    assert blocked(store, lists) == {SITES[1]}


def test_a_list_that_is_written_in_place_counts_once_it_settled(store: Store, lists: Subscriptions, file: Path) -> None:
    lists.add(file)
    file.write_text("")
    assert poll(lists) is False
    assert blocked(store, lists) == {SITES[0]}  # the rewrite may be half done
    write(file, SITES[1], SITES[2])
    assert poll(lists) is False
    assert blocked(store, lists) == {SITES[0]}
    assert poll(lists) is True
    assert blocked(store, lists) == {SITES[1], SITES[2]}


def test_an_edit_that_keeps_size_and_mtime_is_seen(store: Store, lists: Subscriptions, file: Path) -> None:
    # Both names are equally long; mtime goes back, as `cp -p` and some editors do.
    lists.add(file)
    before = file.stat()
    assert len(text_of(SITES[0])) == len(text_of(SITES[1]))
    write(file, SITES[1])
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert settle(lists)
    assert blocked(store, lists) == {SITES[1]}


def test_an_emptied_list_has_no_rules(store: Store, lists: Subscriptions, file: Path) -> None:
    lists.add(file)
    file.write_text("# nothing any more\n")
    assert settle(lists)
    assert blocked(store, lists) == set()
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
    store: Store, lists: Subscriptions, file: Path, spoil: Callable[[Path], None]
) -> None:
    lists.add(file)
    spoil(file)
    assert not settle(lists)
    assert blocked(store, lists) == {SITES[0]}
    status = only(lists)
    assert status.rule_count == 1
    assert status.error
    assert lists.files.catalog()[0].error == status.error
    # and holds when it is good again, even with what was there before
    if file.is_dir():
        file.rmdir()
    else:
        file.unlink(missing_ok=True)
    write(file, SITES[0], SITES[3])
    assert settle(lists)
    assert only(lists).error is None
    assert lists.files.catalog()[0].error is None
    assert blocked(store, lists) == {SITES[0], SITES[3]}


def test_rules_and_errors_survive_a_restart(
    store: Store, lists: Subscriptions, file: Path, clock: Clock, folder: Path
) -> None:
    lists.add(file)
    file.unlink()
    again = Subscriptions(store, folder, now_s=clock)
    assert only(again).rule_count == 1
    assert poll(again) is False
    assert blocked(store, lists) == {SITES[0]}
    assert "No such file" in (only(again).error or "")


def test_what_changed_while_the_node_was_off_is_read_at_the_first_look(
    store: Store, lists: Subscriptions, file: Path, clock: Clock, folder: Path
) -> None:
    lists.add(file)
    write(file, SITES[2])
    assert poll(Subscriptions(store, folder, now_s=clock)) is True
    assert blocked(store, lists) == {SITES[2]}


def test_a_rule_that_stays_keeps_its_date(store: Store, lists: Subscriptions, file: Path, clock: Clock) -> None:
    lists.add(file)
    clock.now_s = 2000
    write(file, SITES[0], SITES[1])
    assert settle(lists)
    policy = Policy(lists=lists.files.active())
    assert [policy.decide(Act.FETCH, Subject(site=site)).since_s for site in SITES[:2]] == [1000, 2000]
    assert only(lists).read_s == 2000


def test_lines_with_problems_are_reported_and_the_others_hold(store: Store, lists: Subscriptions, file: Path) -> None:
    bad = "not a rule\n" * (PROBLEMS_MAX + 5)
    file.write_text(f"{text_of(SITES[0])}/ipns/..\n{text_of(SITES[2])}{bad}")
    status = lists.add(file)
    assert blocked(store, lists) == {SITES[0], SITES[2]}
    assert status.rule_count == 2
    assert status.problems[0][0] == 2
    assert "neither a key" in status.problems[0][1]
    assert len(status.problems) == PROBLEMS_MAX
    assert status.problem_count == PROBLEMS_MAX + 6
    assert status.as_json()["problems"][0] == {"line": 2, "message": status.problems[0][1]}  # type: ignore[index]


def test_what_cannot_be_a_list_is_not_added(store: Store, lists: Subscriptions, tmp_path: Path) -> None:
    garbled = tmp_path / "garbled"
    garble(garbled)
    for path in (tmp_path / "missing", tmp_path, garbled, Path("relative.deny"), Path("/dev/null"), Path("/dev/zero")):
        with pytest.raises(BlocklistError):
            lists.add(path)
    assert lists.show() == []
    assert lists.files.catalog() == []


def test_the_number_of_lists_is_bounded(lists: Subscriptions, tmp_path: Path) -> None:
    for number in range(LISTS_MAX):
        path = tmp_path / f"{number}.deny"
        path.write_text("")
        lists.add(path)
    lists.add(path)  # again is no further one
    (tmp_path / "more.deny").write_text("")
    with pytest.raises(BlocklistError, match="already"):
        lists.add(tmp_path / "more.deny")


def test_the_number_of_rules_is_bounded_over_all_lists(
    store: Store, lists: Subscriptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.policy.list_weighing.RULES_MAX", 3)
    write(tmp_path / "a", *SITES[:2])
    write(tmp_path / "b", SITES[2])
    lists.add(tmp_path / "a")
    lists.add(tmp_path / "b")
    write(tmp_path / "b", SITES[2], SITES[3])
    assert not settle(lists)
    assert blocked(store, lists) == set(SITES[:3])
    assert "limit" in (lists.show()[1].error or "")


def test_remove_takes_the_rules_away(store: Store, lists: Subscriptions, file: Path) -> None:
    lists.add(file)
    assert lists.remove(file) is True
    assert lists.remove(file) is False
    assert (blocked(store, lists), lists.show(), lists.files.catalog()) == (set(), [], [])


def test_lists_do_not_touch_each_other_or_the_operators_rules(
    store: Store, lists: Subscriptions, file: Path, tmp_path: Path
) -> None:
    store.add_rules([RuleRow(f"/ipns/{SITES[3]}", "refuse", "legal", "mine", 1)])
    other = tmp_path / "other.deny"
    write(other, SITES[0], SITES[1])
    lists.add(file)
    lists.add(other)
    write(file, SITES[2])
    assert settle(lists)
    assert blocked(store, lists) == set(SITES)
    lists.remove(other)
    assert blocked(store, lists) == {SITES[2], SITES[3]}


def test_a_full_disk_is_tried_again_later(
    store: Store, lists: Subscriptions, file: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists.add(file)
    write(file, SITES[1])

    def full(*_: object) -> None:
        raise StoreFull("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(lists.files, "save_catalog", full)
        assert not settle(lists)
        assert "no space" in (only(lists).error or "")
    assert blocked(store, lists) == {SITES[0]}
    assert not settle(lists)  # not at every look: reading a long list costs
    clock.now_s += 60
    assert poll(lists)
    assert (blocked(store, lists), only(lists).error) == ({SITES[1]}, None)


async def test_watch_tells_of_changes(store: Store, lists: Subscriptions, file: Path) -> None:
    lists.add(file)
    changes, changed = trio.open_memory_channel[set[SiteId]](10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lists.watch, lambda: changes.send_nowait(blocked(store, lists)))
        with trio.fail_after(10):
            rename_over(file, SITES[1])
            assert await changed.receive() == {SITES[1]}
            write(file, SITES[2])
            assert await changed.receive() == {SITES[2]}
        nursery.cancel_scope.cancel()


def test_allow_lines_and_overruled_lines(store: Store, lists: Subscriptions, file: Path) -> None:
    file.write_text(f"{text_of(*SITES)}!/ipns/{SITES[3]}\n")
    lists.add(file)
    assert blocked(store, lists) == set(SITES[:3])
    lists.overrule(str(file), f"/ipns/{SITES[0]}")
    assert blocked(store, lists) == set(SITES[1:3])
    with file.open("a") as opened:
        opened.write("# more\n")
    assert settle(lists)
    assert blocked(store, lists) == set(SITES[1:3])  # the entry did not change
    file.write_text(f"/ipns/{SITES[0]} reason:worse\n")
    assert settle(lists)
    assert blocked(store, lists) == {SITES[0]}


def test_modes(store: Store, lists: Subscriptions, file: Path) -> None:
    write(file, *SITES[:2])
    lists.add(file, mode="review", name="court")
    assert blocked(store, lists) == set()
    lists.accept("court", f"/ipns/{SITES[1]}")
    assert blocked(store, lists) == {SITES[1]}
    lists.set_mode("court", "observe")
    assert blocked(store, lists) == set()
    lists.set_mode("court", "enforce")
    assert blocked(store, lists) == set(SITES[:2])
    with pytest.raises(KeyError):
        lists.set_mode("another", "observe")


def test_rows_of_an_earlier_version_are_taken_over(store: Store, clock: Clock, folder: Path, tmp_path: Path) -> None:
    name = str(tmp_path / "gone.deny")
    store.save_list(ListRow(name, name, read_s=5))
    store.replace_list_rules(name, [RuleRow(f"/ipns/{SITES[0]}", "quarantine", "policy", "a b", 3, name)])
    lists = Subscriptions(store, folder, now_s=clock)
    assert (blocked(store, lists), store.lists(), store.rules()) == ({SITES[0]}, [], [])


def test_a_catalog_that_is_damaged_is_an_error_and_not_an_empty_one(lists: Subscriptions, file: Path) -> None:
    lists.add(file)
    (lists.files.folder / "catalog.json").write_text("{")
    with pytest.raises(ListsDamaged):
        ListFiles(lists.files.folder).active()


def test_files_of_old_versions_are_let_go(lists: Subscriptions, file: Path, folder: Path) -> None:
    """A file that is mapped keeps its room on disk, though its name is gone."""
    for number in range(5):
        file.write_text(f"/ipns/{number}.example\n")
        lists.add(file)
        assert lists.rules(str(file), 0, 9)[0] == [(f"/ipns/{number}.example", "")]
    mapped = [line for line in Path("/proc/self/maps").read_text().splitlines() if f"{folder}/" in line]
    assert [line for line in mapped if line.endswith("(deleted)")] == []


def test_a_source_that_is_as_before_again_leaves_nothing_waiting(
    lists: Subscriptions, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists.add(file)
    before = file.read_text()
    with monkeypatch.context() as patched:
        patched.setattr("node.policy.subscriptions.why_wait", lambda *_: "it hits too much")
        write(file, SITES[1])
        assert not settle(lists)
    assert only(lists).pending == "it hits too much"
    file.write_text(before)
    assert not settle(lists)
    assert (only(lists).pending, only(lists).error) == (None, None)
