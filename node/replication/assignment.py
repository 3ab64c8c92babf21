"""Which block to ask of whom while several hosts send one release (docs/spec/sync.md, 8). Pure: no I/O, no clock.

Each source is asked for about as much as it sends in `WINDOW_S`, so that the fastest has most to do. When nothing is
left that nobody was asked for, a source that would be idle is asked for what would come much later from another; the
first copy counts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from protocol.cid import Cid
from protocol.limits import WANT_MAX_CIDS

WINDOW_S = 1.0
# Of a source that has not sent anything yet; it grows with every answer.
WINDOW_FIRST_BLOCKS = 16
WINDOW_LEAST_BLOCKS = 2
# Blocks that are named and asked of nobody yet: enough that naming never holds up a fast source.
POOL_BLOCKS = WANT_MAX_CIDS
# A block is asked of a second source if that would save half of the wait, and more than a round trip.
STEAL_FACTOR = 2.0
STEAL_MARGIN_S = 0.2
# How much the past counts for a source's pace: after so many blocks half as much.
PACE_DECAY = 0.97
PACE_UNKNOWN_S = 0.1
# A source that is so much slower than the fastest gives its place to another host, if there is one.
LAGGING_FACTOR = 8.0
LAGGING_S = 5.0

Source = str


@dataclass(slots=True)
class _State:
    """What one source was asked for, in order, and how it does. since_s: of its last block, or of when it had none."""

    since_s: float
    joined_s: float
    queue: deque[Cid] = field(default_factory=deque)
    lacks: set[Cid] = field(default_factory=set)
    blocks: float = 0.0
    busy_s: float = 0.0

    def pace_s(self, now_s: float) -> float:
        """Seconds between blocks; a source that has become silent gets slower as one watches."""
        pace_s = self.busy_s / self.blocks if self.blocks else PACE_UNKNOWN_S
        return max(pace_s, now_s - self.since_s) if self.queue else pace_s

    def window(self) -> int:
        if not self.blocks:
            return WINDOW_FIRST_BLOCKS
        sent_within = int(WINDOW_S * self.blocks / self.busy_s) if self.busy_s > 0 else WANT_MAX_CIDS
        return min(max(sent_within, WINDOW_LEAST_BLOCKS), WANT_MAX_CIDS)


class Assignment:
    """The blocks of one pull that are named and have not come. A block leaves it when its first copy came."""

    def __init__(self) -> None:
        self._pool: dict[Cid, None] = {}
        self._asked: dict[Cid, set[Source]] = {}
        self._sources: dict[Source, _State] = {}

    @property
    def idle(self) -> bool:
        """Nothing is missing of what was named."""
        return not self._pool and not self._asked

    @property
    def wants_more(self) -> bool:
        """More blocks may be named."""
        return len(self._pool) < POOL_BLOCKS

    @property
    def sources(self) -> int:
        """How many there are."""
        return len(self._sources)

    @property
    def has_several(self) -> bool:
        """More than one source is there."""
        return self.sources > 1

    @property
    def stuck(self) -> bool:
        """None of the sources has what is missing."""
        if self._asked or not self._pool:
            return False
        return all(state.lacks.issuperset(self._pool) for state in self._sources.values())

    def wants_help(self, now_s: float, patience_s: float) -> bool:
        """More sources would be of use: these have all they can do, or one of them will keep us waiting."""
        waits = (len(state.queue) * state.pace_s(now_s) for state in self._sources.values())
        return bool(self._pool) or any(wait_s > patience_s for wait_s in waits)

    def add(self, cids: Iterable[Cid], *, first: bool = False) -> None:
        """These are missing; each is added once. first: before all that nobody was asked for yet."""
        added = dict.fromkeys(cids)
        self._pool = {**added, **self._pool} if first else {**self._pool, **added}

    def give_up(self) -> list[Cid]:
        """Takes out what nobody was asked for, and returns it."""
        given_up, self._pool = list(self._pool), {}
        return given_up

    def join(self, source: Source, now_s: float) -> None:
        """The source can be asked from now on."""
        self._sources[source] = _State(now_s, now_s)

    def leave(self, source: Source) -> None:
        """The source is gone; what only it was asked for is asked of others."""
        state = self._sources.pop(source)
        self._release(source, state.queue)

    def needs(self, cid: Cid) -> bool:
        """The block was asked for, and no copy of it has come."""
        return cid in self._asked

    def expects(self, source: Source) -> Cid | None:
        """The block that the source has to answer next."""
        queue = self._sources[source].queue
        return queue[0] if queue else None

    def ask(self, source: Source, now_s: float) -> list[Cid]:
        """What to ask the source for now, in this order; nothing while it has enough to do."""
        state = self._sources[source]
        window = state.window()
        room = window - len(state.queue)
        if room < max(1, window // 2):
            return []
        found = self._from_pool(state, room) or self._from_others(source, state, room, now_s)
        if found and not state.queue:
            state.since_s = now_s
        for cid in found:
            state.queue.append(cid)
            self._asked.setdefault(cid, set()).add(source)
        return found

    def came(self, source: Source, now_s: float) -> bool:
        """The block that the source had to answer next is here; False when another copy came first."""
        cid = self._answered(source, now_s)
        return self._asked.pop(cid, None) is not None

    def lacks(self, source: Source, now_s: float) -> int:
        """It does not give the block that it had to answer next; returns how many it did not give so far."""
        cid = self._answered(source, now_s)
        state = self._sources[source]
        state.lacks.add(cid)
        self._release(source, [cid])
        return len(state.lacks)

    def was_bad(self, source: Source, cid: Cid) -> None:
        """A block that came was not what it should be: it is missing again, and not asked of this source."""
        if source in self._sources:
            self._sources[source].lacks.add(cid)
        if cid not in self._asked:
            self._pool = {cid: None, **self._pool}

    def laggard(self, now_s: float) -> Source | None:
        """A source that only takes up the place of a better one."""
        paces = {name: state.pace_s(now_s) for name, state in self._sources.items()}
        if len(paces) < 2:
            return None
        slowest = max(paces, key=lambda name: paces[name])
        long_enough = now_s - self._sources[slowest].joined_s > LAGGING_S
        return slowest if long_enough and paces[slowest] > LAGGING_FACTOR * min(paces.values()) else None

    def _answered(self, source: Source, now_s: float) -> Cid:
        state = self._sources[source]
        cid = state.queue.popleft()
        state.blocks = state.blocks * PACE_DECAY + 1.0
        state.busy_s = state.busy_s * PACE_DECAY + max(0.0, now_s - state.since_s)
        state.since_s = now_s
        return cid

    def _release(self, source: Source, cids: Iterable[Cid]) -> None:
        """Puts those that are asked of nobody else before all others: they have waited longest."""
        freed: dict[Cid, None] = {}
        for cid in cids:
            askers = self._asked.get(cid)
            if askers is None:
                continue
            askers.discard(source)
            if not askers:
                del self._asked[cid]
                freed[cid] = None
        if freed:
            self._pool = {**freed, **self._pool}

    def _from_pool(self, state: _State, room: int) -> list[Cid]:
        found: list[Cid] = []
        for cid in self._pool:
            if len(found) == room:
                break
            if cid not in state.lacks:
                found.append(cid)
        for cid in found:
            del self._pool[cid]
        return found

    def _from_others(self, source: Source, state: _State, room: int, now_s: float) -> list[Cid]:
        """The blocks that would come last, as far as this source would be much sooner."""
        due_s: dict[Cid, float] = {}
        for name, other in self._sources.items():
            if name == source:
                continue
            pace_s = other.pace_s(now_s)
            for place, cid in enumerate(other.queue, 1):
                askers = self._asked.get(cid)
                if askers is not None and source not in askers and cid not in state.lacks:
                    due_s[cid] = min(place * pace_s, due_s.get(cid, float("inf")))
        latest = sorted(due_s, key=lambda cid: due_s[cid], reverse=True)[:room]
        pace_s, place = state.pace_s(now_s), len(state.queue)
        found: list[Cid] = []
        for cid in latest:
            if due_s[cid] <= STEAL_FACTOR * pace_s * (place + len(found) + 1) + STEAL_MARGIN_S:
                break
            found.append(cid)
        return found[::-1]
