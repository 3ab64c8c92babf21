from __future__ import annotations

import random
from collections import deque

from node.net.kademlia import NEAREST, Provider, ProviderTable, RoutingTable, Walk, peer_position, position
from node.net.peer_ids import peer_id_bytes, peer_id_text
from node.net.port import PeerId


def peer(number: int) -> PeerId:
    return peer_id_text(b"\x12\x20" + number.to_bytes(32, "big"))


PEERS = [peer(number) for number in range(400)]
SELF = PEERS[0]


def nearest(key: bytes, peers: list[PeerId], count: int = NEAREST) -> list[PeerId]:
    return sorted(peers, key=lambda each: peer_position(each) ^ position(key))[:count]


def test_table_keeps_those_it_has_and_forgets_those_that_fail() -> None:
    table = RoutingTable(SELF)
    assert not table.add(SELF)
    taken = [each for each in PEERS[1:] if table.add(each)]
    assert 60 < len(taken) == len(table) < 200  # all that are near, a sample of those that are far
    assert not table.add(taken[0])
    table.remove(taken[0])
    table.remove(taken[0])
    assert len(table) == len(taken) - 1
    assert table.add(taken[0])
    assert table.nearest(position(b"key")) == nearest(b"key", taken)


def test_one_far_half_of_the_space_cannot_fill_the_table() -> None:
    table = RoutingTable(SELF)
    top = 1 << 255
    far = [each for each in PEERS[1:] if (peer_position(each) ^ peer_position(SELF)) & top]
    assert sum(table.add(each) for each in far) == NEAREST


def walk_through(tables: dict[PeerId, RoutingTable], start: PeerId, key: bytes, down: set[PeerId]) -> Walk:
    """Drive a walk over simulated peers, answers in the order of the questions."""
    walk = Walk(position(key), tables[start].nearest(position(key)), start)
    waiting: deque[PeerId] = deque()
    while True:
        while (asked := walk.next_peer()) is not None:
            waiting.append(asked)
        if not waiting:
            assert walk.asking == 0
            return walk
        other = waiting.popleft()
        if other in down:
            walk.failed(other)
        else:
            walk.answered(other, tables[other].nearest(position(key)))


def network(count: int, seed: int) -> dict[PeerId, RoutingTable]:
    """Everybody knows a few others by chance, and its near neighbours."""
    rng = random.Random(seed)
    members = PEERS[:count]
    tables = {}
    for each in members:
        tables[each] = RoutingTable(each)
        neighbours = nearest(peer_id_bytes(each), members, 12)
        for other in [*neighbours, *rng.sample(members, 12)]:
            tables[each].add(other)
    return tables


def test_walks_from_everywhere_end_at_the_nearest_peers() -> None:
    tables = network(120, seed=1)
    for number in range(10):
        key = b"key %d" % number
        found = walk_through(tables, PEERS[11 * number], key, set()).nearest()
        assert found[:10] == nearest(key, [each for each in tables if each != PEERS[11 * number]], 10)


def test_walk_goes_round_peers_that_are_down() -> None:
    tables = network(200, seed=2)
    down = set(random.Random(3).sample(PEERS[1:200], 60))
    found = walk_through(tables, SELF, b"key", down).nearest()
    assert not down & set(found)
    assert found[:5] == nearest(b"key", [each for each in tables if each not in down and each != SELF], 5)


def test_walk_among_liars_ends() -> None:
    """Peers that invent ever more peers get no more than a bounded number of questions."""
    invented = iter(range(10_000, 10**9))
    walk = Walk(position(b"key"), [PEERS[1]], SELF)
    asked = 0
    while (each := walk.next_peer()) is not None:
        asked += 1
        walk.answered(each, [peer(next(invented)) for _ in range(40)])
    assert asked <= 60


def test_walk_never_asks_oneself_or_anyone_twice() -> None:
    walk = Walk(position(b"key"), [SELF, PEERS[1], PEERS[1]], SELF)
    assert walk.next_peer() == PEERS[1]
    assert walk.next_peer() is None
    walk.answered(PEERS[1], [SELF, PEERS[1]])
    assert walk.next_peer() is None
    assert walk.nearest() == [PEERS[1]]


def provider(number: int, expires_s: float = 100) -> Provider:
    return Provider(peer(number), ("/ip4/127.0.0.1/tcp/1",), expires_s)


def test_providers_come_latest_first_until_they_expire() -> None:
    table = ProviderTable()
    assert table.add(b"k", provider(1, 10))
    assert table.add(b"k", provider(2, 20))
    assert [each.peer for each in table.providers(b"k", 0)] == [peer(2), peer(1)]
    assert [each.peer for each in table.providers(b"k", 10)] == [peer(2)]
    assert table.providers(b"other", 0) == []
    table.add(b"k", provider(1, 30))
    assert len(table) == 2
    table.expire(25)
    assert len(table) == 1
    assert [each.peer for each in table.providers(b"k", 25)] == [peer(1)]
    table.expire(30)
    assert len(table) == 0


def test_records_are_bounded_per_key_and_per_peer() -> None:
    table = ProviderTable(per_key=2, per_peer=3)
    assert [table.add(b"k", provider(number)) for number in range(3)] == [True, True, False]
    assert table.add(b"k", provider(1, 200))  # a renewal needs no room
    assert [table.add(b"%d" % number, provider(0)) for number in range(3)] == [True, True, False]


def test_full_table_makes_room_at_the_expense_of_whoever_fills_it() -> None:
    table = ProviderTable(records=5)
    for number in range(4):
        table.add(b"greedy %d" % number, provider(1))
    table.add(b"modest", provider(2))
    assert table.add(b"new", provider(3))
    assert len(table) == 5
    assert table.providers(b"greedy 0", 0) == []
    assert table.providers(b"modest", 0) != []
