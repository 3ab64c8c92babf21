"""How two nodes tell each other of members they do not know (docs/spec/membership.md, 10).

Either side sends at most `STATEMENTS_MAX` statements in one exchange: what is left is found by the next.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from node.net import PeerId
from node.net.channel import FrameChannel
from protocol.errors import Malformed, OverLimit
from protocol.limits import LISTING_MAX_ENTRIES
from protocol.member_messages import Listing, Of, Stated, Summary
from protocol.messages import End
from protocol.site_id import SiteId
from protocol.statement import SignedStatement
from protocol.summary import Entry, buckets_for, dealt, differing, sums_of

log = logging.getLogger(__name__)

STATEMENTS_MAX = 2000
PAGES_MAX = 20


class Register(Protocol):
    """What an exchange reads and changes."""

    def own(self) -> SignedStatement: ...

    def get(self, node: SiteId) -> SignedStatement | None: ...

    def entries(self) -> list[Entry]:
        """One for each known statement: its node and when it was made."""

    def take(self, signed: SignedStatement, sender: PeerId) -> None: ...

    def heard_clock(self, sender: PeerId, now_s: int) -> None: ...

    def now_s(self) -> int:
        """Unix time by this node's clock."""


async def tell(channel: FrameChannel, statements: Iterable[SignedStatement]) -> None:
    """Passes news on; nothing answers."""
    for signed in statements:
        await channel.send(Stated(signed))
    await channel.send(End())


async def compare(channel: FrameChannel, register: Register, peer: PeerId) -> None:
    """The beginning side: afterwards both know of the members that either knew."""
    entries = register.entries()
    ours = dealt(entries, buckets_for(len(entries)))
    await channel.send(Stated(register.own()))
    await channel.send(Summary(Of.MEMBERS, sums_of(ours), register.now_s()))
    register.take(await _statement(channel), peer)
    theirs = await _summary(channel, len(ours))
    register.heard_clock(peer, theirs.now_s)
    listed = await _listing(channel)
    mine = [entry for bucket in differing(sums_of(ours), theirs.sums) for entry in ours[bucket]]
    await _send_newer(channel, register, mine, listed)
    await _send_listing(channel, _newer(listed, mine))
    await _take_all(channel, register, peer)


async def answer(channel: FrameChannel, register: Register, peer: PeerId) -> None:
    """The answering side, of news that are told as well as of a comparison."""
    register.take(await _statement(channel), peer)
    for _ in range(STATEMENTS_MAX):
        match await channel.receive():
            case Stated(signed):
                register.take(signed, peer)
            case Summary(Of.MEMBERS) as summary:
                register.heard_clock(peer, summary.now_s)
                await _answer_summary(channel, register, peer, summary)
                return
            case End() | None:
                return
            case other:
                raise Malformed(f"{type(other).__name__} is not about members")
    raise OverLimit(f"more than {STATEMENTS_MAX} statements")


async def _answer_summary(channel: FrameChannel, register: Register, peer: PeerId, summary: Summary) -> None:
    ours = dealt(register.entries(), summary.buckets)
    sums = sums_of(ours)
    await channel.send(Stated(register.own()))
    await channel.send(Summary(Of.MEMBERS, sums, register.now_s()))
    await _send_listing(channel, [entry for bucket in differing(sums, summary.sums) for entry in ours[bucket]])
    while isinstance(message := await channel.receive(), Stated):
        register.take(message.statement, peer)
    wanted = [entry.key for entry in await _listing(channel, message)]
    for signed in _known(register.get, wanted):
        await channel.send(Stated(signed))
    await channel.send(End())


async def _send_newer(
    channel: FrameChannel, register: Register, mine: Sequence[Entry], listed: Sequence[Entry]
) -> None:
    for signed in _known(register.get, [entry.key for entry in _newer(mine, listed)]):
        await channel.send(Stated(signed))


async def _take_all(channel: FrameChannel, register: Register, peer: PeerId) -> None:
    for _ in range(STATEMENTS_MAX + 1):
        match await channel.receive():
            case Stated(signed):
                register.take(signed, peer)
            case End():
                return
            case other:
                raise Malformed(f"expected statements, got {type(other).__name__}")
    raise OverLimit(f"more than {STATEMENTS_MAX} statements")


def _newer(these: Iterable[Entry], than: Iterable[Entry]) -> list[Entry]:
    """Those that the other side lacks or has an older one of."""
    others = {entry.key: entry.number for entry in than}
    return [entry for entry in these if others.get(entry.key, -1) < entry.number]


def _known(get: Callable[[SiteId], SignedStatement | None], nodes: Sequence[SiteId]) -> Iterable[SignedStatement]:
    return (signed for node in nodes[:STATEMENTS_MAX] if (signed := get(node)) is not None)


async def _statement(channel: FrameChannel) -> SignedStatement:
    match await channel.receive():
        case Stated(signed):
            return signed
        case other:
            raise Malformed(f"expected a statement, got {type(other).__name__}")


async def _summary(channel: FrameChannel, buckets: int) -> Summary:
    match await channel.receive():
        case Summary(Of.MEMBERS) as summary if summary.buckets == buckets:
            return summary
        case other:
            raise Malformed(f"expected the sums of {buckets} buckets, got {type(other).__name__}")


async def _send_listing(channel: FrameChannel, entries: Sequence[Entry]) -> None:
    pages = range(0, min(max(1, len(entries)), LISTING_MAX_ENTRIES * PAGES_MAX), LISTING_MAX_ENTRIES)
    for start in pages:
        page = tuple(entries[start : start + LISTING_MAX_ENTRIES])
        await channel.send(Listing(Of.MEMBERS, page, done=start == pages[-1]))


async def _listing(channel: FrameChannel, first: object = None) -> list[Entry]:
    """All pages; `first` was received already."""
    found: list[Entry] = []
    for _ in range(PAGES_MAX):
        page = await channel.receive() if first is None else first
        first = None
        if not isinstance(page, Listing) or page.of is not Of.MEMBERS:
            raise Malformed(f"expected a listing, got {type(page).__name__}")
        found.extend(page.entries)
        if page.done:
            return found
    raise OverLimit(f"more than {PAGES_MAX} pages")
