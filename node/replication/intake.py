"""The answering side of /fednode/publish/1: a publisher offers a release and this node pulls what it lacks.

The same exchange runs over libp2p (anybody, under the hosting policy) and over the local Unix socket (the operator,
who may publish whatever no rule refuses).
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Protocol

import trio

from node.core.inputs import Stored
from node.net.channel import FrameChannel
from node.policy.invitations import BadInvitation
from node.replication.context import IDLE_S, Context
from node.replication.gate import Refused
from node.replication.pull import PullResult, pull
from node.replication.serving import refuse_quietly
from node.store.errors import HoldGone, QuotaExceeded
from node.store.port import Origin
from protocol import messages as msg
from protocol.errors import Malformed, OperatorError, PeerError, StaleRelease
from protocol.release import SignedRelease
from protocol.site_id import SiteId

PUBLISHES_MAX = 8
_DISK_FAILS = "the node cannot write to its disk at the moment"

log = logging.getLogger(__name__)


class Guests(Protocol):
    """Whom the operator invited (node/invitation_control.py)."""

    async def redeem(self, secret: bytes, site: SiteId) -> bool:
        """Takes the site in; False when it was in before. BadInvitation."""

    async def withdraw(self, site: SiteId) -> None:
        """It was refused for another reason."""


class CancelsFetches(Protocol):
    """The one thing that intake needs of the replicator: a publisher's own copy goes before a fetch."""

    def cancel_fetch(self, site: SiteId) -> None: ...


