"""A publish to several nodes: who is asked, what is signed, what it comes to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio
import trio.testing
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cli.errors import CommandError, FolderChanged
from cli.publishing.exchange import NodeResult
from cli.publishing.flow import NoNodeListens, NoNodeReached, Outcome, Silent, publish
from cli.publishing.folder import FolderSource, read_folder
from cli.publishing.sequence import Wishes, band_of, hosts_of, newest, next_end, next_release, unchanged
from node.net.channel import FrameChannel
from node.net.peer_ids import peer_id_of_seed
from protocol import messages as msg
from protocol.builder import leaf
from protocol.errors import PeerError
from protocol.limits import SEQ_MAX
from protocol.release import SignedRelease, sign_release
from protocol.site_id import SiteId

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SITE = SiteId.of(KEY)


class Unreachable(PeerError):
    code = "peer-unreachable"


class ScriptedNode:
    """Answers ask with `head` and an offer with what `take` says; wants every block if it accepts."""

    def __init__(
        self,
        name: str,
        *,
        head: SignedRelease | msg.Refuse | None = None,
        take: msg.Refuse | None = None,
        reachable: bool = True,
    ) -> None:
        self.name = name
        self.head = head
        self.take = take
        self.reachable = reachable
        self.offered: list[SignedRelease] = []
        self.nursery: trio.Nursery | None = None

    async def open(self) -> trio.abc.HalfCloseableStream:
        if not self.reachable:
            raise Unreachable("nobody there")
        ours, theirs = trio.testing.memory_stream_pair()
        assert self.nursery is not None
        self.nursery.start_soon(self._serve, FrameChannel(theirs, idle_s=10, write_s=10))
        return ours

    async def _serve(self, channel: FrameChannel) -> None:
        async with channel:
            match await channel.receive():
                case msg.Ask(site):
                    await channel.send(self._answer(site))
                case msg.Offer(signed):
                    self.offered.append(signed)
                    await self._take(channel, signed)

    def _answer(self, site: SiteId) -> msg.Message:
        if isinstance(self.head, SignedRelease):
            return msg.Offer(self.head)
        return self.head or msg.Refuse("not-found", "unknown", site)

    async def _take(self, channel: FrameChannel, signed: SignedRelease) -> None:
        if self.take is not None:
            await channel.send(self.take)
            return
        root = signed.release.root
        if root is not None and self.head != signed:
            await channel.send(msg.Want((root,)))
            if not isinstance(await channel.receive(), msg.Block):
                return
        new = self.head != signed
        await channel.send(msg.Have(signed.site, signed.seq, int(new), 10 * new))


@pytest.fixture
def source(tmp_path: Path) -> Iterator[FolderSource]:
    (tmp_path / "index.html").write_text("hello")
    with read_folder(tmp_path) as found:
        yield found


Decide = Callable[[SignedRelease | None], tuple[SignedRelease, bool]]


def deciding(source: FolderSource, wishes: Wishes) -> Decide:
    def decide(head: SignedRelease | None) -> tuple[SignedRelease, bool]:
        if head is not None and unchanged(head, source, wishes):
            return head, True
        return sign_release(next_release(SITE, head, source, wishes), KEY), False

    return decide


class Run:
    """Publishes to scripted nodes that run in the test's nursery."""

    def __init__(self, nursery: trio.Nursery, source: FolderSource) -> None:
        self._nursery = nursery
        self._source = source

    async def __call__(self, *nodes: ScriptedNode, wishes: Wishes | None = None) -> Outcome:
        for node in nodes:
            node.nursery = self._nursery
        with trio.fail_after(10):
            return await publish(nodes, SITE, deciding(self._source, wishes or Wishes()), self._source, Silent())


@pytest.fixture
def run(nursery: trio.Nursery, source: FolderSource) -> Run:
    return Run(nursery, source)


def signed(source: FolderSource, seq: int) -> SignedRelease:
    return sign_release(next_release(SITE, None, source, Wishes(seq=seq, force=True)), KEY)


async def test_the_sequence_comes_after_the_highest_of_all_nodes(run: Run, source: FolderSource) -> None:
    nodes = [ScriptedNode("a", head=signed(source, 3)), ScriptedNode("b", head=signed(source, 9)), ScriptedNode("c")]
    outcome = await run(*nodes, wishes=Wishes(force=True))
    assert outcome.signed.seq == 10
    assert [node.offered for node in nodes] == [[outcome.signed]] * 3
    assert outcome.exit_code == 0


