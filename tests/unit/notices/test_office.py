"""What the office puts in force when, by a clock of the test's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from config import Config
from node.decisions.log import DecisionLog
from node.notices.book import Measure, NoticeBook
from node.notices.office import NoticeOffice, Terms
from node.policy_loader import PolicyLoader
from node.store.disk import open_store
from protocol.notice import SignedNotice
from protocol.site_id import SiteId
from tests.vectors.make_records import first_release

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SIGNED = first_release()


class World:
    """A node with one site that it knows; what is asked of the network is noted."""

    def __init__(self, folder: Path, terms: Terms) -> None:
        self.now_s = 1_000_000.0
        self.dropped: list[SiteId] = []
        self.store = open_store(folder / "store", quota_bytes=2**30, cache_bytes=2**20)
        self.log = DecisionLog(folder / "decisions.db", KEY, now_s=lambda: int(self.now_s))
        self.policies = PolicyLoader(Config(data_dir=folder), self.store, self.log)
        self.book = NoticeBook(folder / "notices.db")
        self.office = NoticeOffice(
            self.book, self.store, self.policies, self.log, self, KEY, terms, now_s=lambda: self.now_s
        )

    async def drop(self, sites: list[SiteId]) -> int:
        self.dropped += sites
        return 7 * len(sites)

    def offer(self, site: SiteId) -> None:
        pass

    def close(self) -> None:
        self.book.close()
        self.log.close()
        self.store.close()


def measure(ground: str = "policy") -> Measure:
    return Measure(f"/ipns/{SIGNED.site}", "quarantine", ground, "spam", 0)


async def test_what_nobody_hosts_is_refused_at_once(tmp_path: Path) -> None:
    world = World(tmp_path, Terms(notice_s=60, export_s=60))
    done = await world.office.refuse([measure()], now=False)
    assert done.measures[0].effective_s == 1_000_000
    assert len(done.entries) == 1
    assert not world.policies.gate.may_serve_peers(SIGNED).allowed
    assert world.book.open() == []
    assert await world.office.take_back(measure().target) is not None
    assert await world.office.take_back(measure().target) is None
    world.close()


@pytest.mark.parametrize("restart", [False, True])
async def test_a_measure_comes_due_by_itself(tmp_path: Path, restart: bool) -> None:
    world = World(tmp_path, Terms())
    world.book.put([Measure(f"/ipns/{SIGNED.site}", "refuse", "policy", "spam", 1_000_010, 1_000_020, "mine")])
    assert await world.office.settle() == 10
    assert world.policies.gate.may_serve_peers(SIGNED).allowed
    if restart:
        world.close()
        world = World(tmp_path, Terms())
    world.now_s = 1_000_010
    assert await world.office.settle() == 10
    assert not world.policies.gate.may_serve_peers(SIGNED).allowed
    assert world.dropped == []
    world.now_s = 1_000_020
    await world.office.settle()
    await world.office.settle()
    assert world.dropped == [SIGNED.site], "once"
    assert world.log.note_of(0) == "mine"
    world.close()


def test_notices_are_kept_within_bounds(tmp_path: Path) -> None:

    from node.notices.book import KEPT_PER_SITE, Cause
    from protocol.notice import sign_notice
    from tests.vectors.make_notices import NODE_KEY, REFUSAL, SITE

    book = NoticeBook(tmp_path / "notices.db")
    cause = Cause("quarantine", "policy", "spam", "rule", None, 5)
    for number in range(1, 30):
        assert book.next_number() == number
        book.add([(sign_notice(replace(REFUSAL, number=number), NODE_KEY), cause if number < 29 else None)])
        assert (SITE in book.standing()) == (number < 29)
    kept = [SignedNotice.decode(raw).notice.number for raw in book.of_site(SITE, 100)]
    assert kept == list(range(29, 29 - KEPT_PER_SITE, -1))
    assert (tmp_path / "notices.db").stat().st_mode & 0o777 == 0o600
    book.close()


async def test_the_note_of_a_rule_that_changed_nothing_is_not_that_of_a_later_one(tmp_path: Path) -> None:
    world = World(tmp_path, Terms())
    target = measure().target
    await world.office.refuse([measure()], now=True)
    await world.office.refuse([replace(measure(), note="mine", secret=True)], now=True)  # the log has it already
    await world.office.take_back(target)
    await world.office.refuse([replace(measure(), reason="malware")], now=True)
    entries = world.log.reader.entries(0, world.log.reader.size())
    assert [(each.entry.act, each.withheld) for each in entries] == [
        ("rule-added", False),
        ("rule-removed", False),
        ("rule-added", False),
    ]
    assert [world.log.note_of(number) for number in range(3)] == ["", "", ""]
    world.close()
