"""The publisher's side of /fednode/notices/1 (docs/spec/notice.md): read notices, appeal, fetch one's own site."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import IO, TYPE_CHECKING

import trio

from cli.errors import CommandError
from cli.publishing.flow import Progress
from cli.publishing.nodes import CONNECT_S
from cli.publishing.source import LEAVES_AT_ONCE
from node.net.channel import FrameChannel
from protocol import messages as msg
from protocol.bundle import encode_beginning, encode_block
from protocol.cid import Cid
from protocol.dag_walk import DagWalk
from protocol.errors import DecodeError, FednodeError, Malformed
from protocol.messages import NOTICES_PROTOCOL
from protocol.notice import Appeal, SignedNotice, prove_export, sign_appeal
from protocol.release import SignedRelease
from protocol.site_id import SiteId

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from node.admin.client import AdminClient
    from node.net.port import Network, PeerId

IDLE_S = 30.0
COURTESY_S = 5.0


class RemoteOffice:
    """A node that may have notices for a publisher. `key`: its key, which signs them, as the transport proved it."""

    def __init__(self, network: Network, peer: PeerId) -> None:
        self._network = network
        self._peer = peer
        self.key = SiteId.from_text(peer)

    @asynccontextmanager
    async def _channel(self) -> AsyncIterator[FrameChannel]:
        stream = await self._network.open(self._peer, NOTICES_PROTOCOL, deadline_s=CONNECT_S)
        async with FrameChannel(stream, idle_s=IDLE_S, write_s=IDLE_S) as channel:
            yield channel

    async def notices(self, site: SiteId) -> list[SignedNotice]:
        """The newest first. PeerError: also when one is not signed by this node, or about another site."""
        async with self._channel() as channel:
            await channel.send(msg.AskNotices(site))
            answer = await channel.receive()
        if not isinstance(answer, msg.Notices):
            raise _refused(answer)
        return checked(answer.notices, self.key, site)

    async def appeal(self, key: Ed25519PrivateKey, notice: int, text: str, contact: str, made_s: int) -> None:
        """Returns when the node has it on disk. CommandError when it is refused."""
        signed = sign_appeal(Appeal(self.key, SiteId.of(key), notice, text, contact, made_s), key)
        async with self._channel() as channel:
            await channel.send(msg.HandAppeal(signed.encode()))
            answer = await channel.receive()
        if not isinstance(answer, msg.End):
            raise _refused(answer)

    @asynccontextmanager
    async def export(self, key: Ed25519PrivateKey) -> AsyncIterator[tuple[SignedRelease, FrameChannel]]:
        """The release that the node keeps of the key's site, and a channel on which its blocks may be wanted."""
        site = SiteId.of(key)
        async with self._channel() as channel:
            await channel.send(msg.AskExport(site))
            challenge = await channel.receive()
            if not isinstance(challenge, msg.Challenge):
                raise _refused(challenge)
            # The node's name in the proof is what the transport proved: a proof is of no use to anybody else.
            await channel.send(msg.Proof(prove_export(key, self.key, challenge.nonce)))
            answer = await channel.receive()
            if not isinstance(answer, msg.Offer) or answer.release.site != site:
                raise _refused(answer)
            yield answer.release, channel


def checked(raws: Sequence[bytes], node: SiteId, site: SiteId) -> list[SignedNotice]:
    """Signed notices as values; DecodeError unless this node signed them, about this site."""
    found = [SignedNotice.decode(raw) for raw in raws]
    if any(each.notice.node != node or each.notice.site != site for each in found):
        raise Malformed("a notice of another node, or about another site")
    return sorted(found, key=lambda each: each.notice.number, reverse=True)


def local_notices(client: AdminClient, site: SiteId) -> list[SignedNotice]:
    """Of this machine's node, as `checked` gives them."""
    answer = client.notices(str(site))
    raws = [bytes.fromhex(each["notice"]) for each in answer["notices"]]
    return checked(raws, SiteId.from_text(answer["node"]), site)


def open_notice(notices: Sequence[SignedNotice]) -> SignedNotice | None:
    """What holds now, of notices in the order of `checked`."""
    return notices[0] if notices and notices[0].notice.kind != "lifted" else None


def _refused(answer: msg.Message | None) -> Exception:
    if isinstance(answer, msg.Refuse):
        return CommandError(f"the node refused: {answer.reason} ({answer.code})")
    return Malformed("the node gave no answer" if answer is None else f"{type(answer).__name__} is no answer to that")


@asynccontextmanager
async def remote_office(address: str) -> AsyncIterator[RemoteOffice]:
    """A node by its multiaddr, over a libp2p host that only dials and has a key for this one run. PeerError."""
    from node.net.opening import open_network
    from node.net.port import NetSettings

    settings = NetSettings(listen=(), private_key=secrets.token_bytes(32), dht=False)
    async with open_network(settings) as network:
        peer = await network.connect(address, deadline_s=CONNECT_S)
        try:
            office = RemoteOffice(network, peer)
        except DecodeError:
            raise CommandError(f"{address} has no Ed25519 key, so it is no fednode node") from None
        yield office


async def ask_notices(address: str, site: SiteId) -> tuple[SiteId, list[SignedNotice]]:
    """A node's key, and its notices about a site, checked."""
    async with remote_office(address) as office:
        return office.key, await office.notices(site)


async def fetch_own(address: str, key: Ed25519PrivateKey, handle: IO[bytes], progress: Progress) -> SignedRelease:
    """Writes the key's site, as the node keeps it, as a bundle; every block is checked before it is written."""
    async with remote_office(address) as office, office.export(key) as (signed, channel):
        task = progress.task("fetching", signed.release.size_bytes)
        handle.write(encode_beginning(signed))
        if signed.release.root is None:
            return signed
        walk = DagWalk(signed.release.root, in_order=True, unique=True, site_only=True)
        while not walk.done:
            wanted = walk.want(LEAVES_AT_ONCE)
            await channel.send(msg.Want(tuple(wanted)))
            for cid in wanted:
                data = await _block(channel, cid)
                walk.feed(cid, data)
                for part in encode_block(cid, data):
                    handle.write(part)
                task.advance(len(data))
        return signed


async def _block(channel: FrameChannel, cid: Cid) -> bytes:
    answer = await channel.receive()
    if not isinstance(answer, msg.Block) or answer.cid != cid:
        if isinstance(answer, msg.Missing):
            raise CommandError(f"the node lacks {cid} of the site", hint="it mends it from another host; try again")
        raise _refused(answer)
    cid.verify(answer.data)
    return answer.data


async def open_at(nodes: Sequence[str], site: SiteId) -> dict[str, SignedNotice]:
    """What nodes hold against a site, by their addresses. A courtesy: who does not answer soon is left out."""
    found: dict[str, SignedNotice] = {}

    async def ask(address: str) -> None:
        with trio.move_on_after(COURTESY_S):
            try:
                _, notices = await ask_notices(address, site)
            except (FednodeError, OSError):
                return
            if (notice := open_notice(notices)) is not None:
                found[address] = notice

    async with trio.open_nursery() as nursery:
        for address in nodes:
            nursery.start_soon(ask, address)
    return found
