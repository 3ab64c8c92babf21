"""The order in which nodes are asked to host a site."""

import random
from collections import Counter
from collections.abc import Iterable

from node.core.placement import ORDERS_MAX, Member, Orders, score, weight_of
from protocol.site_id import SiteId


def node(number: int) -> SiteId:
    return SiteId(number.to_bytes(32, "big"))


def members(count: int) -> list[Member]:
    return [Member(node(number), 8) for number in range(1, count + 1)]


def order(site: SiteId, some: Iterable[Member], limit: int) -> list[Member]:
    orders = Orders()
    for member in some:
        orders.set(member)
    return orders.first(site, limit)


def test_everybody_finds_the_same_order() -> None:
    some = members(50)
    assert order(node(1000), some, 30) == order(node(1000), reversed(some), 30)
    assert len(set(order(node(1000), some, 30))) == 30


def test_one_that_goes_moves_no_other() -> None:
    some = members(50)
    before = order(node(1000), some, 30)
    assert order(node(1000), [member for member in some if member != before[3]], 29) == before[:3] + before[4:]


def test_sites_are_spread_over_the_members() -> None:
    first = Counter(order(node(1000 + number), members(10), 1)[0].node for number in range(1000))
    assert len(first) == 10
    assert 60 < min(first.values()) <= max(first.values()) < 150


def test_twice_the_room_is_twice_the_sites() -> None:
    some = [Member(node(1), 16), *(Member(node(number), 8) for number in range(2, 11))]
    first = Counter(order(node(1000 + number), some, 1)[0].node for number in range(2000))
    assert 1.5 < first[node(1)] / (sum(count for who, count in first.items() if who != node(1)) / 9) < 2.6


def test_no_operator_and_no_network_comes_again_before_the_others_came() -> None:
    some = [
        Member(node(number), 8, operator=f"operator {number % 4}", network=f"10.{number % 5}")
        for number in range(1, 61)
    ]
    for number in range(50):
        first = order(node(1000 + number), some, 3)
        assert len({member.operator for member in first}) == 3
        assert len({member.network for member in first}) == 3


def test_a_flood_from_one_network_takes_one_place_of_the_first() -> None:
    flood = [Member(node(1000 + number), 64, network="203.0") for number in range(30)]
    honest = [Member(node(number), 8, network=f"10.{number}") for number in range(1, 9)]
    for number in range(50):
        first = order(node(100_000 + number), flood + honest, 9)
        assert sum(member.network == "203.0" for member in first) == 1


def test_who_names_no_operator_is_told_apart_by_network_alone() -> None:
    some = [Member(node(number), 8, network=f"10.{number % 3}") for number in range(1, 10)]
    assert len({member.network for member in order(node(1000), some, 3)}) == 3


def test_the_kept_orders_are_those_worked_out_anew() -> None:
    rng = random.Random(7)
    orders = Orders()
    there: dict[int, Member] = {}
    sites = [node(10_000 + number) for number in range(5)]
    for step in range(1500):
        number = rng.randint(1, 300)
        if rng.random() < 0.4:
            orders.remove(node(number))
            there.pop(number, None)
        else:
            there[number] = Member(node(number), rng.choice([1, 8, 64]))
            orders.set(there[number])
        if step % 10 == 0:
            site = rng.choice(sites)
            by_score = sorted(there.values(), key=lambda member: (score(site, member), member.node), reverse=True)
            assert orders.first(site, 20) == by_score[:20]


def test_room_counts_in_steps() -> None:
    gib = 1024**3
    assert [weight_of(size * gib) for size in (0, 4, 11, 12, 40, 10_000)] == [1, 1, 2, 2, 8, 64]


def test_whoever_asks_about_any_number_of_sites_fills_no_memory() -> None:
    orders = Orders()
    for member in members(2):
        orders.set(member)
    for number in range(ORDERS_MAX + 100):
        orders.first(node(10_000 + number), 2)
    assert len(orders) == ORDERS_MAX
