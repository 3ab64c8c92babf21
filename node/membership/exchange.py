"""How two nodes tell each other of members they do not know (docs/spec/membership.md, 10).

Either side sends at most `STATEMENTS_MAX` statements in one exchange: what is left is found by the next.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from node.net.channel import FrameChannel
from node.net.port import PeerId
from node.replication.comparing import Buckets, receive_listing, receive_summary, send_listing
from protocol.errors import Malformed, OverLimit
from protocol.member_messages import Of, Stated, Summary
from protocol.messages import End
from protocol.site_id import SiteId
from protocol.statement import SignedStatement
from protocol.summary import Entry, buckets_for, dealt

log = logging.getLogger(__name__)

STATEMENTS_MAX = 2000


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
    ours = Buckets(Of.MEMBERS, dealt(entries, buckets_for(len(entries))))
    await channel.send(Stated(register.own()))
    await channel.send(ours.summary(register.now_s()))
    register.take(await _statement(channel), peer)
    theirs = await receive_summary(channel)
    mine = ours.unequal(theirs)
    register.heard_clock(peer, theirs.now_s)
    listed = await receive_listing(channel, Of.MEMBERS)
    await _send_newer(channel, register, mine, listed)
    await send_listing(channel, Of.MEMBERS, _newer(listed, mine))
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
    ours = Buckets(Of.MEMBERS, dealt(register.entries(), summary.buckets))
    await channel.send(Stated(register.own()))
    await channel.send(ours.summary(register.now_s()))
    await send_listing(channel, Of.MEMBERS, ours.unequal(summary))
    while isinstance(message := await channel.receive(), Stated):
        register.take(message.statement, peer)
    wanted = [entry.key for entry in await receive_listing(channel, Of.MEMBERS, message)]
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
