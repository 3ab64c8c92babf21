"""Who has to go when the tables are full: pure choices, carried out by the session."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from node.net.port import PeerId

# Of the inbound connections that are allowed: when so many are there, idle ones go until so many are left.
HIGH_PART = 7 / 8
LOW_PART = 3 / 4
# Who has just come has had no time to be of use.
NEWCOMER_S = 10.0
_PEERS_MAX = 4096


@dataclass(frozen=True, slots=True)
class Candidate:
    """One proved connection. `busy`: a stream is open, or it has just been made."""

    number: int
    peer: PeerId
    since_s: float
    busy: bool


class Usefulness:
    """When each peer was useful last, and who is banned until when. Bounded."""

    def __init__(self) -> None:
        self._useful_s: OrderedDict[PeerId, float] = OrderedDict()
        self._banned_s: OrderedDict[PeerId, float] = OrderedDict()

    def note(self, peer: PeerId, now_s: float) -> None:
        _put(self._useful_s, peer, now_s)

    def ban(self, peer: PeerId, until_s: float) -> None:
        _put(self._banned_s, peer, until_s)
        self._useful_s.pop(peer, None)

    def banned(self, peer: PeerId, now_s: float) -> bool:
        return self._banned_s.get(peer, now_s) > now_s

    def leavers(self, candidates: Iterable[Candidate], allowed: int) -> list[Candidate]:
        """Idle connections to end, so that LOW_PART of `allowed` are left; none below HIGH_PART.

        First those that never were useful, the longest connected first, then those whose use is longest ago.
        """
        everyone = list(candidates)
        if len(everyone) < HIGH_PART * allowed:
            return []
        idle = [item for item in everyone if not item.busy]
        idle.sort(key=lambda item: (self._useful_s.get(item.peer, float("-inf")), item.since_s))
        return idle[: len(everyone) - int(LOW_PART * allowed)]


def crowding(newcomer: str, unproved: Iterable[tuple[int, str]]) -> int | None:
    """Which unproved connection gives way to one from address group `newcomer`: the oldest of the largest group.

    `unproved` are (number, group), oldest first. None when the newcomer's own group is the largest.
    """
    waiting = list(unproved)
    sizes = Counter(group for _, group in waiting)
    largest, size = max(sizes.items(), key=lambda item: item[1], default=(newcomer, 0))
    if size <= sizes[newcomer] + 1:
        return None
    return next(number for number, group in waiting if group == largest)


def _put(table: OrderedDict[PeerId, float], peer: PeerId, time_s: float) -> None:
    table[peer] = time_s
    table.move_to_end(peer)
    while len(table) > _PEERS_MAX:
        table.popitem(last=False)
