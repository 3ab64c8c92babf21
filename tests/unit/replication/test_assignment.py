"""The assignment of blocks to sources, on a clock of its own."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from node.replication.assignment import WINDOW_FIRST_BLOCKS, Assignment
from node.replication.drawing import LOOK_S
from protocol.cid import RAW, Cid
from protocol.limits import WANT_MAX_CIDS

BLOCKS = [Cid.of(RAW, b"%d" % number) for number in range(2000)]


@dataclass(frozen=True)
class Behaviour:
    """pace_s: between blocks. ends_after: blocks, then it goes. lacks: every so manieth block, 0 none."""

    pace_s: float
    ends_after: int | None = None
    lacks: int = 0


class Play:
    """Sources that behave as they are told, each with blocks under way that come in order."""

    def __init__(self, behaviours: list[Behaviour], count: int) -> None:
        self.assignment = Assignment()
        self.behaviours = behaviours
        self.now_s = 0.0
        self.next_s = [behaviour.pace_s for behaviour in behaviours]
        self.sent: Counter[int] = Counter()
        self.asked: Counter[tuple[int, Cid]] = Counter()
        self.came: Counter[Cid] = Counter()
        self.gone: set[int] = set()
        self.assignment.add(BLOCKS[:count])
        for number in range(len(behaviours)):
            self.assignment.join(str(number), 0.0)

    def run(self) -> None:
        """Until all is here, or nobody can go on."""
        while not self.assignment.idle:
            here = [number for number in range(len(self.behaviours)) if number not in self.gone]
            for number in here:
                self._ask(number)
            busy = [number for number in here if self.assignment.expects(str(number)) is not None]
            if not busy:
                return
            number = min(busy, key=lambda one: self.next_s[one])
            if len(busy) < len(here) and self.next_s[number] > self.now_s + LOOK_S:
                self.now_s += LOOK_S  # who has nothing to do asks again
                continue
            self.now_s = max(self.now_s, self.next_s[number])
            self._send(number)

    def _ask(self, number: int) -> None:
        was_idle = self.assignment.expects(str(number)) is None
        cids = self.assignment.ask(str(number), self.now_s)
        assert len(cids) <= WANT_MAX_CIDS
        self.asked.update((number, cid) for cid in cids)
        if cids and was_idle:
            self.next_s[number] = self.now_s + self.behaviours[number].pace_s

    def _send(self, number: int) -> None:
        behaviour, name = self.behaviours[number], str(number)
        cid = self.assignment.expects(name)
        assert cid is not None
        if behaviour.ends_after is not None and self.sent[number] >= behaviour.ends_after:
            self.assignment.leave(name)
            self.gone.add(number)
            return
        self.sent[number] += 1
        self.next_s[number] = self.now_s + behaviour.pace_s
        if behaviour.lacks and cid.digest[0] % behaviour.lacks == 0:
            self.assignment.lacks(name, self.now_s)
        elif self.assignment.came(name, self.now_s):
            self.came[cid] += 1


behaviours = st.builds(
    Behaviour,
    pace_s=st.floats(0.0001, 20.0),
    ends_after=st.none() | st.integers(0, 50),
    lacks=st.sampled_from((0, 0, 0, 2, 5)),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(behaviours, min_size=1, max_size=5), st.integers(1, 300))
def test_every_block_comes_once_if_anybody_has_it(sources: list[Behaviour], count: int) -> None:
    play = Play(sources, count)
    play.run()
    assert set(play.came.values()) <= {1}
    assert set(play.asked.values()) <= {1}, "no source is asked twice for a block"
    if any(source.ends_after is None and not source.lacks for source in sources):
        assert play.assignment.idle
        assert set(play.came) == set(BLOCKS[:count])
    elif not play.assignment.idle:
        assert play.assignment.stuck


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.001, 5.0), min_size=1, max_size=4), st.integers(50, 1000))
def test_the_work_takes_hardly_longer_than_it_must(paces_s: list[float], count: int) -> None:
    play = Play([Behaviour(pace_s) for pace_s in paces_s], count)
    play.run()
    together_per_s = sum(1 / pace_s for pace_s in paces_s)
    # Nobody knows a source's pace before its first blocks, and the last one of a slow source is taken over late.
    assert play.now_s <= 1.5 * count / together_per_s + WINDOW_FIRST_BLOCKS * min(paces_s) + 3.0
    assert sum(play.sent.values()) <= 1.6 * count + WINDOW_FIRST_BLOCKS * len(paces_s)


def test_a_silent_source_loses_its_blocks_to_one_that_has_time() -> None:
    assignment = Assignment()
    assignment.add(BLOCKS[:4])
    assignment.join("silent", 0.0)
    assignment.join("other", 0.0)
    assert assignment.ask("silent", 0.0) == BLOCKS[:4]
    assert assignment.ask("other", 0.1) == []
    assert not assignment.wants_help(0.2, 1.0)
    assert assignment.wants_help(1.5, 1.0)
    assert assignment.ask("other", 5.0) == BLOCKS[:4]
    assert assignment.came("other", 5.1)
    assert not assignment.came("silent", 5.2), "the first copy counts"
    assignment.leave("silent")
    assert [assignment.came("other", 5.3) for _ in range(3)] == [True] * 3
    assert assignment.idle


def test_what_a_source_was_asked_for_goes_first_when_it_leaves() -> None:
    assignment = Assignment()
    assignment.add(BLOCKS[:40])
    assignment.join("one", 0.0)
    asked = assignment.ask("one", 0.0)
    assignment.leave("one")
    assignment.join("two", 0.0)
    assert assignment.ask("two", 0.0) == asked


def test_a_bad_block_is_asked_of_others_only() -> None:
    assignment = Assignment()
    assignment.add(BLOCKS[:1])
    assignment.join("liar", 0.0)
    assignment.ask("liar", 0.0)
    assert assignment.came("liar", 0.1)
    assignment.was_bad("liar", BLOCKS[0])
    assert assignment.ask("liar", 0.2) == []
    assert assignment.stuck
    assignment.join("other", 0.2)
    assert assignment.ask("other", 0.2) == BLOCKS[:1]
