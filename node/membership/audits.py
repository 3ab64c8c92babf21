"""Proving what one holds, and having others prove it (docs/spec/membership.md, 5)."""

from __future__ import annotations

import logging
import random
import secrets
from collections.abc import Sequence
from typing import Literal

import trio

from node.core.inputs import Heard, PeerId
from node.core.peers import key_of
from node.net.channel import FrameChannel
from node.net.port import Stream
from node.replication.context import Context
from node.store.errors import BlockCorrupt, BlockMissing
from node.store.port import Store
from protocol import dagpb
from protocol.audit import NONCE_BYTES, proof_of
from protocol.cid import DAG_PB, Cid
from protocol.errors import Malformed, PeerError
from protocol.limits import AUDIT_BLOCKS_MAX, WALK_MAX_DEPTH
from protocol.member_messages import AUDIT_PROTOCOL, Challenge, Proofs
from protocol.messages import Message
from protocol.release import SignedRelease
from protocol.site_id import SiteId

log = logging.getLogger(__name__)

BLOCKS = 2
"""Drawn of each site that is audited: one that is lost in a hundred is found after some dozens of rounds."""

# From the question to its answer: a hundred times what a host needs, so that one under load or far away passes. Who has
# to fetch the blocks first mostly does, too (docs/spec/membership.md, 5).
ANSWER_S = 4.0
OPEN_S = 10.0
# Audits that are answered at once; more wait. Each reads up to 8 MiB.
ANSWERS_AT_ONCE = 2
# A draw comes upon an inner node instead of what lies below it so often: they count as well.
_INNER_SHARE = 1 / 16

Outcome = Literal["proved", "failed", "lacking"]
"""lacking: the prover itself says that it has none of the blocks."""


class Auditor:
    """Asks and answers, under this node's key."""

    def __init__(self, context: Context, me: SiteId) -> None:
        self._context = context
        self._me = me
        self._limit = trio.CapacityLimiter(ANSWERS_AT_ONCE)

    async def serve(self, stream: Stream) -> None:
        """Answers the challenges of one inbound stream. Faults of the peer are counted and end only the stream."""
        verifier = key_of(stream.peer)
        async with FrameChannel(stream, idle_s=OPEN_S, write_s=OPEN_S) as channel:
            try:
                while (message := await channel.receive()) is not None:
                    if not isinstance(message, Challenge) or verifier is None:
                        raise Malformed("expected a challenge")
                    self._context.tell(Heard(stream.peer))
                    async with self._limit:
                        await channel.send(await self._answer(message, verifier))
            except PeerError as error:
                log.info("audit by %s: %s", stream.peer, error)
                self._context.standing.count(trio.current_time(), stream.peer, error.code)

    async def _answer(self, challenge: Challenge, verifier: SiteId) -> Proofs:
        """What may not be given to peers is no copy for them."""
        state = self._context.core.state_of(challenge.site)
        held = state.held if state else None
        if held is None or not self._context.gate.may_serve_peers(held).allowed:
            return Proofs((b"",) * len(challenge.cids))
        return await self._context.in_store(self._prove, challenge, verifier)

    def _prove(self, challenge: Challenge, verifier: SiteId) -> Proofs:
        """A proof for each block that belongs to the site's held release."""
        belonging = self._context.store.blocks_of(challenge.site, challenge.cids)
        proofs = []
        for cid in challenge.cids:
            block = _read(self._context.store, cid) if cid in belonging else None
            proofs.append(b"" if block is None else proof_of(challenge.nonce, self._me, verifier, cid, block))
        return Proofs(tuple(proofs))

    async def audit(self, peer: PeerId, sites: Sequence[SiteId]) -> dict[SiteId, Outcome]:
        """What came of asking about each site. Raises PeerError when the peer cannot be reached or says nothing.

        An answer that comes too late is a failure: it may have been fetched for the occasion. Sites that this node no
        longer holds itself are left out.
        """
        prover = key_of(peer)
        if prover is None:
            raise Malformed(f"{peer} is no fednode node")
        outcomes: dict[SiteId, Outcome] = {}
        stream = await self._context.network.open(peer, AUDIT_PROTOCOL, deadline_s=OPEN_S)
        async with FrameChannel(stream, idle_s=OPEN_S, write_s=OPEN_S) as channel:
            for site in sites:
                blocks = await self._context.in_store(draw_blocks, self._context.store, site, BLOCKS)
                if blocks:
                    outcomes[site] = await self._ask(channel, prover, site, blocks)
        return outcomes

    async def _ask(self, channel: FrameChannel, prover: SiteId, site: SiteId, blocks: dict[Cid, bytes]) -> Outcome:
        challenge = Challenge(secrets.token_bytes(NONCE_BYTES), site, tuple(blocks))
        asked_s = trio.current_time()
        await channel.send(challenge)
        answer = await channel.receive()
        late = trio.current_time() > asked_s + ANSWER_S
        wanted = await trio.to_thread.run_sync(self._wanted, challenge, prover, blocks)
        proofs = proofs_of(answer)
        if not any(proofs):
            return "lacking"
        return "proved" if not late and proofs == wanted else "failed"

    def _wanted(self, challenge: Challenge, prover: SiteId, blocks: dict[Cid, bytes]) -> tuple[bytes, ...]:
        return tuple(proof_of(challenge.nonce, prover, self._me, cid, block) for cid, block in blocks.items())


def proofs_of(answer: Message | None) -> tuple[bytes, ...]:
    """Raises Malformed for an answer that is none."""
    if not isinstance(answer, Proofs):
        raise Malformed("expected proofs")
    return answer.proofs


def draw_blocks(store: Store, site: SiteId, count: int) -> dict[Cid, bytes]:
    """Some blocks of the site's held release, drawn at random: a byte of a large file counts as much as one of a small.

    Empty when the site is not held, or a block on the way is damaged here.
    """
    held = _held(store, site)
    if held is None or held.release.root is None:
        return {}
    rng = random.Random(secrets.randbits(128))  # noqa: S311 - seeded from the system, so nobody foresees it
    found: dict[Cid, bytes] = {}
    for _ in range(min(count, AUDIT_BLOCKS_MAX)):
        drawn = _draw(store, held.release.root, rng)
        if drawn is None:
            return {}
        found[drawn[0]] = drawn[1]
    return found


def _draw(store: Store, root: Cid, rng: random.Random) -> tuple[Cid, bytes] | None:
    cid = root
    for _ in range(WALK_MAX_DEPTH):
        block = _read(store, cid)
        if block is None:
            return None
        links = dagpb.decode(block).links if cid.codec == DAG_PB else ()
        if not links or rng.random() < _INNER_SHARE:
            return cid, block
        cid = rng.choices(links, [max(1, link.tsize or 1) for link in links])[0].cid
        if not cid.is_own_kind():
            return None
    return None


def _held(store: Store, site: SiteId) -> SignedRelease | None:
    record = store.site(site)
    return record.held if record else None


def _read(store: Store, cid: Cid) -> bytes | None:
    try:
        return store.get_block(cid)
    except (BlockMissing, BlockCorrupt) as error:
        log.warning("audit: %s", error)
        return None
