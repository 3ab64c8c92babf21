"""Two nodes compare the heads of the sites that both may host (docs/spec/sync.md, 5)."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence

import trio

from node.core.inputs import HeadSeen, PeerId
from node.net.channel import FrameChannel
from node.replication.comparing import Buckets, receive_listing, receive_summary, send_listing
from node.replication.context import Context
from protocol import messages as msg
from protocol.errors import Malformed
from protocol.member_messages import Of, Summary
from protocol.release import SignedRelease
from protocol.site_id import SiteId
from protocol.summary import TAG_BYTES, Entry, buckets_for, dealt

# Looked at between two turns of others; some milliseconds.
_SITES_AT_ONCE = 200


async def compare_heads(context: Context, channel: FrameChannel, peer: PeerId) -> None:
    """The beginning side. Afterwards each has been offered what it lacks and the other holds."""
    known = await _announceable(context, peer)
    ours = await _buckets(known, buckets_for(len(known)))
    await channel.send(ours.summary(int(time.time())))
    mine = ours.unequal(await receive_summary(channel))
    listed = await receive_listing(channel, Of.SITES)
    await send_listing(channel, Of.SITES, mine)
    await _offer(context, channel, peer, known, mine, listed)
    await _take_offers(context, channel, peer)


async def answer_heads(context: Context, channel: FrameChannel, peer: PeerId, summary: Summary) -> None:
    """The answering side."""
    known = await _announceable(context, peer)
    ours = await _buckets(known, summary.buckets)
    mine = ours.unequal(summary)
    await channel.send(ours.summary(int(time.time())))
    await send_listing(channel, Of.SITES, mine)
    listed = await receive_listing(channel, Of.SITES)
    await _take_offers(context, channel, peer)
    await _offer(context, channel, peer, known, mine, listed)


async def _announceable(context: Context, peer: PeerId) -> list[SignedRelease]:
    """What the peer may be told of: that a site is here is not even to be read out of a sum."""
    known = context.core.known_heads(peer)
    found: list[SignedRelease] = []
    for start in range(0, len(known), _SITES_AT_ONCE):
        chunk = known[start : start + _SITES_AT_ONCE]
        found += [signed for signed in chunk if context.gate.may_announce(signed).allowed]
        await trio.lowlevel.checkpoint()
    return found


async def _buckets(known: Sequence[SignedRelease], count: int) -> Buckets:
    def deal() -> Buckets:
        # A signature tells releases of one sequence apart, and costs nothing to know.
        entries = [Entry(signed.site, signed.seq, signed.signature[:TAG_BYTES]) for signed in known]
        return Buckets(Of.SITES, dealt(entries, count))

    return await trio.to_thread.run_sync(deal) if len(known) > _SITES_AT_ONCE else deal()


async def _offer(
    context: Context,
    channel: FrameChannel,
    peer: PeerId,
    known: Iterable[SignedRelease],
    mine: Iterable[Entry],
    listed: Iterable[Entry],
) -> None:
    equal = {signed.site for signed in known} - {entry.key for entry in mine}
    # One number and another tag: each is offered the other's, so that both see the proof, and one of them counts.
    forked = {(entry.key, entry.number) for entry in mine} & {(entry.key, entry.number) for entry in listed}
    forked -= {(entry.key, entry.number) for entry in {*mine} & {*listed}}
    theirs = {entry.key: entry.number - ((entry.key, entry.number) in forked) for entry in listed}
    sites = _without(context.core.sites(), equal)
    for start in range(0, len(sites), _SITES_AT_ONCE):
        for signed in context.core.newer_than(theirs, peer, sites[start : start + _SITES_AT_ONCE]):
            if context.gate.may_announce(signed).allowed:
                await channel.send(msg.Offer(signed))
        await trio.lowlevel.checkpoint()
    await channel.send(msg.End())


def _without(sites: list[SiteId], equal: Collection[SiteId]) -> list[SiteId]:
    return [site for site in sites if site not in equal]


async def _take_offers(context: Context, channel: FrameChannel, peer: PeerId) -> None:
    while True:
        match await channel.receive():
            case msg.Offer(signed):
                context.network.note_useful(peer)
                context.tell(HeadSeen(peer, signed))
            case msg.End() | None:
                return
            case other:
                raise Malformed(f"expected offers, got {type(other).__name__}")
