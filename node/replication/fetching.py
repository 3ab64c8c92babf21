"""Fetching a release from its hosts: a hold in the store, streams to the fastest of them, and the pull between."""

from __future__ import annotations

import logging
from functools import partial
from typing import Literal

from node.net.port import PeerId
from node.replication.context import Context
from node.replication.gate import Refused
from node.replication.pull import Pull
from node.replication.slots import Slot
from node.replication.sources import Hosts, Sources
from node.store.errors import HoldGone, QuotaExceeded, StoreFull
from node.store.port import Origin
from protocol.errors import OperatorError, PeerError
from protocol.release import SignedRelease

Fetched = Literal["stored", "source", "local", "refused", "full"]
log = logging.getLogger(__name__)


async def fetch_release(context: Context, signed: SignedRelease, first: PeerId, others: Hosts, slot: Slot) -> Fetched:
    """Fetches all that is missing of `signed` from `first` and whoever else has it, and makes it the held release.

    What arrived stays in the hold, so that the next attempt goes on from there.
    """
    try:
        begin = partial(context.begin_hold, may_use_reserve=context.core.may_use_reserve(signed))
        hold = await context.in_store(begin, signed)
        run = Pull(context, hold, signed)
        sources = Sources(context, run, signed, others, first=first, look=lambda: slot.look(run.came_bytes))
        result = await run.complete(sources.draw)
        await context.in_store(lambda: context.store.finish_hold(hold, origin=Origin.REPLICATED))
    except Refused as error:
        log.info("stopped fetching %s: %s", signed.site, error)
        await context.in_store(context.store.abort_hold, hold)
        return "refused"
    except HoldGone:
        return "refused"
    except OperatorError as error:
        log.warning("cannot take release %d of %s: %s", signed.seq, signed.site, error)
        return "full" if isinstance(error, QuotaExceeded | StoreFull) else "local"
    except PeerError as error:
        log.info("fetching %s: %s", signed.site, error)
        return "source"
    log.info(
        "stored release %d of %s from %s: %d new blocks, %d bytes",
        signed.seq, signed.site, ", ".join(sources.useful) or "this node", result.new_blocks, result.new_bytes,
    )  # fmt: skip
    return "stored"
