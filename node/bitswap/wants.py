"""What one fetch wants, and of whom: pure, with the clock passed in (docs/spec/bitswap.md, section 4).

Every peer is first asked whether it has the root of what is fetched. Of those that have it, each is asked for as
many blocks at a time as it brings within seconds, and a block that one lacks or does not bring is asked of another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from node.net.port import PeerId
from protocol.bitswap import Want
from protocol.cid import Cid

WANTED_MAX = 1024
"""Blocks that are wanted at a time; more are not taken on."""
PEERS_MAX = 32
WINDOW_START = 16
WINDOW_MAX = 128
"""Blocks asked of one peer at a time."""
QUICK_S = 5.0
SLOW_S = 15.0
PROBE_S = 10.0
BLOCK_S = 30.0
HEDGE_S = 5.0
MISSES_MAX = 3
_LATE_MAX = 1024

Multihash = bytes


@dataclass(slots=True)
class _Wanted:
    cid: Cid
    asked: dict[PeerId, float] = field(default_factory=dict)


@dataclass(slots=True)
class _Peer:
    """`has`: the root, None while it has not said. `owed`: not brought in time once; twice is as good as lacking it.

    `late`: what it was asked for and may still bring."""

    probed_s: float
    has: bool | None = None
    window: int = WINDOW_START
    asked: set[Multihash] = field(default_factory=set)
    lacks: set[Multihash] = field(default_factory=set)
    owed: set[Multihash] = field(default_factory=set)
    late: dict[Multihash, None] = field(default_factory=dict)
    outbox: list[Want] = field(default_factory=list)
    misses: int = 0

    def may_still_bring(self, name: Multihash) -> None:
        self.late[name] = None
        if len(self.late) > _LATE_MAX:
            del self.late[next(iter(self.late))]


class Wants:
    """Blocks are told apart by their multihashes: peers may name a block by a CID of the other version."""

    def __init__(self, root: Cid) -> None:
        self._root = root
        self._wanted: dict[Multihash, _Wanted] = {}
        self._queue: dict[Multihash, None] = {}  # wanted and asked of nobody
        self._peers: dict[PeerId, _Peer] = {}

    def __len__(self) -> int:
        return len(self._wanted)

    @property
    def peers(self) -> list[PeerId]:
        return list(self._peers)

    @property
    def useful_peers(self) -> int:
        """Those that said that they have the root."""
        return sum(1 for peer in self._peers.values() if peer.has)

    @property
    def waits_for_probes(self) -> bool:
        return any(peer.has is None for peer in self._peers.values())

    def add_peer(self, now_s: float, peer: PeerId) -> bool:
        """False when it is one already, or there are too many."""
        if peer in self._peers or len(self._peers) >= PEERS_MAX:
            return False
        probe = Want(self._root, have=True, send_dont_have=True)
        found = self._peers[peer] = _Peer(now_s, outbox=[probe])
        found.may_still_bring(self._root.multihash)  # Kubo sends a small block at once where it was asked if it has it
        return True

    def drop_peer(self, peer: PeerId) -> None:
        gone = self._peers.pop(peer, None)
        for name in gone.asked if gone else ():
            self._ask_no_more(name, peer)

    def add(self, cids: Iterable[Cid]) -> None:
        """More blocks; those that are wanted already are left as they are."""
        for cid in cids:
            if cid.multihash not in self._wanted:
                self._wanted[cid.multihash] = _Wanted(cid)
                self._queue[cid.multihash] = None

    def forget(self, cids: Iterable[Cid]) -> None:
        """Wants them no more, and takes back what was asked of peers."""
        for cid in cids:
            wanted = self._wanted.pop(cid.multihash, None)
            self._queue.pop(cid.multihash, None)
            for peer in wanted.asked if wanted is not None else ():
                self._take_back(self._peers[peer], cid)

    def take_block(self, now_s: float, peer: PeerId, cid: Cid) -> Cid | None:
        """The CID under which the block was wanted; None for one that is not wanted any more.

        Raises LookupError for what this peer was never asked for.
        """
        name = cid.multihash
        found = self._peers[peer]
        if name not in found.asked and name not in found.late:
            raise LookupError(f"{cid} was not asked for")
        found.late.pop(name, None)
        found.has = True
        wanted = self._wanted.pop(name, None)
        found.asked.discard(name)
        if wanted is None:
            return None
        self._queue.pop(name, None)
        found.misses = 0
        self._adapt(found, now_s - wanted.asked.pop(peer, now_s - SLOW_S))
        for other in wanted.asked:
            self._take_back(self._peers[other], wanted.cid)
        for other_peer in self._peers.values():
            other_peer.lacks.discard(name)
            other_peer.owed.discard(name)
        return wanted.cid

    def take_presence(self, peer: PeerId, cid: Cid, *, have: bool) -> None:
        """What it was not asked about is ignored."""
        found = self._peers[peer]
        name = cid.multihash
        if name == self._root.multihash and found.has is None:
            found.has = have
        elif not have and name in found.asked:
            found.asked.discard(name)
            found.lacks.add(name)
            found.may_still_bring(name)  # it may get the block itself in a moment, and pass it on
            self._ask_no_more(name, peer)

    def next_wants(self, now_s: float, peer: PeerId) -> list[Want]:
        """What to send to the peer now; it counts as sent."""
        found = self._peers[peer]
        out, found.outbox = found.outbox, []
        if found.has:
            room = max(0, found.window - len(found.asked))
            names = list(islice((name for name in self._queue if name not in found.lacks), room))
            names = names or (self._overdue(now_s, peer, found) if room and not self._queue else [])
            for name in names:
                self._queue.pop(name, None)
                wanted = self._wanted[name]
                wanted.asked[peer] = now_s
                found.asked.add(name)
                out.append(Want(wanted.cid, send_dont_have=True))
        return out

    def outstanding(self, peer: PeerId) -> list[Want]:
        """All that the peer was asked and has not answered, for a stream that replaces a broken one."""
        found = self._peers[peer]
        probe = [Want(self._root, have=True, send_dont_have=True)] if found.has is None else []
        return probe + [Want(self._wanted[name].cid, send_dont_have=True) for name in found.asked]

    def expire(self, now_s: float) -> list[PeerId]:
        """Gives up waiting for what is late; returns the peers of which too much was."""
        useless = []
        for peer, found in self._peers.items():
            if found.has is None and now_s - found.probed_s > PROBE_S:
                found.has = False
            late = [name for name in found.asked if now_s - self._wanted[name].asked[peer] > BLOCK_S]
            for name in late:
                found.asked.discard(name)
                self._take_back(found, self._wanted[name].cid)
                (found.lacks if name in found.owed else found.owed).add(name)
                self._ask_no_more(name, peer)
            if late:
                found.misses += 1
                found.window = max(1, found.window // 2)
            if found.misses >= MISSES_MAX:
                useless.append(peer)
        return useless

    def delay(self, by_s: float) -> None:
        """The reader of blocks was slow: what was asked for is not late yet."""
        for wanted in self._wanted.values():
            wanted.asked = {peer: at_s + by_s for peer, at_s in wanted.asked.items()}

    def stuck(self, limit: int) -> list[Cid]:
        """Up to `limit` blocks that none of the peers has; none while a peer has not said whether it has the root."""
        if self.waits_for_probes:
            return []
        useful = [peer for peer in self._peers.values() if peer.has]
        names = (name for name in self._queue if all(name in peer.lacks for peer in useful))
        return [self._wanted[name].cid for name in islice(names, limit)]

    @staticmethod
    def _adapt(peer: _Peer, took_s: float) -> None:
        if took_s < QUICK_S:
            peer.window = min(WINDOW_MAX, peer.window + 1)
        elif took_s > SLOW_S:
            peer.window = max(1, peer.window - 1)

    def _overdue(self, now_s: float, peer: PeerId, found: _Peer) -> list[Multihash]:
        """Blocks that one other peer was asked for a while ago: at the end of a fetch all should not wait for it."""
        room = found.window - len(found.asked)
        overdue = (
            name
            for name, wanted in self._wanted.items()
            if peer not in wanted.asked
            and name not in found.lacks
            and len(wanted.asked) == 1
            and now_s - min(wanted.asked.values()) > HEDGE_S
        )
        return list(islice(overdue, room))

    def _take_back(self, peer: _Peer, cid: Cid) -> None:
        peer.asked.discard(cid.multihash)
        peer.may_still_bring(cid.multihash)
        peer.outbox.append(Want(cid, cancel=True))

    def _ask_no_more(self, name: Multihash, peer: PeerId) -> None:
        wanted = self._wanted.get(name)
        if wanted is not None:
            wanted.asked.pop(peer, None)
            if not wanted.asked:
                self._queue[name] = None


def batches_of(wants: Sequence[Want], count: int) -> list[tuple[Want, ...]]:
    return [tuple(wants[start : start + count]) for start in range(0, len(wants), count)]
