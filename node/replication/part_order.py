"""Which block of a file comes after which, as far as readers' blocks have shown it: what to fetch ahead."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise

from protocol import dagpb
from protocol.cid import DAG_PB, Cid
from protocol.errors import DecodeError

# Fetched ahead of a reader: more than the fastest line has under way, and little to lose when the reader leaves.
AHEAD_BLOCKS = 16
# Blocks of which it is known what follows them: those of a file of 16 GiB, 100 bytes each.
FOLLOWED_MAX = 16_384
# What was fetched ahead must not push out what a reader is about to read.
AHEAD_MIN_QUOTA_BYTES = 4 * AHEAD_BLOCKS * 1024 * 1024


class PartOrder:
    """Bounded: what was noted first is forgotten first."""

    def __init__(self) -> None:
        self._next: OrderedDict[Cid, Cid] = OrderedDict()

    def note(self, cid: Cid, data: bytes) -> None:
        """Links without names are the parts of a file."""
        if cid.codec != DAG_PB:
            return
        try:
            links = dagpb.decode(data).links
        except DecodeError:
            return  # whoever reads it will say so
        parts = [link.cid for link in links if not link.name]
        for one, following in pairwise(parts):
            self._next[one] = following
        while len(self._next) > FOLLOWED_MAX:
            self._next.popitem(last=False)

    def after(self, cid: Cid) -> list[Cid]:
        """Up to AHEAD_BLOCKS parts that come next."""
        ahead: list[Cid] = []
        while len(ahead) < AHEAD_BLOCKS and (following := self._next.get(cid)) is not None:
            ahead.append(following)
            cid = following
        return ahead
