"""The publisher's side of the protocol, against nodes that do as they like, over memory streams."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
import trio
import trio.testing
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cli.errors import FolderChanged
from cli.publishing import exchange
from cli.publishing.exchange import IDLE_S, WRITE_S, offer
from node.net.channel import FrameChannel, PeerTimeout
from node.replication.asking import ask_head
from protocol import messages as msg
from protocol.builder import leaf
from protocol.cid import Cid
from protocol.errors import DecodeError, Malformed, WrongSite
from protocol.limits import CHUNK_BYTES
from protocol.release import Release, SignedRelease, sign_release
from protocol.site_id import SiteId

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SITE = SiteId.of(KEY)
OTHER = SiteId.of(Ed25519PrivateKey.from_private_bytes(bytes(32)))
BLOCKS = {leaf(content).cid: content for content in (b"one", b"two", b"x" * CHUNK_BYTES, b"")}
ROOT = next(iter(BLOCKS))
UNKNOWN = leaf(b"unknown").cid


@dataclass
class MemorySource:
    """A BlockSource of blocks in memory that counts how many bytes were read of it."""

    blocks: dict[Cid, bytes]
    read_bytes: int = 0
    changed: set[Cid] = field(default_factory=set)
    root: Cid = ROOT

    @property
    def size_bytes(self) -> int:
        return sum(map(len, self.blocks.values()))

    @property
    def block_count(self) -> int:
        return len(self.blocks)

    def get(self, cid: Cid) -> bytes | None:
        if cid in self.changed:
            raise FolderChanged("a file changed while publishing")
        data = self.blocks.get(cid)
        self.read_bytes += len(data or b"")
        return data


@dataclass
class Log:
    """A Watcher that remembers."""

    sent_bytes: int = 0
    progress: list[tuple[int, int]] = field(default_factory=list)

    def sent(self, count_bytes: int) -> None:
        self.sent_bytes += count_bytes

    def node_has(self, done_bytes: int, total_bytes: int) -> None:
        self.progress.append((done_bytes, total_bytes))


def release(site_key: Ed25519PrivateKey = KEY, seq: int = 7) -> SignedRelease:
    return sign_release(Release(SiteId.of(site_key), seq, None, ROOT, 100, 4), site_key)


SIGNED = release()
HAVE = msg.Have(SITE, 7, 2, 30)

Node = Callable[[FrameChannel], Awaitable[None]]


class Publisher:
    """Has one stream to a node that runs in the test's nursery."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    async def connect(self, node: Node) -> trio.abc.HalfCloseableStream:
        ours, theirs = trio.testing.memory_stream_pair()

        async def run_node() -> None:
            async with FrameChannel(theirs, idle_s=10, write_s=10) as channel:
                await node(channel)

        self._nursery.start_soon(run_node)
        return ours

    async def publish(self, node: Node, source: MemorySource | None = None, log: Log | None = None) -> object:
        with trio.fail_after(10):
            return await offer(await self.connect(node), SIGNED, source or MemorySource(BLOCKS), log or Log())

    async def ask(self, node: Node) -> object:
        with trio.fail_after(10):
            return await ask_head(await self.connect(node), SITE, idle_s=IDLE_S, write_s=WRITE_S)


@pytest.fixture
def publisher(nursery: trio.Nursery) -> Publisher:
    return Publisher(nursery)


async def test_blocks_come_in_the_order_of_the_want(publisher: Publisher) -> None:
    wanted = [UNKNOWN, *reversed(BLOCKS)]
    answers: list[msg.Message | None] = []

    async def node(channel: FrameChannel) -> None:
        assert await channel.receive() == msg.Offer(SIGNED)
        await channel.send(msg.Want(tuple(wanted)))
        answers.extend([await channel.receive() for _ in wanted])
        await channel.send(HAVE)

    log = Log()
    assert await publisher.publish(node, log=log) == HAVE
    assert answers[0] == msg.Missing(UNKNOWN)
    assert answers[1:] == [msg.Block(cid, BLOCKS[cid]) for cid in wanted[1:]]
    assert log.sent_bytes == sum(map(len, BLOCKS.values()))


async def test_many_wants_may_be_open(publisher: Publisher) -> None:
    async def node(channel: FrameChannel) -> None:
        await channel.receive()
        for _ in range(3 * exchange.WANTS_WAITING):
            await channel.send(msg.Want((ROOT,)))
        for _ in range(3 * exchange.WANTS_WAITING):
            assert await channel.receive() == msg.Block(ROOT, BLOCKS[ROOT])
        await channel.send(HAVE)

    assert await publisher.publish(node) == HAVE


async def test_a_node_that_talks_while_it_is_sent_to(publisher: Publisher) -> None:
    """Neither side reads before it has said all: a publisher that only sent or only read would hang."""
    large = {leaf(content).cid: content for content in (bytes([n]) * CHUNK_BYTES for n in range(8))}

    async def node(channel: FrameChannel) -> None:
        await channel.receive()
        await channel.send(msg.Want(tuple(large)))
        for done in range(2000):
            await channel.send(msg.Progress(done, 2000, 0))
        for _ in large:
            await channel.receive()
        await channel.send(HAVE)

    log = Log()
    assert await publisher.publish(node, MemorySource(large), log) == HAVE
    assert log.progress == [(done, 2000) for done in range(2000)]


