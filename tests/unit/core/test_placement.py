"""The order in which nodes are asked to host a site."""

from collections import Counter

from node.core.placement import Member, order
from protocol.site_id import SiteId

GIB = 1024**3


def node(number: int) -> SiteId:
    return SiteId(number.to_bytes(32, "big"))


def members(count: int, room_bytes: int = 40 * GIB) -> list[Member]:
    return [Member(node(number), room_bytes) for number in range(1, count + 1)]


def test_everybody_finds_the_same_order() -> None:
    some = members(50)
    assert order(node(1000), some, 50) == order(node(1000), reversed(some), 50)
    assert sorted(member.node for member in order(node(1000), some, 50)) == [member.node for member in some]


def test_one_that_goes_moves_no_other() -> None:
    some = members(50)
    before = order(node(1000), some, 50)
    assert order(node(1000), [member for member in some if member != before[3]], 50) == before[:3] + before[4:]


def test_sites_are_spread_over_the_members() -> None:
    first = Counter(order(node(1000 + number), members(10), 1)[0].node for number in range(1000))
    assert len(first) == 10
    assert 60 < min(first.values()) <= max(first.values()) < 150


def test_twice_the_room_is_twice_the_sites() -> None:
    some = [Member(node(1), 80 * GIB), *(Member(node(number), 40 * GIB) for number in range(2, 11))]
    first = Counter(order(node(1000 + number), some, 1)[0].node for number in range(2000))
    assert 1.5 < first[node(1)] / (sum(count for who, count in first.items() if who != node(1)) / 9) < 2.6


def test_no_operator_and_no_network_comes_again_before_the_others_came() -> None:
    some = [
        Member(node(number), 40 * GIB, operator=f"operator {number % 4}", network=f"10.{number % 5}")
        for number in range(1, 61)
    ]
    for number in range(50):
        first = order(node(1000 + number), some, 3)
        assert len({member.operator for member in first}) == 3
        assert len({member.network for member in first}) == 3


def test_a_flood_from_one_network_takes_one_place_of_the_first() -> None:
    flood = [Member(node(1000 + number), 4000 * GIB, network="203.0") for number in range(500)]
    honest = [Member(node(number), 40 * GIB, network=f"10.{number}") for number in range(1, 9)]
    for number in range(50):
        first = order(node(100_000 + number), flood + honest, 9)
        assert sum(member.network == "203.0" for member in first) == 1


def test_who_names_no_operator_is_told_apart_by_network_alone() -> None:
    some = [Member(node(number), 40 * GIB, network=f"10.{number % 3}") for number in range(1, 10)]
    assert len({member.network for member in order(node(1000), some, 3)}) == 3
