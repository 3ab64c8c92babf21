"""A hosted site's refusal from the notice to its end, by a clock of the test's own, with restarts in between."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.casework.book import ReportBook
from node.casework.desk import Desk
from node.casework.model import BadReport, Report
from node.notices.book import Measure
from node.notices.office import EndsTooSoon, Terms
from node.store.errors import StoreFailed
from node.store.port import Origin, RuleRow
from protocol.notice import Appeal, Notice, SignedAppeal, SignedNotice, sign_appeal
from protocol.site_id import SiteId
from tests.unit.notices.test_office import World
from tests.unit.replication.kit import TreeSite

NOTICE_S, EXPORT_S = 1000, 5000
BEGAN_S = 1_000_000


class Hosting:
    """A node that hosts a site, and its desk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.site = TreeSite({"index.html": b"home"}, key=Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))))
        self.id = self.site.signed.site
        self.target = f"/ipns/{self.id}"
        self._open(BEGAN_S)
        hold = self.world.store.begin_hold(self.site.signed)
        self.world.store.put_blocks(hold, list(self.site.blocks.items()))
        self.world.store.finish_hold(hold, origin=Origin.PUBLISHED)

    def _open(self, now_s: float) -> None:
        self.world = World(self.folder, Terms(NOTICE_S, EXPORT_S, "op@example.org"))
        self.world.now_s = now_s
        self.book = ReportBook(self.folder / "reports.db", now_s=lambda: int(self.world.now_s))
        self.desk = Desk(self.book, self.world.office, self.world.log)

    def close(self) -> None:
        self.book.close()
        self.world.close()

    async def restart(self, *, after_s: float = 0) -> None:
        """Off for so long; what is due is done before anybody is answered."""
        now_s = self.world.now_s
        self.close()
        self._open(now_s + after_s)
        await self.world.office.settle()

    async def refuse(self, *, now: bool = False, ground: str = "policy", **more: object) -> Measure:
        measure = Measure(self.target, "quarantine", ground, "too loud", 0, **more)  # type: ignore[arg-type]
        return (await self.world.office.refuse([measure], now=now)).measures[0]

    def served(self) -> bool:
        return self.world.policies.gate.may_serve_peers(self.site.signed).allowed

    @property
    def notices(self) -> list[Notice]:
        """The newest first."""
        return [SignedNotice.decode(raw).notice for raw in self.world.book.of_site(self.id)]

    def appeal(self, number: int, text: str = "why?", *, node: SiteId | None = None) -> SignedAppeal:
        appeal = Appeal(node or self.world.office.node, self.id, number, text, "", int(self.world.now_s))
        return sign_appeal(appeal, self.site.key)


@pytest.fixture
def hosting(tmp_path: Path) -> Iterator[Hosting]:
    found = Hosting(tmp_path)
    yield found
    found.close()


@pytest.mark.parametrize("restarts", [False, True])
async def test_the_period_is_kept_to_the_second_over_restarts(hosting: Hosting, restarts: bool) -> None:
    measure = await hosting.refuse()
    assert measure.effective_s == BEGAN_S + NOTICE_S
    (notice,) = hosting.notices
    assert (notice.kind, notice.reason, notice.contact) == ("refusal", "too loud", "op@example.org")
    assert (notice.effective_s, notice.keep_until_s) == (BEGAN_S + NOTICE_S, BEGAN_S + NOTICE_S + EXPORT_S)
    hosting.world.now_s = BEGAN_S + NOTICE_S - 1
    if restarts:
        await hosting.restart()
    assert await hosting.world.office.settle() == 1
    assert hosting.served()
    hosting.world.now_s += 1
    if restarts:
        await hosting.restart()
    else:
        await hosting.world.office.settle()
    assert not hosting.served()
    assert len(hosting.notices) == 1, "what was told is not told again"


async def test_a_deadline_that_passed_while_the_node_was_off_holds_at_its_start(hosting: Hosting) -> None:
    await hosting.refuse()
    await hosting.restart(after_s=10 * NOTICE_S)
    assert not hosting.served()
    assert [notice.effective_s for notice in hosting.notices] == [BEGAN_S + NOTICE_S]


async def test_asking_again_does_not_make_the_period_longer(hosting: Hosting) -> None:
    await hosting.refuse()
    hosting.world.now_s += NOTICE_S / 2
    assert (await hosting.refuse()).effective_s == BEGAN_S + NOTICE_S
    assert (await hosting.refuse(now=True)).effective_s == BEGAN_S + NOTICE_S / 2
    assert not hosting.served()


@pytest.mark.parametrize(("now", "ground"), [(True, "policy"), (False, "legal")])
async def test_now_and_the_law_do_not_wait(hosting: Hosting, now: bool, ground: str) -> None:
    assert (await hosting.refuse(now=now, ground=ground)).effective_s == BEGAN_S
    assert not hosting.served()
    assert hosting.notices[0].ground == ground


async def test_a_rule_does_not_end_before_it_begins(hosting: Hosting) -> None:
    with pytest.raises(EndsTooSoon):
        await hosting.refuse(until_s=BEGAN_S + NOTICE_S)
    assert hosting.served()
    assert hosting.notices == []
    await hosting.refuse(until_s=BEGAN_S + NOTICE_S + 10)
    await hosting.restart(after_s=NOTICE_S)
    assert not hosting.served()
    await hosting.restart(after_s=10)
    assert hosting.served()
    assert [notice.kind for notice in hosting.notices] == ["lifted", "refusal"]


