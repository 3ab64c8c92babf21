"""A hostile peer that speaks the real protocol over real libp2p to a real daemon: nothing changes, all is counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from config.keyfile import load_key
from node.net.channel import FrameChannel
from node.net.port import Stream
from protocol import canonical
from protocol import messages as msg
from protocol.cid import DAG_PB, RAW, Cid
from protocol.frames import encode_message
from protocol.limits import CREATED_MAX_S
from protocol.messages import PUBLISH_PROTOCOL, SYNC_PROTOCOL
from protocol.release import SIGNING_DOMAIN, Band, Release, SignedRelease, sign_release
from protocol.signing import sign
from protocol.site_id import SiteId
from tests.integration.daemons import Daemon, Site, eventually, federation, sample_site
from tests.integration.peers import DEADLINE_S, head_of, peer_of, say

pytestmark = [pytest.mark.integration]


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with federation(1) as (found,):
        yield found


@pytest.fixture
def site(daemon: Daemon, tmp_path: Path) -> Site:
    """Published twice, so that there is a lower sequence to go back to."""
    made = sample_site(tmp_path)
    made.publish(daemon)
    made.write("second.html", "second release")
    made.publish(daemon)
    return made


def following(head: SignedRelease, **changes: object) -> Release:
    return replace(head.release, seq=head.seq + 1, prev=head.cid, **changes)  # type: ignore[arg-type]


def unsigned(release: Release, signature: bytes = bytes(64)) -> SignedRelease:
    return SignedRelease(release, release.encode(), signature, b"")


@pytest.mark.parametrize("protocol", [SYNC_PROTOCOL, PUBLISH_PROTOCOL])
@pytest.mark.parametrize("forgery", ["wrong key", "no signature", "old signature", "other root"])
async def test_a_forged_release_is_refused_and_counted(daemon: Daemon, site: Site, protocol: str, forgery: str) -> None:
    async with peer_of(daemon) as (network, peer):
        head = await head_of(network, peer, site.id)
        release = following(head)
        if forgery == "wrong key":
            signed = unsigned(release, sign(Ed25519PrivateKey.generate(), SIGNING_DOMAIN, release.encode()))
        elif forgery == "no signature":
            signed = unsigned(release)
        elif forgery == "old signature":
            signed = unsigned(release, head.signature)
        else:
            signed = unsigned(following(head, root=Cid.of(DAG_PB, b"")), head.signature)
        before = daemon.faults().get("bad-signature", 0)
        answer = await say(network, peer, protocol, msg.Offer(signed))
        assert isinstance(answer, msg.Refuse), answer
        assert daemon.faults()["bad-signature"] == before + 1
        assert (await head_of(network, peer, site.id)).cid == head.cid
    site.check_on(daemon)


@pytest.mark.parametrize("protocol", [SYNC_PROTOCOL, PUBLISH_PROTOCOL])
async def test_a_lower_or_equal_sequence_is_refused_though_the_publisher_signed_it(
    daemon: Daemon, site: Site, protocol: str
) -> None:
    key = load_key(site.key)
    async with peer_of(daemon) as (network, peer):
        head = await head_of(network, peer, site.id)
        lower = sign_release(replace(head.release, seq=1, prev=None), key)
        for old in (lower, lesser_fork(head, key)):
            before = daemon.faults().get("stale-release", 0)
            answer = await say(network, peer, protocol, msg.Offer(old))
            assert isinstance(answer, msg.Refuse)
            assert answer.code == "stale"
            assert daemon.faults()["stale-release"] == before + 1
        assert (await head_of(network, peer, site.id)).cid == head.cid
    site.check_on(daemon)


def lesser_fork(head: SignedRelease, key: Ed25519PrivateKey) -> SignedRelease:
    """Another release of the same number, which counts less (docs/spec/release.md, 5)."""
    made = (sign_release(replace(head.release, created_s=at_s), key) for at_s in range(1000))
    return next(signed for signed in made if signed.rank < head.rank)


async def test_a_publisher_cannot_replace_a_release_by_another_of_its_number(daemon: Daemon, site: Site) -> None:
    key = load_key(site.key)
    async with peer_of(daemon) as (network, peer):
        head = await head_of(network, peer, site.id)
        greater = sign_release(replace(head.release, created_s=CREATED_MAX_S), key)
        assert greater.rank > head.rank
        answer = await say(network, peer, PUBLISH_PROTOCOL, msg.Offer(greater))
        assert isinstance(answer, msg.Refuse)
        assert answer.code == "stale"
        assert (await head_of(network, peer, site.id)).cid == head.cid
    site.check_on(daemon)


@pytest.mark.parametrize("lie", ["flipped bit", "other block", "missing", "garbage"])
async def test_a_host_that_sends_wrong_blocks_changes_nothing(daemon: Daemon, site: Site, lie: str) -> None:
    """The release is the publisher's own, the host that offers it lies about its blocks."""
    leaf = b"the next front page"
    root = Cid.of(RAW, leaf)
    async with peer_of(daemon) as (network, peer), trio.open_nursery() as nursery:
        head = await head_of(network, peer, site.id)
        signed = sign_release(following(head, root=root, size_bytes=len(leaf), block_count=1), load_key(site.key))
        asked = trio.Event()

        async def serve(stream: Stream) -> None:
            channel = FrameChannel(stream, idle_s=DEADLINE_S, write_s=DEADLINE_S)
            first = await channel.receive()
            if not isinstance(first, msg.Fetch):
                return
            assert isinstance(await channel.receive(), msg.Want)
            if lie == "flipped bit":
                await channel.send(msg.Block(root, bytes((leaf[0] ^ 1,)) + leaf[1:]))
            elif lie == "other block":
                await channel.send(msg.Block(Cid.of(RAW, b"other"), b"other"))
            elif lie == "missing":
                await channel.send(msg.Missing(root))
            else:
                await stream.send_all(b"\x00\x00\x00\x05\x00garb")
            await channel.receive()
            asked.set()

        network.serve(SYNC_PROTOCOL, serve)
        before = sum(daemon.faults().values())
        await say(network, peer, SYNC_PROTOCOL, msg.Offer(signed))
        with trio.fail_after(DEADLINE_S):
            await asked.wait()
        await trio.to_thread.run_sync(lambda: eventually(lambda: _assert(sum(daemon.faults().values()) > before)))
        nursery.cancel_scope.cancel()
    assert daemon.site(site.id)["held"]["seq"] == head.seq
    site.check_on(daemon)


