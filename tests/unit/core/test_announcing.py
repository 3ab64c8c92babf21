"""When sites are announced: spread, kept over restarts, made up for, checked."""

from __future__ import annotations

import itertools

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.core import effects as fx
from node.core.agenda import Agenda
from node.core.announcing import (
    ANNOUNCE_S,
    AT_ONCE,
    CALL_MAX_S,
    CHECK_S,
    PAUSE_FIRST_S,
    RELEASE_SPREAD_S,
    RELEASE_WAIT_S,
    START_GAP_S,
    Announcing,
)
from protocol.site_id import SiteId

SOON_S = RELEASE_WAIT_S + RELEASE_SPREAD_S
WALL_S = 1_800_000_000.0
SITES = [SiteId.of(Ed25519PrivateKey.from_private_bytes(number.to_bytes(32, "big"))) for number in range(1, 201)]


class Clock:
    """An `Announcing` whose every effect is answered at once: `took` nodes take each record, `seen` still have it."""

    def __init__(self, *, start_s: float = 50.0, wall_s: float = WALL_S, through_s: float = WALL_S) -> None:
        self.now_s = start_s
        self.took: int | None = 20
        self.seen: int | None = 20
        self.done: list[tuple[float, fx.Effect]] = []
        self.announcing = Announcing(b"a node")
        self.announcing.restore(start_s, wall_s, through_s, SITES)

    def run(self, seconds: float, step_s: float = 30.0) -> list[tuple[float, fx.Effect]]:
        """What was asked for within the next `seconds`, with the seconds since the start of this run."""
        begin, began_s = len(self.done), self.now_s
        while self.now_s < began_s + seconds:
            self.now_s += step_s
            pending = self.announcing.due(self.now_s)
            assert len(pending) <= 1
            for effect in pending:
                self.done.append((self.now_s - began_s, effect))
                if isinstance(effect, fx.Announce):
                    self.announcing.announced(self.now_s, effect.site, self.took)
                elif isinstance(effect, fx.CheckAnnounced):
                    self.announcing.checked(self.now_s, effect.site, self.seen)
        return self.done[begin:]


def announced(done: list[tuple[float, fx.Effect]]) -> list[tuple[float, SiteId]]:
    return [(at_s, effect.site) for at_s, effect in done if isinstance(effect, fx.Announce)]


def test_every_site_once_a_period_evenly_spread() -> None:
    clock = Clock()
    done = announced(clock.run(ANNOUNCE_S))
    assert sorted(site for _, site in done) == sorted(SITES)
    for quarter in range(4):
        within = [at_s for at_s, _ in done if quarter <= at_s / ANNOUNCE_S * 4 < quarter + 1]
        assert 25 <= len(within) <= 80


def test_a_restart_moves_no_slot() -> None:
    whole = Clock()
    expected = {site: round(at_s, -2) for at_s, site in announced(whole.run(ANNOUNCE_S))}
    first = Clock()
    before = {site: round(at_s, -2) for at_s, site in announced(first.run(ANNOUNCE_S / 3))}
    wall_s = WALL_S + ANNOUNCE_S / 3
    second = Clock(start_s=9.0, wall_s=wall_s, through_s=first.announcing.through_wall_s(first.now_s))
    after = {site: at_s + ANNOUNCE_S / 3 for at_s, site in announced(second.run(ANNOUNCE_S * 2 / 3))}
    assert not before.keys() & after.keys()
    assert before.keys() | after.keys() == expected.keys()
    assert all(abs(expected[site] - at_s) <= 200 for site, at_s in (before | after).items())


def test_what_was_missed_while_away_is_made_up_for_a_few_at_a_time() -> None:
    clock = Clock(through_s=WALL_S - ANNOUNCE_S / 2)
    made_up = announced(clock.run(300, step_s=1.0))
    assert 60 <= len(made_up) <= 140
    assert min(later - earlier for (earlier, _), (later, _) in itertools.pairwise(made_up)) >= START_GAP_S
    unknown = Clock(through_s=0.0)
    assert unknown.announcing.report(unknown.now_s).waiting == len(SITES)
    assert len(announced(unknown.run(len(SITES) + 1, step_s=1.0))) >= len(SITES)
    assert unknown.announcing.report(unknown.now_s).waiting == 0


