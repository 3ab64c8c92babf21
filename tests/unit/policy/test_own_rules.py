"""The operator's own rules over time: allowing ones, and those that end by themselves."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from cli.until import read_until
from node.notices.book import Measure, NoticeBook
from node.notices.office import EndsTooSoon, Terms
from node.policy.active import ActiveList
from node.policy.decide import Policy
from node.policy.model import Act, Subject
from node.policy.rules import rule_of
from node.store.port import RuleRow
from protocol.deny_index import DenyIndex, build
from protocol.site_id import SiteId
from tests.unit.notices.test_office import SIGNED, World, measure

SITE = SIGNED.site
NOW_S = 1_800_000_000


async def test_a_rule_ends_by_itself_and_the_log_says_so(tmp_path: Path) -> None:
    world = World(tmp_path, Terms())
    await world.office.refuse([replace(measure(), until_s=1_000_060)], now=True)
    assert not world.policies.gate.may_serve_peers(SIGNED).allowed
    assert await world.office.settle() == 60
    world.now_s = 1_000_060
    await world.office.settle()
    assert world.policies.gate.may_serve_peers(SIGNED).allowed
    assert (world.book.measures(), world.store.rules()) == ([], [])
    assert [each.entry.act for each in world.log.reader.entries(0, 9)][-1] == "rule-removed"
    world.close()


async def test_what_was_cut_short_while_a_rule_ended_is_done_again(tmp_path: Path) -> None:
    world = World(tmp_path, Terms())
    await world.office.refuse([replace(measure(), until_s=1_000_060)], now=True)
    world.store.remove_rule(measure().target)  # and then the process died
    world.close()
    world = World(tmp_path, Terms())
    world.now_s = 1_000_061
    await world.office.settle()
    assert world.book.measures() == []
    assert world.policies.gate.may_serve_peers(SIGNED).allowed
    world.close()


async def test_a_rule_that_ends_before_it_begins_is_refused(tmp_path: Path) -> None:
    world = World(tmp_path, Terms())
    with pytest.raises(EndsTooSoon):
        await world.office.refuse([replace(measure(), until_s=1_000_000)], now=True)
    assert world.book.measures() == []
    world.close()


async def test_an_allowing_rule_takes_the_place_of_a_refusing_one(tmp_path: Path) -> None:
    world = World(tmp_path, Terms())
    await world.office.refuse([measure()], now=True)
    await world.office.refuse([Measure(f"/ipns/{SITE}", "allow", "policy", "a mistake of the list", 0)], now=False)
    assert world.policies.gate.may_serve_peers(SIGNED).allowed
    assert [row.verdict for row in world.store.rules()] == ["allow"]
    assert [each.entry.verdict for each in world.log.reader.entries(0, 9)] == ["quarantine", "allow"]
    world.close()


def test_a_book_of_the_layout_before_is_read(tmp_path: Path) -> None:
    path = tmp_path / "notices.db"
    NoticeBook(path).close()
    database = sqlite3.connect(path)
    database.executescript("ALTER TABLE measures DROP COLUMN until_s; PRAGMA user_version = 1")
    database.execute("INSERT INTO measures VALUES ('/ipns/x', 'refuse', 'policy', '', 5, NULL, '', 0, 1, 0)")
    database.commit()
    database.close()
    for _ in range(2):
        book = NoticeBook(path)
        assert book.measures() == [Measure("/ipns/x", "refuse", "policy", "", 5, in_force=True)]
        book.close()


def listed(*lines: str) -> ActiveList:
    raw = "\n".join(lines).encode() + b"\n"
    return ActiveList("list", "enforce", DenyIndex(build(raw, now_s=5).table, raw))


def test_who_asks_why_something_is_allowed_is_told_the_rule() -> None:
    subject = Subject(SITE)
    own = rule_of(RuleRow(f"/ipns/{SITE}", "allow", "policy", "we know them", 7))
    policy = Policy([own], lists=[listed(f"/ipns/{SITE}")])
    assert policy.decide(Act.HTTP_SERVE, subject).allowed
    why = policy.why_allowed(subject)
    assert (why.kind, why.rule, why.reason, why.since_s) == ("allow", f"/ipns/{SITE}", "we know them", 7)
    why = Policy(lists=[listed(f"/ipns/{SITE}", f"!/ipns/{SITE}")]).why_allowed(subject)
    assert (why.kind, why.rule, why.list_name) == ("allow", f"!/ipns/{SITE}", "list")
    assert Policy().why_allowed(Subject(SiteId(bytes(32)))).rule is None


@pytest.mark.parametrize(
    ("text", "until_s"),
    [
        ("30m", NOW_S + 1800),
        ("12h", NOW_S + 43_200),
        ("30d", NOW_S + 2_592_000),
        ("2w", NOW_S + 1_209_600),
        ("2027-01-31", 1_801_440_000),
        ("0d", None),
        ("d", None),
        ("2027-02-30", None),
        ("99999999999999d", None),
        ("1.5h", None),
        ("", None),
    ],
)
def test_when_a_rule_ends(text: str, until_s: int | None) -> None:
    assert read_until(text, NOW_S) == until_s