async def test_another_sites_release_is_no_answer(daemon: Daemon, site: Site, tmp_path: Path) -> None:
    """Asked by a reader's request for site B, a host offers the valid release of A."""
    stranger = Ed25519PrivateKey.generate()
    wanted = SiteId.of(stranger)
    async with peer_of(daemon) as (network, peer):
        head = await head_of(network, peer, site.id)

        async def serve(stream: Stream) -> None:
            channel = FrameChannel(stream, idle_s=DEADLINE_S, write_s=DEADLINE_S)
            if isinstance(await channel.receive(), msg.Ask):
                await channel.send(msg.Offer(head))

        network.serve(SYNC_PROTOCOL, serve)
        answer = await trio.to_thread.run_sync(daemon.get, str(wanted), "/")
        assert answer.status in (404, 502, 504)
        assert daemon.faults().get("wrong-site", 0) >= 1


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff\xff\xff\xff\x00",
        b"\x00\x00\x00\x01\x07",
        b"\x00\x00\x00\x02\x00\xc1",
        b"".join(bytes(piece) for piece in encode_message(msg.End())),
        b"\x00\x00\x00\x20\x00" + canonical.pack({"type": "no-such-thing"}).ljust(31, b"\x00"),
    ],
    ids=["over-long", "unknown kind", "no msgpack", "out of place", "trailing bytes"],
)
async def test_nonsense_is_refused_and_counted(daemon: Daemon, raw: bytes) -> None:
    async with peer_of(daemon) as (network, peer):
        for protocol in (SYNC_PROTOCOL, PUBLISH_PROTOCOL):
            before = sum(daemon.faults().values())
            answer = await say(network, peer, protocol, raw)
            assert isinstance(answer, msg.Refuse)
            assert sum(daemon.faults().values()) == before + 1


async def test_a_site_that_is_larger_than_it_says_is_refused(daemon: Daemon) -> None:
    key = Ed25519PrivateKey.generate()
    leaf = b"x" * 1000
    release = Release(SiteId.of(key), 1, None, Cid.of(RAW, leaf), 10, 1, Band(1, 3), (), 1_700_000_000, ended=False)
    async with peer_of(daemon) as (network, peer):
        stream = await network.open(peer, PUBLISH_PROTOCOL, deadline_s=DEADLINE_S)
        async with FrameChannel(stream, idle_s=DEADLINE_S, write_s=DEADLINE_S) as channel:
            await channel.send(msg.Offer(sign_release(release, key)))
            assert isinstance(await channel.receive(), msg.Want)
            await channel.send(msg.Block(Cid.of(RAW, leaf), leaf))
            assert isinstance(await channel.receive(), msg.Refuse)
    assert daemon.get(str(release.site), "/").status == 404


def _assert(held: bool) -> None:
    assert held
