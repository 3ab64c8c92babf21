"""The answering side of /fednode/sync/1 (docs/spec/sync.md): heads, offers, asks and fetches of peers."""

from __future__ import annotations

import logging

import trio

from node.core.inputs import HeadSeen
from node.net.channel import FrameChannel
from node.net.port import Stream
from node.replication.context import IDLE_S, Context
from node.replication.heads import answer_heads
from node.store.errors import BlockCorrupt, BlockMissing
from node.store.port import Store
from protocol import messages as msg
from protocol.cid import Cid
from protocol.errors import Malformed, PeerError, StaleRelease
from protocol.member_messages import Of, Summary, Wanted
from protocol.release import SignedRelease
from protocol.site_id import SiteId

# Blocks read in one go: enough to keep a stream busy, little enough for many streams at once.
READ_AHEAD_BYTES = 2 * 1024 * 1024

log = logging.getLogger(__name__)


async def serve_sync(context: Context, stream: Stream) -> None:
    """Handles one inbound stream; faults of the peer are answered, counted and end only this stream."""
    if context.standing.shunned(trio.current_time(), stream.peer):
        stream.reset()
        return
    channel = FrameChannel(stream, idle_s=IDLE_S, write_s=IDLE_S)
    try:
        await _answer(context, channel, stream.peer)
    except PeerError as error:
        log.info("peer %s: %s (%s)", stream.peer, error, error.code)
        context.standing.count(trio.current_time(), stream.peer, error.code)
        await refuse_quietly(channel, "bad-request", str(error))


async def refuse_quietly(channel: FrameChannel, code: str, reason: str, subject: bytes = b"") -> None:
    """Says why before the stream ends, if the other side still listens."""
    try:
        await channel.send(msg.Refuse(code, msg.clip_reason(reason), subject))
    except PeerError as error:
        log.debug("could not say %s: %s", code, error)


async def _answer(context: Context, channel: FrameChannel, peer: str) -> None:
    match await channel.receive():
        case None:
            return
        case Summary(Of.SITES) as summary:
            await answer_heads(context, channel, peer, summary)
        case msg.Offer(release):
            await _answer_offer(context, channel, peer, release)
        case Wanted(release):
            await _answer_offer(context, channel, peer, release, wanted=True)
        case msg.Ask(site):
            await channel.send(answer_ask(context, site))
        case msg.Fetch(site, release_cid):
            await _answer_fetch(context, channel, site, release_cid)
        case other:
            raise Malformed(f"{type(other).__name__} opens no exchange")


async def _answer_offer(
    context: Context, channel: FrameChannel, peer: str, signed: SignedRelease, *, wanted: bool = False
) -> None:
    """Answers `Have` with the sequence held now (a fetch follows if it is lower), `End` if none is, or `Refuse`."""
    try:
        context.core.check_offer(signed)
    except StaleRelease as error:
        context.standing.count(trio.current_time(), peer, error.code)
        context.tell(HeadSeen(peer, signed))
        await channel.send(msg.Refuse("stale", msg.clip_reason(str(error)), signed.site))
        return
    verdict = context.gate.may_host(signed)
    context.tell(HeadSeen(peer, signed, wanted))
    if not verdict.allowed:
        await channel.send(msg.Refuse(verdict.code, msg.clip_reason(verdict.reason), signed.site))
        return
    state = context.core.state_of(signed.site)
    if state is None or not (state.held or state.fetching or state.sources or state.complete):
        await channel.send(msg.Refuse("not-needed", "enough other nodes host the site", signed.site))
        return
    if not state.complete and not state.fits(trio.current_time(), signed):
        await channel.send(msg.Refuse("full", "the node has no room for this release", signed.site))
        return
    held = state.held
    if held is not None:  # it hosts what is hosted here
        context.network.note_useful(peer)
    await channel.send(msg.Have(signed.site, held.seq, 0, 0) if held else msg.End())


def answer_ask(context: Context, site: SiteId) -> msg.Offer | msg.Refuse:
    """What this node says to "do you host this site?"."""
    state = context.core.state_of(site)
    best = state.best if state else None
    if best is None:
        return msg.Refuse("not-found", "this node does not host the site", site)
    verdict = context.gate.may_serve_peers(best)
    if not verdict.allowed:
        return msg.Refuse(verdict.code, msg.clip_reason(verdict.reason), site)
    return msg.Offer(best)


async def _answer_fetch(context: Context, channel: FrameChannel, site: SiteId, release_cid: Cid) -> None:
    """Sends what is wanted of one held release, asking the gate for each block, until the peer ends the stream."""
    while (wanted := await channel.receive()) is not None:
        if not isinstance(wanted, msg.Want):
            raise Malformed(f"expected want, got {type(wanted).__name__}")
        remaining = list(wanted.cids)
        while remaining:
            blocks = await context.in_store(read_some, context.store, site, remaining)
            for cid, data in blocks:
                await channel.send(_block_answer(context, site, release_cid, cid, data))
            del remaining[: len(blocks)]


def read_some(store: Store, site: SiteId, cids: list[Cid]) -> list[tuple[Cid, bytes | None]]:
    """The first blocks of `cids`, at least one and at most about READ_AHEAD_BYTES; None where the site has none.

    A block that some other site shares is not given away: it must belong to this site's held release.
    """
    belonging = store.blocks_of(site, cids)
    found: list[tuple[Cid, bytes | None]] = []
    size_bytes = 0
    for cid in cids:
        data = None
        if cid in belonging:
            try:
                data = store.get_block(cid)
            except (BlockMissing, BlockCorrupt) as error:
                log.warning("block %s of %s: %s", cid, site, error)
        found.append((cid, data))
        size_bytes += len(data or b"")
        if size_bytes >= READ_AHEAD_BYTES:
            break
    return found


def _block_answer(
    context: Context, site: SiteId, release_cid: Cid, cid: Cid, data: bytes | None
) -> msg.Block | msg.Missing | msg.Refuse:
    state = context.core.state_of(site)
    held = state.held if state else None
    if held is None or held.cid != release_cid:
        return msg.Refuse("not-found", "this node does not hold that release any more", cid)
    verdict = context.gate.may_serve_peers(held)
    if verdict.allowed:
        verdict = context.gate.may_send_block(held, cid)
    if not verdict.allowed:
        return msg.Refuse(verdict.code, msg.clip_reason(verdict.reason), cid)
    return msg.Missing(cid) if data is None else msg.Block(cid, data)