def test_a_dropped_record_is_noticed_and_put_again() -> None:
    clock = Clock()
    at_s, site = announced(clock.run(ANNOUNCE_S / 10))[0]
    clock.seen = 9
    clock.run(CHECK_S + 60)
    assert clock.announcing.report(clock.now_s).dropped >= 1
    times = [time_s for time_s, found in announced(clock.done) if found == site]
    assert len(times) == 2
    clock.seen = 20
    assert fx.CheckAnnounced(site) in [effect for _, effect in clock.run(CHECK_S + 60)]
    assert [found for _, found in announced(clock.done)].count(site) == 2
    assert at_s == times[0]


def test_with_nobody_to_take_a_record_it_waits_and_says_so() -> None:
    clock = Clock(through_s=0.0)
    clock.took = 0
    tried = announced(clock.run(ANNOUNCE_S / 10, step_s=1.0))
    assert len(tried) < 40
    report = clock.announcing.report(clock.now_s)
    assert (report.waiting, report.sites) == (len(SITES), len(SITES))
    assert report.late_s >= ANNOUNCE_S / 10 - 1
    assert clock.announcing.through_wall_s(clock.now_s) <= WALL_S
    clock.took = 20
    clock.announcing.met_a_peer(clock.now_s)
    clock.run(PAUSE_FIRST_S + len(SITES), step_s=1.0)
    assert clock.announcing.report(clock.now_s).waiting == 0


def test_a_refused_site_is_skipped_and_a_dropped_one_forgotten() -> None:
    clock = Clock(through_s=0.0)
    clock.took = None
    clock.run(len(SITES) + 1, step_s=1.0)
    assert clock.announcing.report(clock.now_s).waiting == 0
    for site in SITES:
        clock.announcing.left(site)
    assert clock.run(2 * ANNOUNCE_S) == []


def test_each_release_is_announced_also_when_it_comes_during_a_call() -> None:
    announcing = Announcing(b"")
    announcing.hosted(0.0, SITES[0])
    assert announcing.due(RELEASE_WAIT_S / 2) == []
    assert announcing.due(SOON_S) == [fx.Announce(SITES[0])]
    announcing.hosted(SOON_S, SITES[0])
    assert announcing.due(2 * SOON_S) == []
    announcing.announced(2 * SOON_S, SITES[0], 20)
    assert announcing.due(2 * SOON_S) == [fx.Announce(SITES[0])]
    announcing.announced(3 * SOON_S, SITES[0], 20)
    assert announcing.report(3 * SOON_S).waiting == 0


def test_releases_in_quick_succession_do_not_put_their_announcement_off() -> None:
    announcing = Announcing(b"")
    for second in range(int(SOON_S)):
        announcing.hosted(second, SITES[0])
    assert announcing.due(SOON_S) == [fx.Announce(SITES[0])]


def test_a_call_that_is_never_answered_does_not_hold_up_the_others() -> None:
    announcing = Announcing(b"")
    announcing.restore(0.0, WALL_S, 0.0, SITES[:5])
    assert sum(len(announcing.due(float(second))) for second in range(20)) == AT_ONCE
    assert announcing.due(CALL_MAX_S - 1) == []
    assert len(announcing.due(CALL_MAX_S + 20)) == 1


def test_an_agenda_gives_each_key_once_and_stays_small() -> None:
    agenda: Agenda[str] = Agenda()
    for number in range(10_000):
        agenda.set("often", float(number))
    agenda.set("late", 20_000.0)
    agenda.set("never", 5.0)
    agenda.drop("never")
    assert len(agenda._heap) < 200
    assert agenda.due(9_998.0) == []
    assert agenda.due(9_999.0) == ["often"]
    assert agenda.due(30_000.0, limit=0) == []
    assert agenda.due(30_000.0) == ["late"]
    assert len(agenda) == 0
