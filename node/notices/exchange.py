"""The answering side of /fednode/notices/1 (docs/spec/notice.md): notices for whoever asks, appeals, and a publisher's
way to its own data."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable

import trio

from node.casework.model import BadReport
from node.net.channel import FrameChannel
from node.net.port import Stream
from node.notices.office import NoticeOffice
from node.replication.context import IDLE_S, Context
from node.replication.serving import read_some, refuse_quietly
from protocol import messages as msg
from protocol.cid import Cid
from protocol.errors import DecodeError, Malformed, OperatorError, PeerError
from protocol.limits import EXPORT_NONCE_BYTES, NOTICES_MAX
from protocol.notice import SignedAppeal, check_export_proof
from protocol.release import SignedRelease
from protocol.site_id import SiteId

EXCHANGES_MAX = 16

log = logging.getLogger(__name__)


class NoticeExchange:
    """Answers publishers. Reading notices needs no key: they are public. Everything else needs the site's."""

    def __init__(
        self, context: Context, office: NoticeOffice, take_appeal: Callable[[SignedAppeal], Awaitable[None]]
    ) -> None:
        self._context = context
        self._office = office
        self._take_appeal = take_appeal
        self._open = 0

    async def serve(self, stream: Stream) -> None:
        """One inbound stream; faults of the peer are answered, counted and end only this stream."""
        standing = self._context.standing
        if standing.shunned(trio.current_time(), stream.peer):
            stream.reset()
            return
        async with FrameChannel(stream, idle_s=IDLE_S, write_s=IDLE_S) as channel:
            if self._open >= EXCHANGES_MAX:
                await refuse_quietly(channel, "busy", "too many ask at once; try again in a minute")
                return
            self._open += 1
            try:
                await self._answer(channel)
            except PeerError as error:
                log.info("peer %s: %s (%s)", stream.peer, error, error.code)
                standing.count(trio.current_time(), stream.peer, error.code)
                await refuse_quietly(channel, "bad-request", str(error))
            except OperatorError as error:
                log.error("%s", error)
                await refuse_quietly(channel, "internal", "this node cannot read or write its notices")
            finally:
                self._open -= 1

    async def _answer(self, channel: FrameChannel) -> None:
        match await channel.receive():
            case None:
                return
            case msg.AskNotices(site):
                found = await trio.to_thread.run_sync(self._office.book.of_site, site, NOTICES_MAX)
                await channel.send(msg.Notices(tuple(found)))
            case msg.HandAppeal(raw):
                await self._appeal(channel, SignedAppeal.decode(raw))
            case msg.AskExport(site):
                await self._export(channel, site)
            case other:
                raise Malformed(f"{type(other).__name__} opens no exchange about notices")

    async def _appeal(self, channel: FrameChannel, signed: SignedAppeal) -> None:
        try:
            await self._take_appeal(signed)
        except BadReport as error:
            await channel.send(msg.Refuse("not-found", msg.clip_reason(str(error)), signed.appeal.site))
        else:
            await channel.send(msg.End())

    async def _export(self, channel: FrameChannel, site: SiteId) -> None:
        """The site must be kept here; whoever asks must have its key. Policy is not asked: the data is the publisher's,
        and an operator who may not give it away deletes it."""
        nonce = secrets.token_bytes(EXPORT_NONCE_BYTES)
        await channel.send(msg.Challenge(nonce))
        proof = await channel.receive()
        if not isinstance(proof, msg.Proof):
            raise Malformed("an export begins with a proof")
        try:
            check_export_proof(site, self._office.node, nonce, proof.signature)
        except DecodeError as error:
            log.info("no export of %s: %s", site, error)
            await channel.send(msg.Refuse("bad-request", "this is not the proof of the site's key", site))
            return
        held = self._held(site)
        if held is None:
            await channel.send(msg.Refuse("not-found", "this node keeps nothing of the site", site))
            return
        log.info("export of %s to its publisher", site)
        await channel.send(msg.Offer(held))
        while (wanted := await channel.receive()) is not None:
            if not isinstance(wanted, msg.Want):
                raise Malformed(f"expected want, got {type(wanted).__name__}")
            await self._give(channel, held, list(wanted.cids))

    async def _give(self, channel: FrameChannel, held: SignedRelease, remaining: list[Cid]) -> None:
        while remaining:
            if self._held(held.site) != held:
                await channel.send(msg.Refuse("not-found", "this node does not hold that release any more", held.site))
                return
            blocks = await self._context.in_store(read_some, self._context.store, held.site, remaining)
            for cid, data in blocks:
                await channel.send(msg.Missing(cid) if data is None else msg.Block(cid, data))
            del remaining[: len(blocks)]

    def _held(self, site: SiteId) -> SignedRelease | None:
        state = self._context.core.state_of(site)
        return state.held if state else None