class Intake:
    """Takes releases from publishers."""

    def __init__(self, context: Context, fetches: CancelsFetches, guests: Guests | None = None) -> None:
        self._context = context
        self._fetches = fetches
        self._guests = guests
        self._publishes = 0

    async def serve(self, stream: trio.abc.HalfCloseableStream, peer: str | None) -> None:
        """One publish. `peer` is None on the local socket; its faults are then nobody's to count."""
        context = self._context
        channel = FrameChannel(stream, idle_s=IDLE_S, write_s=IDLE_S)
        if peer is not None and context.standing.shunned(trio.current_time(), peer):
            await refuse_quietly(channel, "busy", "too many faults lately; try again later")
            return
        if self._publishes >= PUBLISHES_MAX:
            await refuse_quietly(channel, "busy", "too many publishes at once; try again in a minute")
            return
        self._publishes += 1
        try:
            await self._take(channel, peer)
        except PeerError as error:
            log.info("publish from %s: %s (%s)", peer or "this machine", error, error.code)
            if peer is not None:
                context.standing.count(trio.current_time(), peer, error.code)
            await refuse_quietly(channel, "bad-release", str(error))
        except OperatorError as error:
            log.error("a publish from %s: %s", peer or "this machine", error)
            await refuse_quietly(channel, "full", _DISK_FAILS)
        except Exception:  # root of the task of a publish on the local socket
            log.exception("a publish from %s failed", peer or "this machine")
            await refuse_quietly(channel, "internal", "the node failed; its log says how")
        finally:
            self._publishes -= 1
            await trio.aclose_forcefully(stream) if peer is None else await channel.aclose()

    async def _take(self, channel: FrameChannel, peer: str | None) -> None:
        first = await channel.receive()
        secret = first.secret if isinstance(first, msg.Invited) else None
        match await channel.receive() if secret is not None else first:
            case msg.Offer(signed):
                pass
            case msg.Ask(site):
                await self._answer_ask(channel, site, local=peer is None)
                return
            case None:
                return
            case other:
                raise Malformed(f"{type(other).__name__} opens no publish")
        if secret is None:
            answer = await self._decide(channel, signed, local=peer is None)
        else:
            answer = await self._decide_invited(channel, signed, secret)
        if peer is not None and isinstance(answer, msg.Refuse) and answer.code == "stale":
            self._context.standing.count(trio.current_time(), peer, StaleRelease.code)
        await channel.send(answer)

    async def _decide_invited(
        self, channel: FrameChannel, signed: SignedRelease, secret: bytes
    ) -> msg.Have | msg.Refuse:
        """An invitation is not used up on what is refused anyway."""
        guests, site = self._guests, signed.site
        if guests is None:
            return msg.Refuse(BadInvitation.code, "this node invites nobody", site)
        try:
            is_new = await guests.redeem(secret, site)
            answer = await self._decide(channel, signed, local=False)
            state = self._context.core.state_of(site)
            if is_new and isinstance(answer, msg.Refuse) and (state is None or state.held is None):
                await guests.withdraw(site)
        except BadInvitation as error:
            return msg.Refuse(error.code, msg.clip_reason(str(error)), site)
        except OperatorError as error:
            log.error("cannot take an invitation for %s: %s", site, error)
            return msg.Refuse("internal", _DISK_FAILS, site)
        return answer

    async def _answer_ask(self, channel: FrameChannel, site: SiteId, *, local: bool) -> None:
        """A publisher without records of its own asks which sequence comes next."""
        state = self._context.core.state_of(site)
        if state is None or state.head is None:
            await channel.send(msg.Refuse("not-found", "this node knows no release of the site", site))
            return
        verdict = self._context.gate.may_serve_peers(state.head)
        if local or verdict.allowed:
            await channel.send(msg.Offer(state.head))
        else:
            await channel.send(msg.Refuse(verdict.code, msg.clip_reason(verdict.reason), site))

    async def _decide(self, channel: FrameChannel, signed: SignedRelease, *, local: bool) -> msg.Have | msg.Refuse:
        context, site = self._context, signed.site
        state = context.core.state_of(site)
        if state is not None and state.head is not None and state.head.release.ended:
            if state.head.cid == signed.cid:
                return msg.Have(site, signed.seq, 0, 0)
            return msg.Refuse("ended", "the publisher has ended this site", site)
        try:
            context.core.check(signed)
        except StaleRelease as error:
            return msg.Refuse("stale", msg.clip_reason(str(error)), site)
        if signed.release.ended:
            return await self._end(signed)
        verdict = context.gate.may_host(signed, local=local)
        if not verdict.allowed:
            return msg.Refuse(verdict.code, msg.clip_reason(verdict.reason), site)
        if state is not None and state.held is not None and state.held.cid == signed.cid:
            return msg.Have(site, signed.seq, 0, 0)
        self._fetches.cancel_fetch(site)
        async with context.lock_of(site):
            return await self._store(channel, signed, local=local)

    async def _end(self, signed: SignedRelease) -> msg.Have | msg.Refuse:
        context = self._context
        if context.core.state_of(signed.site) is None:
            return msg.Refuse("not-found", "this node does not know the site", signed.site)
        self._fetches.cancel_fetch(signed.site)
        async with context.lock_of(signed.site):
            await context.in_store(context.store.end_site, signed)
        context.tell(Stored(signed))
        return msg.Have(signed.site, signed.seq, 0, 0)

    async def _store(self, channel: FrameChannel, signed: SignedRelease, *, local: bool) -> msg.Have | msg.Refuse:
        context, site, store = self._context, signed.site, self._context.store
        try:
            known = context.core.state_of(site)
            chosen = (known is not None and known.held is not None) or site in context.gate.policy.hosting.follow
            hold = await context.in_store(partial(context.begin_hold, may_use_reserve=chosen), signed)
        except OperatorError as error:
            return _full(error, site)
        try:
            result = await pull(context, channel, hold, signed, local=local, report=True)
            await context.in_store(lambda: store.finish_hold(hold, origin=Origin.PUBLISHED))
        except Refused as error:
            await context.in_store(store.abort_hold, hold)
            return msg.Refuse(error.verdict.code, msg.clip_reason(error.verdict.reason), site)
        except HoldGone:
            return msg.Refuse("busy", "the site was dropped or replaced meanwhile; publish again", site)
        except OperatorError as error:
            await context.in_store(store.abort_hold, hold)
            return _full(error, site)
        self._log_stored(signed, result)
        context.published.add(site)
        context.tell(Stored(signed))
        return msg.Have(site, signed.seq, result.new_blocks, result.new_bytes)

    def _log_stored(self, signed: SignedRelease, result: PullResult) -> None:
        log.info(
            "published release %d of %s: %d new blocks, %d bytes",
            signed.seq,
            signed.site,
            result.new_blocks,
            result.new_bytes,
        )


def _full(error: OperatorError, site: SiteId) -> msg.Refuse:
    """Tells the publisher that the fault is on this side, without the operator's paths and figures."""
    log.warning("cannot take a publish of %s: %s", site, error)
    if isinstance(error, QuotaExceeded):
        reason = "the node's quota has no room for this site, beside what it keeps for sites that lack hosts"
        return msg.Refuse("full", reason, site)
    return msg.Refuse("full", _DISK_FAILS, site)
