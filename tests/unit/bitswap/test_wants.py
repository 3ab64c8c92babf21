"""What a fetch wants of whom, without I/O: windows, deadlines, and blocks that some peers lack."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.bitswap.wants import (
    BLOCK_S,
    HEDGE_S,
    MISSES_MAX,
    PEERS_MAX,
    PROBE_S,
    SLOW_S,
    WINDOW_MAX,
    WINDOW_START,
    Wants,
)
from protocol.cid import DAG_PB, RAW, Cid

ROOT = Cid.of(DAG_PB, b"root")
CIDS = [Cid.of(RAW, str(number).encode()) for number in range(600)]


def useful(wants: Wants, *peers: str, now_s: float = 0.0) -> None:
    for peer in peers:
        wants.add_peer(now_s, peer)
        assert [(want.cid, want.have, want.send_dont_have) for want in wants.next_wants(now_s, peer)] == [
            (ROOT, True, True)
        ]
        wants.take_presence(peer, ROOT, have=True)


def asked(wants: Wants, peer: str, now_s: float = 0.0) -> list[Cid]:
    return [want.cid for want in wants.next_wants(now_s, peer) if not want.cancel]


def test_nobody_is_asked_for_blocks_before_it_said_that_it_has_the_root() -> None:
    wants = Wants(ROOT)
    wants.add(CIDS[:3])
    wants.add_peer(0.0, "a")
    assert asked(wants, "a") == [ROOT]
    assert asked(wants, "a") == []
    wants.take_presence("a", CIDS[0], have=True)  # it was not asked about that
    assert asked(wants, "a") == []
    wants.take_presence("a", ROOT, have=False)
    assert asked(wants, "a") == []
    assert wants.stuck(9) == CIDS[:3]


def test_a_peer_that_is_silent_about_the_root_does_not_have_it() -> None:
    wants = Wants(ROOT)
    wants.add(CIDS[:1])
    wants.add_peer(0.0, "a")
    assert wants.waits_for_probes
    assert wants.stuck(9) == []
    assert wants.expire(PROBE_S + 1) == []
    assert wants.stuck(9) == CIDS[:1]


def test_blocks_are_shared_out_within_windows_that_grow_with_quick_answers() -> None:
    wants = Wants(ROOT)
    useful(wants, "a", "b")
    wants.add(CIDS)
    first, second = asked(wants, "a"), asked(wants, "b")
    assert (first, second) == (CIDS[:WINDOW_START], CIDS[WINDOW_START : 2 * WINDOW_START])
    for cid in first:
        assert wants.take_block(0.1, "a", cid) == cid
    assert len(asked(wants, "a", 0.1)) == 2 * WINDOW_START
    assert len(wants) == len(CIDS) - WINDOW_START


def test_a_window_never_exceeds_its_bound_and_shrinks_for_a_slow_peer() -> None:
    wants = Wants(ROOT)
    useful(wants, "a")
    for round_s in range(30):
        wants.add(CIDS[:300])
        batch = asked(wants, "a", round_s)
        assert len(batch) <= WINDOW_MAX
        for cid in batch:
            wants.take_block(round_s, "a", cid)
    assert len(batch) == WINDOW_MAX
    wants.add(CIDS[300:])
    for cid in asked(wants, "a", 100.0):
        wants.take_block(100.0 + SLOW_S + 1, "a", cid)
    assert len(asked(wants, "a", 200.0)) == 1


def test_what_one_peer_lacks_another_is_asked_for() -> None:
    wants = Wants(ROOT)
    useful(wants, "a")
    wants.add(CIDS[:2])
    assert asked(wants, "a") == CIDS[:2]
    wants.take_presence("a", CIDS[0], have=False)
    assert asked(wants, "a") == []
    assert wants.stuck(9) == [CIDS[0]]
    useful(wants, "b")
    assert wants.stuck(9) == []
    assert asked(wants, "b") == [CIDS[0]]


def test_a_late_block_is_asked_of_another_and_still_welcome() -> None:
    wants = Wants(ROOT)
    useful(wants, "a", "b")
    wants.add(CIDS[:1])
    assert asked(wants, "a") == CIDS[:1]
    assert wants.expire(BLOCK_S + 1) == []
    assert wants.stuck(9) == []
    assert asked(wants, "b", BLOCK_S + 1) == CIDS[:1]
    assert [(want.cid, want.cancel) for want in wants.next_wants(BLOCK_S + 1, "a")] == [(CIDS[0], True)]
    assert wants.take_block(BLOCK_S + 2, "a", CIDS[0]) == CIDS[0]
    assert [(want.cid, want.cancel) for want in wants.next_wants(BLOCK_S + 2, "b")] == [(CIDS[0], True)]
    assert wants.take_block(BLOCK_S + 3, "b", CIDS[0]) is None  # it was on its way already


def test_a_peer_that_owes_a_block_twice_is_not_asked_for_it_again() -> None:
    wants = Wants(ROOT)
    useful(wants, "a")
    wants.add(CIDS[:1])
    for start_s in (0.0, 100.0):
        assert wants.stuck(9) == []
        assert asked(wants, "a", start_s) == CIDS[:1]
        wants.expire(start_s + BLOCK_S + 1)
    assert asked(wants, "a", 200.0) == []
    assert wants.stuck(9) == CIDS[:1]


def test_a_peer_that_is_late_again_and_again_is_given_up() -> None:
    wants = Wants(ROOT)
    useful(wants, "a")
    for number in range(MISSES_MAX):
        at_s = number * 2 * BLOCK_S
        wants.add([CIDS[number]])
        assert CIDS[number] in asked(wants, "a", at_s)
        gave_up = wants.expire(at_s + BLOCK_S + 1)
    assert gave_up == ["a"]


def test_a_slow_reader_makes_no_peer_late() -> None:
    wants = Wants(ROOT)
    useful(wants, "a")
    wants.add(CIDS[:1])
    asked(wants, "a")
    wants.delay(1000.0)
    assert wants.expire(1000.0 + BLOCK_S - 1) == []
    assert wants.take_block(1001.0, "a", CIDS[0]) == CIDS[0]


def test_at_the_end_a_peer_with_nothing_to_do_is_asked_for_what_another_does_not_bring() -> None:
    wants = Wants(ROOT)
    useful(wants, "a", "b", "c")
    wants.add(CIDS[:1])
    assert asked(wants, "a") == CIDS[:1]
    assert asked(wants, "b", HEDGE_S - 1) == []
    assert asked(wants, "b", HEDGE_S + 1) == CIDS[:1]
    assert asked(wants, "c", HEDGE_S + 2) == []  # two are enough


def test_what_was_not_asked_for_is_refused() -> None:
    wants = Wants(ROOT)
    useful(wants, "a", "b")
    wants.add(CIDS[:1])
    asked(wants, "a")
    with pytest.raises(LookupError):
        wants.take_block(0.0, "b", CIDS[0])
    with pytest.raises(LookupError):
        wants.take_block(0.0, "a", CIDS[1])
    wants.take_block(0.0, "a", CIDS[0])
    with pytest.raises(LookupError):
        wants.take_block(0.0, "a", CIDS[0])


def test_peers_are_bounded() -> None:
    wants = Wants(ROOT)
    taken = [wants.add_peer(0.0, str(number)) for number in range(PEERS_MAX + 5)]
    assert taken.count(True) == PEERS_MAX


def test_a_block_is_the_same_under_both_versions_of_its_cid() -> None:
    wants = Wants(ROOT)
    useful(wants, "a")
    cid = Cid.of(DAG_PB, b"inner")
    wants.add([cid])
    asked(wants, "a")
    assert wants.take_block(0.0, "a", Cid(cid.multihash)) == cid


STEP = st.tuples(st.sampled_from(["bring", "lack", "wait", "drop", "join", "stray"]), st.integers(0, 7))


class World:
    """Peers that bring, lack, dawdle, leave and join as they are told."""

    def __init__(self) -> None:
        self.wants = Wants(ROOT)
        self.now_s = 0.0
        self.came: list[Cid] = []
        self.told: dict[str, list[Cid]] = {}

    def join(self, peer: str, _: int = 0) -> None:
        if self.wants.add_peer(self.now_s, peer):
            self.wants.take_presence(peer, ROOT, have=True)
            self.told[peer] = []

    def drop(self, peer: str, _: int) -> None:
        self.wants.drop_peer(peer)
        self.told.pop(peer, None)

    def wait(self, _: str, number: int) -> None:
        self.now_s += 1 + number * 12
        for gone in self.wants.expire(self.now_s):
            self.drop(gone, 0)

    def ask(self, peer: str) -> None:
        for want in self.wants.next_wants(self.now_s, peer):
            if not want.have and not want.cancel:
                self.told[peer].append(want.cid)

    def bring(self, peer: str, number: int) -> None:
        if peer in self.told:
            self.ask(peer)
            for cid in sorted(set(self.told[peer]))[: number + 1]:
                self.told[peer] = [other for other in self.told[peer] if other != cid]
                found = self.wants.take_block(self.now_s, peer, cid)
                self.came += [found] if found is not None else []

    def lack(self, peer: str, number: int) -> None:
        if peer in self.told:
            self.ask(peer)
            for cid in self.told[peer][: number + 1]:
                self.wants.take_presence(peer, cid, have=False)


STEP = st.tuples(st.sampled_from(["bring", "lack", "wait", "drop", "join"]), st.integers(0, 7))


def test_a_peer_may_send_the_root_where_it_was_asked_whether_it_has_it() -> None:
    wants = Wants(ROOT)
    wants.add([ROOT])
    wants.add_peer(0.0, "a")
    wants.add_peer(0.0, "b")
    assert asked(wants, "a") == asked(wants, "b") == [ROOT]
    assert wants.take_block(0.1, "a", ROOT) == ROOT
    assert wants.take_block(0.1, "b", ROOT) is None
    assert (wants.useful_peers, len(wants)) == (2, 0)


@settings(max_examples=60)
@given(st.lists(STEP, max_size=100))
def test_every_block_comes_once_or_is_still_wanted(steps: list[tuple[str, int]]) -> None:
    world = World()
    everything = set(CIDS[:40])
    world.wants.add(sorted(everything))
    world.join("0")
    for kind, number in steps:
        getattr(world, kind)(str(number), number)
    assert len(world.came) == len(set(world.came))
    assert len(world.wants) == len(everything) - len(world.came)
    world.join("last")
    for _ in range(200):
        world.wait("last", 0)
        world.bring("last", 100)
    assert set(world.came) == everything