async def test_what_waits_to_be_sent_is_bounded(nursery: trio.Nursery) -> None:
    large = {leaf(content).cid: content for content in (bytes([n]) * CHUNK_BYTES for n in range(32))}
    source = MemorySource(large)

    async def node(channel: FrameChannel) -> None:
        await channel.receive()
        await channel.send(msg.Want(tuple(large)))
        for taken in range(len(large)):
            assert source.read_bytes <= taken * CHUNK_BYTES + 2 * exchange.READ_AHEAD_BYTES
            await channel.receive()
        await channel.send(HAVE)

    ours, theirs = trio.testing.lockstep_stream_pair()  # nothing waits between the two
    nursery.start_soon(node, FrameChannel(theirs, idle_s=10, write_s=10))
    with trio.fail_after(10):
        assert await offer(ours, SIGNED, source, Log()) == HAVE


async def test_a_refusal_before_and_in_the_middle(publisher: Publisher) -> None:
    refusal = msg.Refuse("full", "no room")

    async def at_once(channel: FrameChannel) -> None:
        await channel.receive()
        await channel.send(refusal)

    async def later(channel: FrameChannel) -> None:
        await channel.receive()
        await channel.send(msg.Want(tuple(BLOCKS)))
        await channel.receive()
        await channel.send(refusal)

    assert await publisher.publish(at_once) == refusal
    assert await publisher.publish(later) == refusal


class Deaf(trio.abc.HalfCloseableStream):
    """Sending breaks after the offer; receiving goes on."""

    def __init__(self, inner: trio.abc.HalfCloseableStream) -> None:
        self.inner = inner
        self.offered = False
        self.broken = trio.Event()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self.offered:
            self.broken.set()
            raise trio.BrokenResourceError
        self.offered = True
        await self.inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.inner.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self.inner.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self.inner.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self.inner.aclose()


async def test_the_last_word_of_a_node_that_takes_no_more(publisher: Publisher) -> None:
    """The node refuses and closes while blocks are on their way: what counts is the refusal."""
    refusal = msg.Refuse("blocked-policy", "not here")

    async def node(channel: FrameChannel) -> None:
        await channel.receive()
        await channel.send(msg.Want(tuple(BLOCKS)))
        await deaf.broken.wait()
        await channel.send(refusal)

    deaf = Deaf(await publisher.connect(node))
    with trio.fail_after(10):
        assert await offer(deaf, SIGNED, MemorySource(BLOCKS), Log()) == refusal


async def test_a_folder_that_changes_ends_the_publish(publisher: Publisher) -> None:
    async def node(channel: FrameChannel) -> None:
        await channel.receive()
        await channel.send(msg.Want(tuple(BLOCKS)))
        assert await channel.receive() is None

    with pytest.raises(FolderChanged):
        await publisher.publish(node, MemorySource(BLOCKS, changed=set(BLOCKS)))


@pytest.mark.parametrize(
    "message",
    [
        msg.Have(SITE, 8, 0, 0),
        msg.Have(OTHER, 7, 0, 0),
        msg.Offer(SIGNED),
        msg.Ask(SITE),
        msg.End(),
        msg.Block(ROOT, b"one"),
        None,
    ],
    ids=lambda message: type(message).__name__,
)
async def test_what_has_no_place_in_a_publish(publisher: Publisher, message: msg.Message | None) -> None:
    async def node(channel: FrameChannel) -> None:
        await channel.receive()
        if message is not None:
            await channel.send(message)

    with pytest.raises(Malformed):
        await publisher.publish(node)


async def test_a_node_that_sends_garbage(publisher: Publisher) -> None:
    async def node(channel: FrameChannel) -> None:
        await channel.receive()
        await channel.stream.send_all(b"\x00\x00\x00\x05\x07nope")

    with pytest.raises(DecodeError):
        await publisher.publish(node)


async def test_a_silent_node_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    started_s = trio.current_time()
    with pytest.raises(PeerTimeout):
        await offer(ours, SIGNED, None, Log())
    assert trio.current_time() - started_s == pytest.approx(exchange.IDLE_S)
    await theirs.aclose()


async def test_asking(publisher: Publisher) -> None:
    not_found = msg.Refuse("not-found", "never heard of it")

    def answering(answer: msg.Message | None) -> Node:
        async def node(channel: FrameChannel) -> None:
            assert await channel.receive() == msg.Ask(SITE)
            if answer is not None:
                await channel.send(answer)

        return node

    assert await publisher.ask(answering(msg.Offer(SIGNED))) == SIGNED
    assert await publisher.ask(answering(not_found)) == not_found
    other = release(Ed25519PrivateKey.from_private_bytes(bytes(32)))
    with pytest.raises(WrongSite):
        await publisher.ask(answering(msg.Offer(other)))
    for nonsense in (msg.End(), None):
        with pytest.raises(Malformed):
            await publisher.ask(answering(nonsense))
