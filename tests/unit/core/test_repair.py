"""Whom a host asks when its sites lack hosts, and at what cost when it has many sites or nobody to ask."""

from node.core.copies import GRACE_S, Copies
from node.core.placement import Member, Orders
from node.core.repair import ASKED_AT_ONCE, LAST_COPY_GRACE_SHARE, NEW_GRACE_S, SILENT_S, TURN_S, Repair
from protocol.site_filter import SiteFilter
from protocol.site_id import SiteId

ME = SiteId(b"\0" * 32)


def key(number: int) -> SiteId:
    return SiteId(number.to_bytes(32, "big"))


def repair(members: int) -> tuple[Repair, Copies, Orders]:
    orders, copies = Orders(), Copies()
    for number in range(1, members + 1):
        orders.set(Member(key(number), 1))
    return Repair(ME, orders, copies), copies, orders


def want(_: SiteId) -> int:
    return 3


def test_a_new_site_is_asked_for_soon_and_one_that_had_enough_after_the_grace_period() -> None:
    made, copies, orders = repair(9)
    site = key(100)
    copies.watch(site)
    made.look(0.0, site, 1, 3)
    assert made.due(NEW_GRACE_S - 1, want) == []
    assert {ask.node for ask in made.due(NEW_GRACE_S + TURN_S, want)} == {m.node for m in orders.first(site, 2)}
    made.forget(site)
    made.restored(site)
    made.look(0.0, site, 1, 3)
    assert made.due(GRACE_S * LAST_COPY_GRACE_SHARE - 1, want) == []
    assert len(made.due(GRACE_S * LAST_COPY_GRACE_SHARE + TURN_S, want)) == 2


def test_those_with_the_fewest_hosts_come_first_and_few_are_asked_at_once() -> None:
    made, copies, orders = repair(40)
    for number in range(100, 140):
        site = key(number)
        copies.watch(site)
        if number < 120:
            host = orders.first(site, 1)[0].node
            copies.connected(host)
            copies.stated(0.0, site, host)
        made.look(0.0, site, 2 if number < 120 else 1, 3)
    asked = made.due(1000.0, want)
    assert len(asked) == ASKED_AT_ONCE
    assert all(int.from_bytes(ask.site, "big") >= 120 for ask in asked)
    assert made.due(1001.0, want) == []


def test_when_all_have_refused_nobody_is_asked_until_a_while_later() -> None:
    made, copies, _ = repair(5)
    site = key(100)
    copies.watch(site)
    now_s, asked = 1000.0, 0
    made.look(0.0, site, 1, 3)
    while now_s < 1000.0 + 3 * SILENT_S:
        made.look(now_s, site, 1, 3)
        for ask in made.due(now_s, want):
            asked += 1
            made.answered(now_s, ask.site, ask.node, "silent")
        now_s += 10.0
    assert 10 <= asked <= 20


def test_who_was_caught_is_asked_last_and_its_yes_counts_for_nothing() -> None:
    made, copies, orders = repair(4)
    site = key(100)
    copies.watch(site)
    liar, *others = [member.node for member in orders.first(site, 4)]
    copies.stated(0.0, site, liar)
    copies.audited(1.0, liar, (), (site,))
    made.look(2.0, site, 1, 3)
    assert [ask.node for ask in made.due(100.0, want)] == others[:2]
    for node in others:
        made.answered(101.0, site, node, "refused")
    assert liar in [ask.node for ask in made.due(101.0, want)]
    made.answered(102.0, site, liar, "took")
    orders.set(Member(key(5), 1))
    made.look(102.0, site, 1, 3)
    assert key(5) in [ask.node for ask in made.due(102.0 + SILENT_S, want)]


def test_for_hosts_that_are_away_the_grace_period_passes_once() -> None:
    made, copies, _ = repair(9)
    site = key(100)
    copies.watch(site)
    for number in (1, 2):
        copies.connected(key(number))
        copies.stated(0.0, site, key(number))
    made.look(0.0, site, 1 + len(copies.counted(0.0, site)), 3)
    copies.disconnected(10.0, key(1))
    made.look(9.0 + GRACE_S, site, 1 + len(copies.counted(9.0 + GRACE_S, site)), 3)
    assert not made.needs()
    now_s = 11.0 + GRACE_S
    made.look(now_s, site, 1 + len(copies.counted(now_s, site)), 3)
    assert len(made.due(now_s + 2 * TURN_S, want)) == 1


def test_who_did_not_answer_is_asked_after_those_who_may() -> None:
    made, copies, orders = repair(6)
    site = key(100)
    copies.watch(site)
    first, *others = [member.node for member in orders.first(site, 6)]
    copies.statement(0.0, first, SiteFilter.of([]), leaving=False)
    copies.unreached(1.0, first)
    made.look(2.0, site, 1, 3)
    assert [ask.node for ask in made.due(100.0, want)] == others[:2]
    for node in others:
        made.answered(101.0, site, node, "refused")
    assert made.due(101.0, want) == []
    now_s = copies.silent_until_s(first) + SILENT_S
    made.look(now_s, site, 1, 3)
    assert [ask.node for ask in made.due(now_s, want)] == [first]


def test_the_longer_a_node_is_silent_the_more_seldom_it_is_asked_and_one_sign_of_life_ends_it() -> None:
    copies = Copies()
    copies.statement(0.0, key(1), SiteFilter.of([]), leaving=False)
    waits_s = []
    for now_s in (10.0, 20.0, 30.0, 40.0, 50.0):
        copies.unreached(now_s, key(1))
        waits_s.append(copies.silent_until_s(key(1)) - now_s)
    assert waits_s == [600.0, 1200.0, 2400.0, 3600.0, 3600.0]
    copies.contact(60.0, key(1))
    assert not copies.silent(key(1))
    copies.contact(70.0, key(2))
    copies.unreached(70.0, key(2))
    assert not copies.silent(key(2)), "nothing is kept of nodes that have stated nothing"
    assert not copies.alive(70.0, key(2))
