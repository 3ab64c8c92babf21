"""Finding what two nodes know differently, over one stream (docs/spec/membership.md, 9)."""

from __future__ import annotations

from collections.abc import Sequence

from node.net.channel import FrameChannel
from protocol.errors import Malformed, OverLimit
from protocol.limits import LISTING_MAX_ENTRIES
from protocol.member_messages import Listing, Of, Summary
from protocol.messages import Message
from protocol.summary import Entry, differing, sums_of

# With 4,096 buckets, a tenth of 200,000 entries that differ is all of them.
PAGES_MAX = 200


class Buckets:
    """What one side knows, dealt into buckets, against what the other side knows."""

    def __init__(self, of: Of, dealt: list[list[Entry]]) -> None:
        self._of = of
        self._dealt = dealt
        self._sums = sums_of(dealt)

    def summary(self, now_s: int) -> Summary:
        return Summary(self._of, self._sums, now_s)

    def unequal(self, theirs: Summary) -> list[Entry]:
        """The own entries of the buckets that differ. Raises Malformed for a summary of something else."""
        if theirs.of is not self._of or theirs.buckets != len(self._dealt):
            raise Malformed(f"expected the sums of {len(self._dealt)} buckets of {self._of}")
        return [entry for bucket in differing(self._sums, theirs.sums) for entry in self._dealt[bucket]]


async def receive_summary(channel: FrameChannel) -> Summary:
    """Raises PeerError."""
    message = await channel.receive()
    if not isinstance(message, Summary):
        raise Malformed(f"expected a summary, got {type(message).__name__}")
    return message


async def send_listing(channel: FrameChannel, of: Of, entries: Sequence[Entry]) -> None:
    """At most as many as the receiver takes; what is left is found by the next comparison."""
    pages = range(0, min(max(1, len(entries)), LISTING_MAX_ENTRIES * PAGES_MAX), LISTING_MAX_ENTRIES)
    for start in pages:
        page = tuple(entries[start : start + LISTING_MAX_ENTRIES])
        await channel.send(Listing(of, page, done=start == pages[-1]))


async def receive_listing(channel: FrameChannel, of: Of, first: Message | None = None) -> list[Entry]:
    """All pages; `first` was received already. Raises PeerError."""
    found: list[Entry] = []
    page = first
    for _ in range(PAGES_MAX):
        if page is None:
            page = await channel.receive()
        if not isinstance(page, Listing) or page.of is not of:
            raise Malformed(f"expected a listing of {of}, got {type(page).__name__}")
        found.extend(page.entries)
        if page.done:
            return found
        page = None
    raise OverLimit(f"more than {PAGES_MAX} pages")
