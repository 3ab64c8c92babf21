"""The bitswap server over the in-memory network and store: what is given away, to whom, and in which turn."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from node.bitswap.server import STREAMS_MAX, BitswapServer
from node.bitswap.wire import message_begins, receive_rest
from node.net.memory import Air, open_memory_network
from node.net.port import NetSettings, Network, Stream
from node.policy.model import Rule, Target
from protocol import bitswap
from protocol.bitswap import BITSWAP_1_0, BITSWAP_1_1, BITSWAP_1_2, Message, Want
from protocol.cid import RAW, Cid
from protocol.denylist import CidPath
from protocol.limits import BITSWAP_MESSAGE_MAX_BYTES
from tests.unit.replication.kit import DEADLINE_S, MemoryNode, TreeSite, connect, ring, until

ABSENT = Cid.of(RAW, b"nobody has this")


class Client:
    """An IPFS client: wants on one stream, gets on those that the server opens."""

    def __init__(self, air: Air, network: Network, server: str) -> None:
        self.air = air
        self.network = network
        self._server = server
        self._messages, self.got = trio.open_memory_channel[Message](10_000)
        self.opened = 0
        for protocol in bitswap.PROTOCOLS:
            network.serve(protocol, self.take)

    async def take(self, stream: Stream) -> None:
        self.opened += 1
        lock = trio.Lock()
        while (message := await self.receive(stream, lock)) is not None:
            assert message.wants == ()
            await self._messages.send(message)

    async def receive(self, stream: Stream, lock: trio.Lock) -> Message | None:
        first = await message_begins(stream, idle_s=DEADLINE_S)
        if first is None:
            return None
        async with lock:
            return await receive_rest(stream, first, max_bytes=BITSWAP_MESSAGE_MAX_BYTES, message_s=DEADLINE_S)

    async def open(self, protocol: str = BITSWAP_1_2) -> Stream:
        return await self.network.open(self._server, protocol, deadline_s=DEADLINE_S)

    async def say(self, *wants: Want, full: bool = False, protocol: str = BITSWAP_1_2) -> None:
        async with await self.open(protocol) as stream:
            await stream.send_all(bitswap.framed(bitswap.encode(Message(wants, full=full))))

    async def answers(self, *wants: Want, protocol: str = BITSWAP_1_2) -> tuple[dict[Cid, bytes], dict[Cid, bool]]:
        """Blocks and presences until each want has one."""
        await self.say(*wants, protocol=protocol)
        blocks: dict[Cid, bytes] = {}
        presences: dict[Cid, bool] = {}
        with trio.fail_after(DEADLINE_S):
            while len(blocks) + len(presences) < len(wants):
                message = await self.got.receive()
                blocks |= dict(message.blocks)
                presences |= dict(message.presences)
        return blocks, presences


@asynccontextmanager
async def served(*sites: TreeSite) -> AsyncIterator[tuple[MemoryNode, Client]]:
    """A node that holds the sites and answers bitswap, and a client of it."""
    async with ring(1) as (air, (node,)), trio.open_nursery() as nursery:
        for site in sites:
            node.host(site)
        await nursery.start(BitswapServer(node.replicator.context).run)
        settings = NetSettings(listen=("/ip4/127.0.0.1/tcp/0",), private_key=bytes([99]) * 32)
        async with open_memory_network(air, settings) as network:
            await network.connect(node.network.addresses()[0], deadline_s=DEADLINE_S)
            yield node, Client(air, network, node.network.local_peer)
        nursery.cancel_scope.cancel()


def refuse(target: Target) -> Rule:
    return Rule(target, "refuse", "policy", "not here", 1)


def name_of(site: TreeSite, content: bytes) -> Cid:
    return next(cid for cid, data in site.blocks.items() if data == content)


async def test_every_block_of_a_held_site_is_given_to_anybody() -> None:
    site = TreeSite({"a.html": b"a", "b.html": b"b" * 900_000, "c.html": b"c" * 1_000_000})
    async with served(site) as (_, client):
        assert await client.answers(*(Want(cid) for cid in site.blocks)) == (site.blocks, {})


async def test_what_is_asked_for_is_answered_with_have_or_have_not() -> None:
    site = TreeSite({"a.html": b"a"})
    root = site.signed.release.root
    assert root is not None
    async with served(site) as (_, client):
        wants = (Want(root, have=True), Want(ABSENT, have=True, send_dont_have=True))
        assert await client.answers(*wants) == ({}, {root: True, ABSENT: False})
        assert await client.answers(Want(ABSENT, send_dont_have=True)) == ({}, {ABSENT: False})
        # not asked to say so, the server says nothing: the answer to the next question comes first
        await client.say(Want(ABSENT), Want(ABSENT, have=True))
        assert await client.answers(Want(root)) == ({root: site.blocks[root]}, {})


async def test_a_block_goes_by_the_name_under_which_it_was_asked_for() -> None:
    site = TreeSite({"a.html": b"a"})
    root = site.signed.release.root
    assert root is not None
    old_name = Cid(root.multihash)
    async with served(site) as (_, client):
        assert await client.answers(Want(old_name)) == ({old_name: site.blocks[root]}, {})


@pytest.mark.parametrize("what", ["site", "root", "block"])
async def test_a_refused_block_is_never_sent(what: str) -> None:
    site = TreeSite({"a.html": b"a", "b.html": b"b"})
    root = site.signed.release.root
    assert root is not None
    page = name_of(site, b"a")
    targets: dict[str, Target] = {
        "site": site.signed.site,
        "root": CidPath(root.multihash, "", False),
        "block": CidPath(page.multihash, "", False),
    }
    async with served(site) as (node, client):
        assert await client.answers(Want(page)) == ({page: b"a"}, {})
        node.set_rules(refuse(targets[what]))
        wants = (Want(page, send_dont_have=True), Want(Cid(b"\x01\x70" + page.multihash), send_dont_have=True))
        blocks, presences = await client.answers(*wants)
        assert (blocks, set(presences.values())) == ({}, {False})
        assert await client.answers(Want(page, have=True, send_dont_have=True)) == ({}, {page: False})
        node.set_rules()
        assert await client.answers(Want(page)) == ({page: b"a"}, {})


async def test_a_shared_block_is_given_as_long_as_one_of_its_sites_is_allowed() -> None:
    one, other = TreeSite({"a.html": b"same", "1": b"1"}), TreeSite({"b.html": b"same", "2": b"2"})
    shared = name_of(one, b"same")
    async with served(one, other) as (node, client):
        node.set_rules(refuse(one.signed.site))
        assert await client.answers(Want(shared)) == ({shared: b"same"}, {})
        node.set_rules(refuse(one.signed.site), refuse(other.signed.site))
        assert await client.answers(Want(shared, send_dont_have=True)) == ({}, {shared: False})


async def test_a_block_that_was_only_cached_for_readers_is_not_given_away() -> None:
    async with served() as (node, client):
        cached = Cid.of(RAW, b"cached")
        node.store.cache_blocks([(cached, b"cached")])
        assert await client.answers(Want(cached, send_dont_have=True)) == ({}, {cached: False})


async def test_older_versions_get_blocks_without_presences() -> None:
    site = TreeSite({"a.html": b"a"})
    root = site.signed.release.root
    assert root is not None
    async with served(site) as (_, client):
        await client.say(Want(ABSENT, send_dont_have=True), protocol=BITSWAP_1_1)
        assert await client.answers(Want(root), protocol=BITSWAP_1_1) == ({root: site.blocks[root]}, {})
        old_name = Cid(root.multihash)
        assert await client.answers(Want(old_name), protocol=BITSWAP_1_0) == ({old_name: site.blocks[root]}, {})


async def test_a_want_that_is_taken_back_in_the_same_breath_is_not_answered() -> None:
    site = TreeSite({"a.html": b"a", "b.html": b"b"})
    page, other = name_of(site, b"a"), name_of(site, b"b")
    async with served(site) as (_, client):
        await client.say(Want(page), Want(page, cancel=True), Want(other))
        with trio.fail_after(DEADLINE_S):
            assert (await client.got.receive()).blocks == ((other, b"b"),)


async def test_a_peer_with_many_wants_does_not_keep_another_waiting() -> None:
    big = TreeSite({f"{number}.bin": bytes([number]) * 1_000_000 for number in range(60)})
    small = TreeSite({"a.html": b"a"})
    page = name_of(small, b"a")
    async with served(big, small) as (node, greedy):
        settings = NetSettings(listen=(), private_key=bytes([98]) * 32)
        async with open_memory_network(greedy.air, settings) as network:
            await network.connect(node.network.addresses()[0], deadline_s=DEADLINE_S)
            modest = Client(greedy.air, network, node.network.local_peer)
            await greedy.say(*(Want(cid) for cid in big.blocks))
            assert await modest.answers(Want(page)) == ({page: b"a"}, {})
            assert greedy.got.statistics().current_buffer_used < 40


@pytest.mark.parametrize("raw", [b"\xff\xff\xff\xff\x0f", b"\x05\x08\x01", b"\x80\x80\x80\x02", b"\x02\xff\xff"])
async def test_nonsense_ends_the_stream_and_is_counted(raw: bytes) -> None:
    async with served() as (node, client):
        stream = await client.open()
        await stream.send_all(raw + bytes(8))
        with trio.fail_after(DEADLINE_S), pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()
        assert node.replicator.context.standing.faults(client.network.local_peer)


async def test_a_peer_that_leaves_is_forgotten() -> None:
    site = TreeSite({f"{number}.bin": bytes([number]) * 500_000 for number in range(20)})
    async with ring(2) as (_, (node, other)), trio.open_nursery() as nursery:
        node.host(site)
        server = BitswapServer(node.replicator.context)
        await nursery.start(server.run)
        other.network.serve(BITSWAP_1_2, _take_nothing)
        await connect(other, node)
        stream = await other.network.open(node.network.local_peer, BITSWAP_1_2, deadline_s=DEADLINE_S)
        await stream.send_all(bitswap.framed(bitswap.encode(Message(tuple(Want(cid) for cid in site.blocks)))))
        await until(lambda: server.peers == 1)
        other.network.kill()  # merely disconnected, it could be dialled again to be asked for its heads
        await until(lambda: server.peers == 0)
        nursery.cancel_scope.cancel()


async def test_what_was_read_ahead_for_a_slow_peer_is_not_sent_once_it_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site = TreeSite({f"{number}.bin": bytes([number]) * 500_000 for number in range(4)})
    root = site.signed.release.root
    leaves = [cid for cid in site.blocks if cid != root]
    async with served(site) as (node, client):
        may_read = trio.Event()
        get_block, read = node.store.get_block, list[Cid]()

        def noted(cid: Cid) -> bytes:
            read.append(cid)
            return get_block(cid)

        monkeypatch.setattr(node.store, "get_block", noted)

        async def take_late(stream: Stream) -> None:
            await may_read.wait()
            await client.take(stream)

        client.network.serve(BITSWAP_1_2, take_late)
        await client.say(*(Want(cid, send_dont_have=True) for cid in leaves))
        await until(lambda: read == leaves)  # the first message is stuck, the second is read
        await trio.testing.wait_all_tasks_blocked(0.05)
        node.set_rules(refuse(site.signed.site))
        may_read.set()
        blocks: dict[Cid, bytes] = {}
        presences: dict[Cid, bool] = {}
        with trio.fail_after(DEADLINE_S):
            while len(blocks) + len(presences) < len(leaves):
                message = await client.got.receive()
                blocks |= dict(message.blocks)
                presences |= dict(message.presences)
        assert list(blocks) == leaves[:2]
        assert presences == dict.fromkeys(leaves[2:], False)


async def _take_nothing(stream: Stream) -> None:
    await trio.sleep_forever()


async def test_a_peer_that_cannot_be_answered_is_told_by_a_reset() -> None:
    site = TreeSite({"a.html": b"a"})
    async with ring(2) as (_, (node, other)), trio.open_nursery() as nursery:
        node.host(site)
        await nursery.start(BitswapServer(node.replicator.context).run)
        await connect(other, node)  # which serves no bitswap
        stream = await other.network.open(node.network.local_peer, BITSWAP_1_2, deadline_s=DEADLINE_S)
        await stream.send_all(bitswap.framed(bitswap.encode(Message((Want(name_of(site, b"a")),)))))
        with trio.fail_after(DEADLINE_S), pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()
        nursery.cancel_scope.cancel()


async def test_a_peer_has_a_few_streams_and_no_more() -> None:
    async with served() as (_, client):
        streams = [await client.open() for _ in range(STREAMS_MAX)]
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(DEADLINE_S), pytest.raises(trio.BrokenResourceError):
            await (await client.open()).receive_some()
        await streams[0].aclose()
        await trio.testing.wait_all_tasks_blocked()
        streams[0] = await client.open()
        await streams[0].send_all(bitswap.framed(bitswap.encode(Message((Want(ABSENT, send_dont_have=True),)))))
        with trio.fail_after(DEADLINE_S):
            assert (await client.got.receive()).presences == ((ABSENT, False),)