async def test_unchanged_goes_only_where_it_is_missing(run: Run, source: FolderSource) -> None:
    last = signed(source, 9)
    outcome = await run(ScriptedNode("a", head=last), ScriptedNode("b"))
    assert (outcome.signed, outcome.unchanged, outcome.exit_code) == (last, True, 0)
    assert outcome.nodes == (NodeResult("a", "already"), NodeResult("b", "accepted", new_blocks=1, new_bytes=10))


async def test_some_refuse(run: Run, source: FolderSource) -> None:
    outcome = await run(
        ScriptedNode("a"),
        ScriptedNode("b", take=msg.Refuse("full", "no room")),
        ScriptedNode("c", reachable=False),
    )
    assert outcome.exit_code == 5
    assert [result.state for result in outcome.nodes] == ["accepted", "refused", "failed"]
    assert outcome.nodes[1] == NodeResult("b", "refused", "full", "no room")
    assert outcome.nodes[2] == NodeResult("c", "failed", "peer-unreachable", "nobody there")


async def test_all_refuse(run: Run, source: FolderSource) -> None:
    full = msg.Refuse("full", "no room")
    outcome = await run(ScriptedNode("a", take=full), ScriptedNode("b", reachable=False))
    assert outcome.exit_code == 4


async def test_nothing_is_signed_when_nobody_listens(run: Run, source: FolderSource) -> None:
    with pytest.raises(NoNodeReached, match="nobody there"):
        await run(ScriptedNode("a", reachable=False), wishes=Wishes(seq=SEQ_MAX))
    busy = msg.Refuse("busy", "try later")
    with pytest.raises(NoNodeListens, match="try later"):
        await run(ScriptedNode("a", head=busy), wishes=Wishes(seq=SEQ_MAX))
    assert (NoNodeReached.exit_code, NoNodeListens.exit_code) == (3, 4)


async def test_a_changed_folder_ends_it_for_all_nodes(run: Run, tmp_path: Path) -> None:
    class LeafNode(ScriptedNode):
        async def _take(self, channel: FrameChannel, signed: SignedRelease) -> None:
            (tmp_path / "index.html").write_text("changed")
            await channel.send(msg.Want((leaf(b"hello").cid,)))
            await channel.receive()

    with pytest.raises(FolderChanged):
        await run(LeafNode("a"), LeafNode("b"))


def test_wishes_and_bands(source: FolderSource) -> None:
    last = signed(source, 3)
    assert band_of(None, Wishes()) == last.release.band
    assert band_of(last, Wishes(min_hosts=20)).max_hosts == 20
    assert band_of(last, Wishes(max_hosts=1)).min_hosts == 1
    with pytest.raises(CommandError, match="--min-hosts"):
        band_of(last, Wishes(min_hosts=3, max_hosts=2))
    assert unchanged(last, source, Wishes())
    assert unchanged(last, source, Wishes(seq=3))
    assert not unchanged(last, source, Wishes(seq=4))
    assert not unchanged(last, source, Wishes(force=True))
    assert not unchanged(last, source, Wishes(min_hosts=4))


def test_named_hosts_stay_until_others_are_named(source: FolderSource) -> None:
    named = [f"/ip4/192.0.2.{number}/tcp/4101/p2p/{peer_id_of_seed(bytes([number]) * 32)}" for number in range(1, 6)]
    wishes = Wishes(hosts=(named[1], named[0]))
    first = sign_release(next_release(SITE, None, source, wishes), KEY)
    assert first.release.hosts == tuple(named[:2])
    assert unchanged(first, source, Wishes())
    assert hosts_of(first, Wishes()) == tuple(named[:2])
    assert hosts_of(first, Wishes(hosts=())) == ()
    assert not unchanged(first, source, Wishes(hosts=(named[0],)))
    for wrong in (named, ["/ip4/192.0.2.1/tcp/4101"], ["host.example"], [f"/dns4/{'a.' * 60}b/tcp/1{named[0][22:]}"]):
        with pytest.raises(CommandError):
            hosts_of(None, Wishes(hosts=tuple(wrong)))


def test_sequence_numbers_end(source: FolderSource) -> None:
    almost = signed(source, SEQ_MAX - 1)
    with pytest.raises(CommandError, match="no sequence number after"):
        next_release(SITE, almost, source, Wishes(force=True))
    with pytest.raises(CommandError, match="not above release 5"):
        next_release(SITE, signed(source, 5), source, Wishes(seq=5, force=True))
    end = sign_release(next_end(SITE, almost), KEY)
    assert newest((almost, end, None)) == end
    with pytest.raises(CommandError, match="cannot be published again"):
        next_release(SITE, end, source, Wishes())
    assert newest(()) is None
