"""A host that lies, as a process: speaks the real protocols, states that it holds everything, and can prove nothing.

python -m tests.integration.netns_liar LISTEN ADDRESS…: listens at a multiaddr and joins the nodes at the addresses.
It offers every release that it hears of as if it had it, says yes to every wish for a host, and answers each audit at
once, with proofs that are none.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.core.inputs import PeerId
from node.membership import exchange
from node.net.channel import FrameChannel
from node.net.opening import open_network
from node.net.port import NetSettings, Network, Stream
from node.replication.comparing import receive_listing, send_listing
from protocol import messages as msg
from protocol.audit import PROOF_BYTES
from protocol.errors import PeerError
from protocol.member_messages import AUDIT_PROTOCOL, MEMBERS_PROTOCOL, Challenge, Of, Proofs, Summary, Wanted
from protocol.messages import SYNC_PROTOCOL
from protocol.release import SignedRelease
from protocol.site_filter import SiteFilter
from protocol.site_id import SiteId
from protocol.statement import SignedStatement, Statement, Takes, sign_statement
from protocol.summary import Entry

DEADLINE_S = 20.0
RESTATE_S = 20.0


class Liar:
    """What it has heard of, and the lies that it makes of it."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.addresses: tuple[str, ...] = ()
        self._known: dict[SiteId, SignedStatement] = {}
        self._releases: dict[SiteId, SignedRelease] = {}

    # --- exchange.Register ---------------------------------------------------------------------------------

    def own(self) -> SignedStatement:
        """All sites there are, and more room than anybody."""
        statement = Statement(
            node=SiteId.of(self._key),
            made_s=int(time.time()),
            addresses=self.addresses,
            takes=Takes.OPEN,
            room_bytes=2**50,
            sites=1000,
            holdings=SiteFilter(b"\xff" * 1500),
            operator="an honest operator",
        )
        return sign_statement(statement, self._key)

    def get(self, node: SiteId) -> SignedStatement | None:
        return self._known.get(node)

    def entries(self) -> list[Entry]:
        return [Entry(signed.node, signed.made_s) for signed in self._known.values()]

    def take(self, signed: SignedStatement, sender: PeerId) -> None:
        self._known[signed.node] = signed

    def heard_clock(self, sender: PeerId, now_s: int) -> None:
        pass

    def now_s(self) -> int:
        return int(time.time())

    # --- what it answers -----------------------------------------------------------------------------------

    async def members(self, stream: Stream) -> None:
        async with FrameChannel(stream, idle_s=DEADLINE_S, write_s=DEADLINE_S) as channel:
            await exchange.answer(channel, self, stream.peer)

    async def audit(self, stream: Stream) -> None:
        async with FrameChannel(stream, idle_s=DEADLINE_S, write_s=DEADLINE_S) as channel:
            while isinstance(challenge := await channel.receive(), Challenge):
                await channel.send(Proofs(tuple(secrets.token_bytes(PROOF_BYTES) for _ in challenge.cids)))

    async def sync(self, stream: Stream) -> None:
        async with FrameChannel(stream, idle_s=DEADLINE_S, write_s=DEADLINE_S) as channel:
            match await channel.receive():
                case msg.Offer(signed) | Wanted(signed):
                    self._releases[signed.site] = signed
                    await channel.send(msg.Have(signed.site, signed.seq, 0, 0))
                case msg.Ask(site) if site in self._releases:
                    await channel.send(msg.Offer(self._releases[site]))
                case msg.Fetch():
                    while isinstance(want := await channel.receive(), msg.Want):
                        for cid in want.cids:
                            await channel.send(msg.Missing(cid))
                case Summary(Of.SITES) as summary:
                    await self._compare(channel, summary)

    async def _compare(self, channel: FrameChannel, summary: Summary) -> None:
        """As one who knows nothing yet, so that it is told of everything."""
        await channel.send(Summary(Of.SITES, bytes(len(summary.sums)), int(time.time())))
        await send_listing(channel, Of.SITES, [])
        await receive_listing(channel, Of.SITES)
        while isinstance(message := await channel.receive(), msg.Offer):
            self._releases[message.release.site] = message.release
        for signed in self._releases.values():
            await channel.send(msg.Offer(signed))
        await channel.send(msg.End())

    # --- what it does by itself ----------------------------------------------------------------------------

    async def mislead(self, network: Network, address: str) -> None:
        """Keeps a node told that it hosts all that it has heard of."""
        while True:
            with suppress(PeerError):
                peer = await network.connect(address, deadline_s=DEADLINE_S)
                stream = await network.open(peer, MEMBERS_PROTOCOL, deadline_s=DEADLINE_S)
                async with FrameChannel(stream, idle_s=DEADLINE_S, write_s=DEADLINE_S) as channel:
                    await exchange.compare(channel, self, peer)
                for signed in list(self._releases.values()):
                    stream = await network.open(peer, SYNC_PROTOCOL, deadline_s=DEADLINE_S)
                    async with FrameChannel(stream, idle_s=DEADLINE_S, write_s=DEADLINE_S) as channel:
                        await channel.send(msg.Offer(signed))
                        await channel.receive()
            await trio.sleep(RESTATE_S)


def contained(handler: Callable[[Stream], Awaitable[None]]) -> Callable[[Stream], Awaitable[None]]:
    async def handle(stream: Stream) -> None:
        with suppress(PeerError):
            await handler(stream)

    return handle


async def main(listen: str, addresses: list[str]) -> None:
    key = Ed25519PrivateKey.generate()
    liar = Liar(key)
    settings = NetSettings(listen=(listen,), private_key=key.private_bytes_raw(), dht=False)
    async with open_network(settings) as network, trio.open_nursery() as nursery:
        liar.addresses = tuple(address.rpartition("/p2p/")[0] for address in network.addresses())
        network.serve(MEMBERS_PROTOCOL, contained(liar.members))
        network.serve(AUDIT_PROTOCOL, contained(liar.audit))
        network.serve(SYNC_PROTOCOL, contained(liar.sync))
        sys.stdout.write(network.local_peer + "\n")
        sys.stdout.flush()
        for address in addresses:
            nursery.start_soon(liar.mislead, network, address)


@contextmanager
def running_liar(listen: str, addresses: Sequence[str]) -> Iterator[str]:
    """The process; its peer id."""
    command = [sys.executable, "-m", __name__, listen, *addresses]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2:])
