"""Hosts of one site that speak the real protocol, each with a fault of its own."""

from __future__ import annotations

from dataclasses import dataclass, field

import trio

from node.net.channel import FrameChannel
from node.net.port import Stream
from node.replication.comparing import receive_listing, send_listing
from protocol import messages as msg
from protocol.cid import Cid
from protocol.member_messages import Of, Summary
from protocol.messages import SYNC_PROTOCOL
from tests.unit.replication.kit import DEADLINE_S, MemoryNode, TreeSite


def already_set() -> trio.Event:
    event = trio.Event()
    event.set()
    return event


@dataclass
class Host:
    """Offers `site` to whoever asks, and sends its blocks `pace_s` apart: `wrong` ones changed, `lacking` ones not.

    stall_after: so many blocks were sent, after which it sends no more until `go_on`.
    """

    site: TreeSite
    pace_s: float = 0.0
    wrong: frozenset[Cid] = frozenset()
    lacking: frozenset[Cid] = frozenset()
    stall_after: int | None = None
    forgotten: bool = False
    go_on: trio.Event = field(default_factory=trio.Event)
    may_send: trio.Event = field(default_factory=already_set)
    sent: list[Cid] = field(default_factory=list)
    opened: int = 0
    asked: int = 0

    def on(self, node: MemoryNode) -> Host:
        """Takes the place of what `node` would say."""
        node.network.serve(SYNC_PROTOCOL, self.serve)
        return self

    async def serve(self, stream: Stream) -> None:
        channel = FrameChannel(stream, idle_s=DEADLINE_S, write_s=DEADLINE_S)
        match await channel.receive():
            case Summary() as summary:
                await self._compare(channel, summary)
            case msg.Ask():
                self.asked += 1
                await channel.send(msg.Offer(self.site.signed))
            case msg.Offer():
                await channel.send(msg.End())
            case msg.Fetch():
                self.opened += 1
                await self._send_blocks(channel)
            case _:
                pass

    async def _compare(self, channel: FrameChannel, summary: Summary) -> None:
        await channel.send(summary)
        await send_listing(channel, Of.SITES, [])
        await receive_listing(channel, Of.SITES)
        while isinstance(await channel.receive(), msg.Offer):
            pass
        await channel.send(msg.Offer(self.site.signed))
        await channel.send(msg.End())

    async def _send_blocks(self, channel: FrameChannel) -> None:
        while isinstance(want := await channel.receive(), msg.Want):
            await self.may_send.wait()
            for cid in want.cids:
                await trio.sleep(self.pace_s)
                if self.stall_after is not None and len(self.sent) >= self.stall_after:
                    await self.go_on.wait()
                await channel.send(self._answer(cid))

    def _answer(self, cid: Cid) -> msg.Block | msg.Missing | msg.Refuse:
        if self.forgotten:
            return msg.Refuse("not-found", "this node does not hold that release any more", cid)
        if cid in self.lacking:
            return msg.Missing(cid)
        self.sent.append(cid)
        block = self.site.blocks[cid]
        return msg.Block(cid, bytes([block[0] ^ 1]) + block[1:] if cid in self.wrong else block)
