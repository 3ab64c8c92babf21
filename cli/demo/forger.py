"""The demo's villain: speaks the real protocol over real libp2p and signs with a key that is not the site's."""

from __future__ import annotations

from dataclasses import replace

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cli.demo.nodes import DemoFailed
from node.net.channel import FrameChannel
from node.net.opening import open_network
from node.net.port import NetSettings
from protocol import messages as msg
from protocol.messages import PUBLISH_PROTOCOL
from protocol.release import SIGNING_DOMAIN, Release, SignedRelease
from protocol.release_record import make_record
from protocol.signing import sign
from protocol.site_id import SiteId

DEADLINE_S = 20.0


def try_to_forge(address: str, site: SiteId) -> str:
    """Offers the site's next release, signed by a stranger; why the node refused it. DemoFailed if it took it."""
    return trio.run(_try, address, site)


async def _try(address: str, site: SiteId) -> str:
    stranger = Ed25519PrivateKey.generate()
    with trio.fail_after(DEADLINE_S):
        async with open_network(NetSettings(listen=(), private_key=stranger.private_bytes_raw(), dht=False)) as network:
            peer = await network.connect(address, deadline_s=DEADLINE_S)
            head = await _exchange(await network.open(peer, PUBLISH_PROTOCOL, deadline_s=DEADLINE_S), msg.Ask(site))
            if not isinstance(head, msg.Offer):
                raise DemoFailed("the node does not know the site")
            forged = _forge(head.release.release, stranger)
            answer = await _exchange(
                await network.open(peer, PUBLISH_PROTOCOL, deadline_s=DEADLINE_S), msg.Offer(forged)
            )
    if not isinstance(answer, msg.Refuse):
        raise DemoFailed("the node took a forged release")
    return f"{answer.code}, {answer.reason}"


async def _exchange(stream: trio.abc.HalfCloseableStream, message: msg.Message) -> msg.Message | None:
    async with FrameChannel(stream, idle_s=DEADLINE_S, write_s=DEADLINE_S) as channel:
        await channel.send(message)
        return await channel.receive()


def _forge(release: Release, stranger: Ed25519PrivateKey) -> SignedRelease:
    """The next release of somebody else's site: right in everything but the signatures."""
    following = replace(release, seq=release.seq + 1)
    payload = following.encode()
    return SignedRelease(following, payload, sign(stranger, SIGNING_DOMAIN, payload), make_record(following, stranger))
