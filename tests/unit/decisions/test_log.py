"""The writer and the published side of the decision log."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.decisions.files import LogFailed
from node.decisions.log import DecisionLog, Draft, ListState, Remark
from node.decisions.reader import LogReader, NoSuchEntry
from node.store.port import RuleRow
from protocol import merkle
from protocol.decision import Entry, SignedLogHead
from protocol.errors import BadSignature, DecodeError
from protocol.site_id import SiteId

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SITE = SiteId.of(Ed25519PrivateKey.from_private_bytes(bytes(32)))
A, B = f"/ipns/{SITE}", "/ipfs/bafkreibwmayvvgxt34sv3dyzvmdx4r4xqivucsekbyvajpdk64jbhqrsoq"


def rule(target: str = A, reason: str = "phishing", ground: str = "policy", list_name: str | None = None) -> RuleRow:
    return RuleRow(target, "quarantine", ground, reason, 5, list_name)


def open_log(folder: Path) -> DecisionLog:
    return DecisionLog(folder / "decisions.db", KEY, now_s=lambda: 1000)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[DecisionLog]:
    opened = open_log(tmp_path)
    yield opened
    opened.close()


def acts(log: DecisionLog) -> list[str]:
    return [found.entry.act for found in log.reader.entries(0, 200)]


def check(reader: LogReader) -> None:
    """The head is signed and is the root over the entries."""
    head = reader.head().head
    frontier = merkle.Frontier()
    for found in reader.entries(0, head.size):
        frontier.append(merkle.leaf_hash(found.raw))
    assert (frontier.size, frontier.root(), head.key) == (head.size, head.root, SiteId.of(KEY))


def test_a_new_log_is_empty_signed_and_private(log: DecisionLog, tmp_path: Path) -> None:
    assert log.reader.head().head.size == 0
    check(log.reader)
    assert stat.S_IMODE((tmp_path / "decisions.db").stat().st_mode) == 0o600


def test_each_change_is_one_entry_and_no_change_is_none(log: DecisionLog) -> None:
    assert log.settle([rule()], [], []) == [0]
    assert log.settle([rule()], [], []) == []
    assert log.settle([rule(reason="worse"), rule(B)], [], [SITE]) == [1, 2, 3]
    assert log.settle([rule(B)], [], []) == [4, 5]
    assert acts(log) == ["rule-added", "rule-added", "rule-added", "site-followed", "rule-removed", "site-unfollowed"]
    found = log.reader.entries(0, 6)
    assert [published.entry.refers for published in found] == [None, 0, None, None, 1, 3]
    assert found[1].opened["reason"][1] == "worse"
    check(log.reader)


def test_what_is_published_opens_what_is_hashed(log: DecisionLog) -> None:
    log.remark({A: Remark(note="Anna called")})
    log.settle([rule()], [], [])
    (found,) = log.reader.entries(0, 9)
    assert set(found.opened) == {"target", "reason"}
    assert all(found.entry.opens(name, *found.opened[name]) for name in ("target", "reason"))
    assert not found.entry.opens("target", found.opened["target"][0], B)
    assert [name for name, _ in found.entry.sealed] == ["note", "reason", "target"]
    assert b"Anna" not in found.raw
    assert A.encode() not in found.raw
    assert log.note_of(0) == "Anna called"


def test_a_withheld_entry_gives_no_texts_and_stays_in_the_tree(log: DecisionLog) -> None:
    log.remark({B: Remark(withheld=True)})
    log.settle([rule(), rule(B)], [], [])
    head = log.reader.head()
    assert (log.reader.number_for(A, None), log.reader.number_for(B, None)) == (0, None)
    log.withhold(0)
    assert [found.opened for found in log.reader.entries(0, 2)] == [{}, {}]
    assert log.reader.head() == head
    log.settle([], [], [])
    assert all(found.withheld and not found.opened for found in log.reader.entries(0, 9))
    check(log.reader)
    with pytest.raises(NoSuchEntry):
        log.withhold(99)


def test_a_list_is_one_entry_a_version(log: DecisionLog) -> None:
    first, second = ListState("/l", b"\x01" * 32, 2), ListState("/l", b"\x02" * 32, 1)
    log.settle([], [first], [])
    assert acts(log) == ["list-added", "list-applied"]
    log.settle([], [first], [])
    assert len(acts(log)) == 2
    log.settle([], [second], [])
    log.settle([], [], [])
    assert acts(log)[2:] == ["list-applied", "list-removed"]
    counts = [found.entry.list_rules for found in log.reader.entries(0, 9)]
    assert counts == [None, 2, 1, None]
    assert log.reader.number_for(A, "/l") is None


def test_it_goes_on_after_a_restart_and_catches_up(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    log.settle([rule()], [], [])
    log.close()
    again = open_log(tmp_path)  # rule B was made, and the process died before it was logged
    assert again.settle([rule(), rule(B)], [], []) == [1]
    assert again.reader.number_for(B, None) == 1
    check(again.reader)
    again.close()


def test_a_crash_does_not_give_away_what_is_secret(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    log.remark({A: Remark("order 12/3", withheld=True)})
    log.close()
    again = open_log(tmp_path)  # the rule was made, and the process died before it was logged
    again.settle([rule()], [], [])
    (found,) = again.reader.entries(0, 9)
    assert (found.withheld, found.opened, again.note_of(0)) == (True, {}, "order 12/3")
    again.settle([], [], [])
    again.settle([rule()], [], [])  # another rule on the same target, later and with nothing to hide
    assert [found.withheld for found in again.reader.entries(0, 9)] == [True, True, False]
    again.close()


def test_readers_in_other_connections_see_it_and_prove_it(log: DecisionLog, tmp_path: Path) -> None:
    log.append([Draft("site-dropped", f"{A}{number}") for number in range(300)])
    reader = LogReader(tmp_path / "decisions.db")
    head = reader.head().head
    found = reader.entries(200, 300)
    path = reader.inclusion(250, 300)
    merkle.check_inclusion(merkle.leaf_hash(found[50].raw), 250, 300, path, head.root)
    before = merkle.root_of(123, reader.node)
    merkle.check_consistency(123, 300, before, head.root, reader.consistency(123, 300))
    assert len(reader.entries(0, 300)) == 256
    for wrong in (lambda: reader.inclusion(3, 301), lambda: reader.consistency(5, 301), lambda: reader.entries(2, 1)):
        with pytest.raises(NoSuchEntry):
            wrong()
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader._database.execute("DELETE FROM entries")
    reader.close()


def test_nothing_of_a_failed_write_stays(log: DecisionLog) -> None:
    log.settle([rule()], [], [])
    log._database.execute("CREATE TRIGGER full BEFORE INSERT ON nodes BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    with pytest.raises(LogFailed, match="disk full"):
        log.settle([rule(), rule(B)], [], [])
    assert acts(log) == ["rule-added"]
    log._database.execute("DROP TRIGGER full")
    assert log.settle([rule(), rule(B)], [], []) == [1]
    check(log.reader)


def test_a_damaged_file_is_not_signed_over(log: DecisionLog, tmp_path: Path) -> None:
    log.settle([rule()], [], [])
    log._database.execute("UPDATE nodes SET hash = zeroblob(32)")
    with pytest.raises(LogFailed, match="damaged"):
        open_log(tmp_path)


def test_heads_and_entries_of_others_are_judged(log: DecisionLog) -> None:
    log.settle([rule()], [], [])
    raw = log.reader.head().encode()
    assert SignedLogHead.decode(raw).encode() == raw
    with pytest.raises(BadSignature):
        SignedLogHead.decode(raw[:-1] + bytes([raw[-1] ^ 1]))
    (found,) = log.reader.entries(0, 1)
    assert Entry.decode(found.raw).encode() == found.raw
    for junk in (b"", b"\x80", raw, found.raw + b"\0", found.raw.replace(b"rule-added", b"rule-adxed")):
        with pytest.raises(DecodeError):
            Entry.decode(junk)
    for junk in (b"", b"\x93\x01\xc4\x00\xc4\x00", found.raw):
        with pytest.raises(DecodeError):
            SignedLogHead.decode(junk)
