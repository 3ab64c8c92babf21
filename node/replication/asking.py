"""Asking a node for the head of a site, as its peers and its publishers do."""

from __future__ import annotations

import trio

from node.net.channel import FrameChannel
from protocol import messages as msg
from protocol.errors import Malformed, WrongSite
from protocol.release import SignedRelease
from protocol.site_id import SiteId


async def ask_head(
    stream: trio.abc.HalfCloseableStream, site: SiteId, *, idle_s: float, write_s: float
) -> SignedRelease | msg.Refuse:
    """The newest release that the node gives, or its refusal (not-found: it knows none). Closes the stream.

    Raises PeerError when the node breaks off or answers with anything else.
    """
    async with FrameChannel(stream, idle_s=idle_s, write_s=write_s) as channel:
        await channel.send(msg.Ask(site))
        match await channel.receive():
            case msg.Offer(signed):
                if signed.site != site:
                    raise WrongSite(f"asked for {site}, was offered {signed.site}")
                return signed
            case msg.Refuse() as refusal:
                return refusal
            case None:
                raise Malformed("the node ended the exchange without a word")
            case other:
                raise Malformed(f"expected an answer to ask, got {type(other).__name__}")
