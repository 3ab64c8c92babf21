"""Fetching a release from one host: a hold in the store, a stream to the host, and the pull between them."""

from __future__ import annotations

import logging
from typing import Literal

import trio

from node.net.channel import FrameChannel
from node.net.port import PeerId
from node.replication.context import IDLE_S, OPEN_DEADLINE_S, Context
from node.replication.gate import Refused
from node.replication.pull import pull
from node.store.errors import HoldGone
from node.store.port import Origin
from protocol import messages as msg
from protocol.errors import OperatorError, PeerError
from protocol.messages import SYNC_PROTOCOL
from protocol.release import SignedRelease

Fetched = Literal["stored", "source", "local", "refused"]

log = logging.getLogger(__name__)


async def fetch_release(context: Context, signed: SignedRelease, source: PeerId) -> Fetched:
    """Fetches all that is missing of `signed` from `source` and makes it the held release.

    What arrived stays in the hold, so that the next attempt, from this or another host, goes on from there.
    """
    try:
        hold = await context.in_store(context.store.begin_hold, signed)
        stream = await context.network.open(source, SYNC_PROTOCOL, deadline_s=OPEN_DEADLINE_S)
        async with FrameChannel(stream, idle_s=IDLE_S, write_s=IDLE_S) as channel:
            await channel.send(msg.Fetch(signed.site, signed.cid))
            result = await pull(context, channel, hold, signed)
        context.network.note_useful(source)
        await context.in_store(lambda: context.store.finish_hold(hold, origin=Origin.REPLICATED))
    except Refused as error:
        log.info("stopped fetching %s: %s", signed.site, error)
        await context.in_store(context.store.abort_hold, hold)
        return "refused"
    except HoldGone:
        return "refused"
    except OperatorError as error:
        log.warning("cannot take release %d of %s: %s", signed.seq, signed.site, error)
        return "local"
    except PeerError as error:
        log.info("fetching %s from %s: %s", signed.site, source, error)
        context.standing.count(trio.current_time(), source, error.code)
        return "source"
    log.info(
        "stored release %d of %s from %s: %d new blocks, %d bytes",
        signed.seq, signed.site, source, result.new_blocks, result.new_bytes,
    )  # fmt: skip
    return "stored"