@pytest.mark.parametrize("in_force", [False, True])
async def test_undone_before_or_after_it_holds(hosting: Hosting, in_force: bool) -> None:
    await hosting.refuse(now=in_force)
    assert hosting.served() is not in_force
    assert await hosting.world.office.take_back(hosting.target, "a mistake") is not None
    await hosting.restart(after_s=2 * NOTICE_S)
    assert hosting.served()
    lifted, refusal = hosting.notices
    assert (lifted.kind, lifted.reason, lifted.refers) == ("lifted", "a mistake", refusal.number)
    assert hosting.world.office.standing == {}


async def test_a_secret_is_in_no_notice(hosting: Hosting) -> None:
    await hosting.refuse(ground="legal", secret=True, note="private words")
    (notice,) = hosting.notices
    assert (notice.reason, notice.rule, notice.entry) == ("", "", None)
    await hosting.world.office.take_back(hosting.target)
    assert (hosting.notices[0].kind, hosting.notices[0].entry) == ("lifted", None)


async def test_an_appeal_is_taken_once_and_for_the_notice_that_holds(hosting: Hosting) -> None:
    with pytest.raises(BadReport, match="not the one that holds"):
        await hosting.desk.appeal(hosting.appeal(1))
    await hosting.refuse()
    number = hosting.notices[0].number
    with pytest.raises(BadReport, match="another node"):
        await hosting.desk.appeal(hosting.appeal(number, node=hosting.id))
    for _ in range(2):
        await hosting.desk.appeal(hosting.appeal(number))
    (case,) = hosting.book.cases()
    assert (case.kind, case.subject, case.count) == ("appeal", hosting.target, 1)
    for more in range(4):
        await hosting.desk.appeal(hosting.appeal(number, f"and {more}"))
    with pytest.raises(BadReport, match="appealed 5 times"):
        await hosting.desk.appeal(hosting.appeal(number, "once more"))


@pytest.mark.parametrize("verdict", ["uphold", "lift"])
async def test_an_appeal_is_answered_by_a_notice_that_outlives_a_restart(hosting: Hosting, verdict: str) -> None:
    await hosting.refuse(now=True)
    refusal = hosting.notices[0]
    await hosting.desk.appeal(hosting.appeal(refusal.number))
    await hosting.restart()
    (case,) = hosting.book.cases()
    await hosting.desk.decide(str(case.id), verdict=verdict, reason="heard", note="", secret=False)
    await hosting.restart()
    answer = hosting.notices[0]
    assert (answer.kind, answer.reason) == ("upheld" if verdict == "uphold" else "lifted", "heard")
    assert answer.refers == refusal.number
    assert hosting.served() is (verdict == "lift")
    assert hosting.book.cases() == []
    with pytest.raises(BadReport, match="not the one that holds"):
        await hosting.desk.appeal(hosting.appeal(refusal.number, "again"))


async def test_many_rules_on_one_site_each_give_their_time(hosting: Hosting) -> None:
    """The rules that end a hosted site wait; those beside them do not: whatever else is decided at once."""
    stranger = Measure(f"/ipns/{SiteId.of(Ed25519PrivateKey.generate())}", "quarantine", "policy", "x", 0)
    root = Measure(f"/ipfs/{hosting.site.signed.release.root}", "quarantine", "policy", "x", 0)
    domain = Measure("/ipns/nobody.example", "quarantine", "policy", "x", 0)
    done = await hosting.world.office.refuse([stranger, root, domain], now=False)
    assert [each.effective_s - BEGAN_S for each in done.measures] == [0, NOTICE_S, 0]
    assert [each.in_force for each in done.measures] == [True, False, True]


async def test_a_decision_says_how_many_of_its_rules_wait(hosting: Hosting) -> None:
    elsewhere = f"/ipns/{SiteId.of(Ed25519PrivateKey.generate())}"
    hosting.book.add([Report(subject, subject, "spam", "why") for subject in (hosting.target, elsewhere)])
    done = await hosting.desk.decide("1-2", verdict="refuse", reason="spam", note="", secret=False)
    assert (done["rules"], done["waiting"]) == (2, 1)
    assert hosting.served()
    hosting.book.add([Report(hosting.target, hosting.target, "malware", "why")])
    done = await hosting.desk.decide("3", verdict="refuse", reason="spam", note="", secret=False)
    assert (done["rules"], done["waiting"]) == (1, 0)
    assert not hosting.served()


async def test_many_cases_are_refused_in_one_write_or_not_at_all(
    hosting: Hosting, monkeypatch: pytest.MonkeyPatch
) -> None:
    subjects = [f"/ipns/{SiteId.of(Ed25519PrivateKey.generate())}" for _ in range(20)]
    hosting.book.add([Report(subject, subject, "spam", "why") for subject in subjects])
    store, log = hosting.world.store, hosting.world.log
    version = store.rules_version()
    add_rules = store.add_rules

    def failing(rows: Sequence[RuleRow]) -> None:
        with pytest.raises(AttributeError):
            add_rules([*rows[:10], None])  # type: ignore[list-item]
        raise StoreFailed("pulled out")

    with monkeypatch.context() as broken:
        broken.setattr(store, "add_rules", failing)
        with pytest.raises(StoreFailed):
            await hosting.desk.decide("1-20", verdict="refuse", reason="spam", note="", secret=False, now=True)
    assert (store.rules(), store.rules_version(), log.reader.size()) == ([], version, 0)
    assert len(hosting.book.cases()) == 20, "they wait for a decision still"
    done = await hosting.desk.decide("1-20", verdict="refuse", reason="spam", note="", secret=False, now=True)
    assert done["rules"] == len(store.rules()) == 20
    assert store.rules_version() == version + 1
    entries = log.reader.entries(0, log.reader.size())
    assert Counter(each.entry.act for each in entries) == {"rule-added": 20, "report-decided": 20}
