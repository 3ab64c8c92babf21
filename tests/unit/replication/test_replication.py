"""What the driver does when hosts are honest, absent, slow or lying, and when policy changes under it."""

from __future__ import annotations

import threading
from contextlib import nullcontext

import pytest
import trio
import trio.testing

from node.core import inputs as ins
from node.net.channel import FrameChannel
from node.net.memory import open_memory_network
from node.net.port import NetSettings, PeerUnreachable, Stream
from node.policy.model import CidPath, Hosting, Rule
from node.replication import driver
from node.replication.comparing import receive_listing, send_listing
from node.replication.standing import SCORE_MAX, WEIGHT_DEFAULT
from node.store.errors import StoreFull
from node.store.memory import MemoryStore
from node.store.port import Hold, HoldInfo, Origin
from protocol import messages as msg
from protocol.cid import RAW, Cid
from protocol.member_messages import Of, Summary
from protocol.messages import PUBLISH_PROTOCOL, SYNC_PROTOCOL
from protocol.release import Release, sign_release
from protocol.site_id import SiteId
from tests.unit.replication.kit import DEADLINE_S, MemoryNode, TreeSite, connect, put, ring, until

FILES = {f"{number}.txt": b"%d" % number * 1000 for number in range(20)}


def quarantine(site: TreeSite) -> Rule:
    return Rule(site.signed.site, "quarantine", "policy", "no", 1)


def served_wants(node: MemoryNode, site: TreeSite, *, lie: bool = False, stall_after: int | None = None) -> list[Cid]:
    """Makes `node` serve `site` by hand; returns the list of what is wanted of it, which grows."""
    wanted: list[Cid] = []

    async def serve(stream: Stream) -> None:
        channel = FrameChannel(stream, idle_s=DEADLINE_S, write_s=DEADLINE_S)
        first = await channel.receive()
        if isinstance(first, Summary):
            await channel.send(first)
            await send_listing(channel, Of.SITES, [])
            await receive_listing(channel, Of.SITES)
            while isinstance(await channel.receive(), msg.Offer):
                pass
            await channel.send(msg.Offer(site.signed))
            await channel.send(msg.End())
        if isinstance(first, msg.Offer):
            await channel.send(msg.End())
        if not isinstance(first, msg.Fetch):
            return
        while isinstance(want := await channel.receive(), msg.Want):
            for cid in want.cids:
                if stall_after is not None and len(wanted) >= stall_after:
                    await trio.sleep_forever()
                wanted.append(cid)
                block = site.blocks[cid]
                await channel.send(msg.Block(cid, block[:-1] + b"!" if lie else block))

    node.network.serve(SYNC_PROTOCOL, serve)
    return wanted


async def test_a_release_reaches_every_connected_node() -> None:
    site = TreeSite(FILES)
    async with ring(3) as (_, nodes):
        await connect(nodes[1], nodes[0])
        await connect(nodes[2], nodes[1])
        nodes[0].host(site)
        await until(lambda: nodes[1].holds(site) and nodes[2].holds(site))


async def test_a_node_that_was_cut_off_catches_up_when_it_is_back() -> None:
    first = TreeSite(FILES)
    second = TreeSite(FILES | {"new.txt": b"new"}, seq=2, key=first.key)
    async with ring(2) as (air, nodes):
        await connect(nodes[1], nodes[0])
        nodes[0].host(first)
        await until(lambda: nodes[1].holds(first))
        air.cut(nodes[0].network.local_peer, nodes[1].network.local_peer)
        nodes[0].host(second)
        air.heal(nodes[0].network.local_peer, nodes[1].network.local_peer)
        await connect(nodes[1], nodes[0])
        await until(lambda: nodes[1].holds(second))


async def test_who_connects_and_leaves_at_once_is_not_dialled() -> None:
    async with ring(2) as (_, (node, visitor)):
        node.host(TreeSite(FILES))
        await connect(visitor, node)
        visitor.network.drop(node.network.local_peer)
        await trio.testing.wait_all_tasks_blocked(0.1)
        assert not node.network.peers()


async def test_a_peer_is_written_down_once_it_has_compared_heads() -> None:
    async with ring(2) as (air, (node, other)):
        async with open_memory_network(air, NetSettings(("/ip4/127.0.0.1/tcp/0",), bytes([99]) * 32)) as visitor:
            await visitor.connect(node.network.addresses()[0], deadline_s=DEADLINE_S)
            await connect(other, node)
            await until(lambda: bool(node.store.peers()))
        assert [row.peer for row in node.store.peers()] == [other.network.local_peer]


async def test_a_node_that_knows_a_head_nobody_has_takes_the_best_there_is() -> None:
    first = TreeSite(FILES)
    second = TreeSite(FILES | {"new.txt": b"new"}, seq=2, key=first.key)
    third = TreeSite(FILES | {"new.txt": b"newer"}, seq=3, key=first.key)
    behind = MemoryStore(quota_bytes=10**9)
    put(behind, first)
    behind.set_head(third.signed)
    async with ring(3, store=behind) as (_, nodes):
        nodes[1].host(second)
        await connect(nodes[0], nodes[1])
        await until(lambda: nodes[0].holds(second))
        record = behind.site(first.signed.site)
        assert record is not None
        assert record.head == third.signed
        assert not nodes[0].replicator.context.standing.faults(nodes[1].network.local_peer)
        nodes[2].host(third)
        await connect(nodes[0], nodes[2])
        await until(lambda: nodes[0].holds(third) and nodes[1].holds(third))


async def test_a_fetch_that_gives_way_to_a_publish_is_not_thought_to_run_for_ever() -> None:
    site = TreeSite(FILES)
    async with ring(2) as (_, nodes):
        wanted = served_wants(nodes[0], site, stall_after=5)
        await connect(nodes[1], nodes[0])
        await until(lambda: len(wanted) == 5)
        nodes[1].replicator.cancel_fetch(site.signed.site)
        state = nodes[1].replicator.context.core.state_of(site.signed.site)
        assert state is not None
        assert state.fetching is None
        assert not nodes[1].replicator.fetching()


async def test_an_update_asks_only_for_what_changed() -> None:
    first = TreeSite(FILES)
    second = TreeSite(FILES | {"3.txt": b"changed"}, seq=2, key=first.key)
    async with ring(2) as (_, nodes):
        nodes[1].host(first)
        wanted = served_wants(nodes[0], second)
        await connect(nodes[1], nodes[0])
        await until(lambda: nodes[1].holds(second))
        assert set(wanted) == {second.signed.release.root, Cid.of(RAW, b"changed")}


class FailingStore(MemoryStore):
    """A disk that fails: before a site is dropped, or after."""

    fails: str = ""

    def drop_site(self, site: SiteId) -> int:
        if self.fails == "before":
            raise StoreFull("the disk fails")
        freed_bytes = super().drop_site(site)
        if self.fails == "after":
            raise StoreFull("the disk fails")
        return freed_bytes


@pytest.mark.parametrize("fails", ["before", "after", ""])
async def test_core_and_store_agree_on_what_is_held_when_a_drop_fails(fails: str) -> None:
    store = FailingStore(quota_bytes=10**9, cache_bytes=10**8)
    async with ring(1, store=store) as (_, nodes):
        site, node = TreeSite(FILES), nodes[0]
        node.host(site)
        store.fails = fails
        with pytest.raises(StoreFull) if fails else nullcontext():
            await node.replicator.drop([site.signed.site])
        state = node.replicator.context.core.state_of(site.signed.site)
        assert state is not None
        assert (state.held is not None) == node.holds(site) == (fails == "before")


async def test_what_is_published_while_its_drop_waits_is_dropped_for_the_core_too() -> None:
    async with ring(1) as (_, nodes), trio.open_nursery() as nursery:
        site, node = TreeSite(FILES), nodes[0]
        async with node.replicator.context.lock_of(site.signed.site):
            nursery.start_soon(node.replicator.drop, [site.signed.site])
            await trio.testing.wait_all_tasks_blocked()
            node.host(site)
        await until(lambda: not node.holds(site))
        state = node.replicator.context.core.state_of(site.signed.site)
        await until(lambda: state is not None and state.held is None)


async def test_a_lying_host_costs_one_try_and_is_remembered() -> None:
    site = TreeSite(FILES)
    async with ring(3) as (_, nodes):
        served_wants(nodes[0], site, lie=True)
        await connect(nodes[2], nodes[0])
        liar = nodes[0].network.local_peer
        await until(lambda: bool(nodes[2].replicator.context.standing.faults(liar)))
        assert not nodes[2].holds(site)
        nodes[1].host(site)
        await connect(nodes[2], nodes[1])
        await until(lambda: nodes[2].holds(site))
        assert "hash-mismatch" in nodes[2].replicator.context.standing.faults(liar)


async def test_what_arrived_before_a_host_vanished_is_not_fetched_again() -> None:
    site = TreeSite({f"{number}.bin": bytes([number]) * 600_000 for number in range(40)})
    async with ring(3) as (air, nodes):
        before = served_wants(nodes[0], site, stall_after=30)
        await connect(nodes[2], nodes[0])
        await until(lambda: len(before) == 30)
        await until(lambda: any(info.done_blocks >= 10 for info in nodes[2].store.holds()))
        air.cut(nodes[0].network.local_peer, nodes[2].network.local_peer)
        kept = nodes[2].store.holds()[0].done_blocks
        after = served_wants(nodes[1], site)
        await connect(nodes[2], nodes[1])
        await until(lambda: nodes[2].holds(site))
        assert len(after) <= len(site.blocks) - kept


async def test_a_refusal_during_a_fetch_stops_it() -> None:
    site = TreeSite(FILES)
    async with ring(2) as (_, nodes):
        wanted = served_wants(nodes[0], site, stall_after=5)
        await connect(nodes[1], nodes[0])
        await until(lambda: len(wanted) == 5)
        assert nodes[1].replicator.fetching()
        nodes[1].set_rules(quarantine(site))
        assert not nodes[1].replicator.fetching()
        served_wants(nodes[0], site)
        nodes[1].set_rules()
        await until(lambda: nodes[1].holds(site))


async def test_a_release_with_a_refused_block_is_not_kept() -> None:
    site = TreeSite(FILES)
    refused = Cid.of(RAW, FILES["7.txt"])
    async with ring(2) as (_, nodes):
        nodes[1].set_rules(Rule(CidPath(refused.multihash, "", False), "refuse", "legal", "no", 1))
        nodes[0].host(site)
        wanted = served_wants(nodes[0], site)
        await connect(nodes[1], nodes[0])
        await until(lambda: bool(wanted))
        await until(lambda: not nodes[1].replicator.fetching())
        assert refused not in wanted
        assert not nodes[1].holds(site)
        assert nodes[1].store.usage().used_bytes == 0


async def test_a_quarantined_block_is_kept_and_given_to_nobody() -> None:
    site = TreeSite(FILES)
    kept = Cid.of(RAW, FILES["7.txt"])
    async with ring(2) as (_, nodes):
        nodes[0].set_rules(Rule(CidPath(kept.multihash, "", False), "quarantine", "policy", "no", 1))
        nodes[0].host(site)
        await connect(nodes[1], nodes[0])
        stream = await nodes[1].network.open(nodes[0].network.local_peer, SYNC_PROTOCOL, deadline_s=DEADLINE_S)
        async with FrameChannel(stream, idle_s=DEADLINE_S, write_s=DEADLINE_S) as channel:
            await channel.send(msg.Fetch(site.signed.site, site.signed.cid))
            await channel.send(msg.Want((kept, Cid.of(RAW, FILES["8.txt"]))))
            assert isinstance(await channel.receive(), msg.Refuse)
            assert isinstance(await channel.receive(), msg.Block)


async def test_a_full_node_takes_nothing_and_blames_nobody() -> None:
    site = TreeSite(FILES)
    async with ring(2, quota_bytes=1000) as (_, nodes):
        wanted = served_wants(nodes[0], site)
        await connect(nodes[1], nodes[0])
        await until(lambda: nodes[1].replicator.context.core.state_of(site.signed.site) is not None)
        await until(lambda: not nodes[1].replicator.fetching())
        assert not wanted
        assert not nodes[1].replicator.context.standing.faults(nodes[0].network.local_peer)


async def test_a_node_without_room_for_an_update_serves_what_it_has_and_says_so() -> None:
    site = TreeSite(FILES)
    update = TreeSite(FILES | {"large.bin": b"large" * 100_000}, seq=2, key=site.key)
    async with ring(2, store=MemoryStore(quota_bytes=100_000)) as (_, (small, other)):
        other.host(site)
        await connect(small, other)
        await until(lambda: small.holds(site))
        other.host(update)
        state = small.replicator.context.core.state_of(site.signed.site)
        assert state is not None
        await until(lambda: state.no_room_for == update.signed and not small.replicator.fetching())
        assert small.holds(site)
        assert small.replicator.context.core.keeping.sites() == []
        stream = await other.network.open(small.network.local_peer, SYNC_PROTOCOL, deadline_s=DEADLINE_S)
        async with FrameChannel(stream, idle_s=DEADLINE_S, write_s=DEADLINE_S) as channel:
            await channel.send(msg.Offer(update.signed))
            answer = await channel.receive()
        assert isinstance(answer, msg.Refuse)
        assert answer.code == "full"
        assert not small.replicator.context.standing.faults(other.network.local_peer)


async def test_without_room_for_the_head_the_release_before_it_comes() -> None:
    site = TreeSite(FILES)
    update = TreeSite(FILES | {"large.bin": b"large" * 100_000}, seq=2, key=site.key)
    async with ring(3, store=MemoryStore(quota_bytes=100_000)) as (_, (small, latest, behind)):
        behind.host(site)
        latest.host(update)
        await connect(small, latest)
        await connect(small, behind)
        await until(lambda: small.holds(site))


async def test_a_followed_site_is_found_and_others_are_left() -> None:
    wanted, other = TreeSite(FILES), TreeSite({"other.txt": b"other"})
    async with ring(2, hosting=Hosting("follow", frozenset({wanted.signed.site}))) as (_, nodes):
        nodes[0].gate.policy = type(nodes[0].gate.policy)((), Hosting("open"))
        nodes[0].host(wanted)
        nodes[0].host(other)
        await connect(nodes[1], nodes[0])
        await until(lambda: nodes[1].holds(wanted))
        assert nodes[1].store.site(other.signed.site) is None


async def test_an_end_reaches_hosts_and_frees_their_blocks() -> None:
    site = TreeSite(FILES)
    async with ring(2) as (_, nodes):
        await connect(nodes[1], nodes[0])
        nodes[0].host(site)
        await until(lambda: nodes[1].holds(site))
        end = Release.end_of(site.signed.site, prev=site.signed.cid, created_s=1_700_000_001)
        signed = sign_release(end, site.key)
        nodes[0].store.end_site(signed)
        nodes[0].replicator.tell(ins.Stored(signed))
        await until(lambda: nodes[1].store.usage().used_bytes == 0)
        record = nodes[1].store.site(site.signed.site)
        assert record is not None
        assert record.ended


async def test_who_lies_too_often_is_not_listened_to() -> None:
    async with ring(2) as (_, nodes):
        await connect(nodes[1], nodes[0])
        liar = nodes[1].network.local_peer
        for _ in range(1 + int(SCORE_MAX / WEIGHT_DEFAULT)):
            nodes[0].replicator.context.standing.count(trio.current_time(), liar, "bad-signature")
        assert nodes[0].network.peers() == []
        with pytest.raises(PeerUnreachable):
            await nodes[1].network.open(nodes[0].network.local_peer, PUBLISH_PROTOCOL, deadline_s=DEADLINE_S)


async def test_a_transfer_that_nobody_goes_on_with_gives_its_quota_back() -> None:
    site = TreeSite(FILES)
    long_ago = MemoryStore(quota_bytes=10**8, clock=lambda: 1.0)
    hold = long_ago.begin_hold(site.signed)
    long_ago.put_blocks(hold, list(site.blocks.items())[:5])
    async with ring(1, store=long_ago):
        await until(lambda: not long_ago.holds())
    assert long_ago.usage().reserved_bytes == 0
    assert long_ago.usage().used_bytes == 0


class UnreadableStore(MemoryStore):
    """A disk of which the transfers under way cannot be read, the first time."""

    asked = 0

    def holds(self) -> list[HoldInfo[Hold]]:
        self.asked += 1
        if self.asked == 1:
            raise StoreFull("the disk fails")
        return super().holds()


async def test_a_disk_that_fails_under_the_sweep_of_old_transfers_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "SWEEP_S", 0.01)
    store = UnreadableStore(quota_bytes=10**9, cache_bytes=10**8)
    async with ring(1, store=store) as (_, (node,)):
        await until(lambda: store.asked > 2)
        site = TreeSite(FILES)
        node.host(site)
        assert node.holds(site)


class SlowStore(MemoryStore):
    """Takes its time to make a release the held one."""

    def __init__(self) -> None:
        super().__init__(quota_bytes=10**9, cache_bytes=10**8)
        self.finishing, self.may_finish = threading.Event(), threading.Event()

    def finish_hold(self, hold: Hold, *, origin: Origin) -> None:
        self.finishing.set()
        self.may_finish.wait(DEADLINE_S)
        super().finish_hold(hold, origin=origin)


async def test_a_fetch_that_is_stopped_when_the_store_has_all_of_it_is_held() -> None:
    store, site = SlowStore(), TreeSite(FILES)
    async with ring(2, store=store) as (_, (node, host)):
        host.host(site)
        await connect(node, host)
        await until(store.finishing.is_set)
        node.replicator.cancel_fetch(site.signed.site)
        store.may_finish.set()
        await until(lambda: node.holds(site))
        state = node.replicator.context.core.state_of(site.signed.site)
        await until(lambda: state is not None and state.held == site.signed)


def offers_for_ever(node: MemoryNode, site: TreeSite) -> trio.Event:
    """Makes `node` offer `site` again and again to whoever compares heads; the event says that it has begun."""
    began = trio.Event()

    async def serve(stream: Stream) -> None:
        channel = FrameChannel(stream, idle_s=DEADLINE_S, write_s=DEADLINE_S)
        if isinstance(first := await channel.receive(), Summary):
            await channel.send(first)
            await send_listing(channel, Of.SITES, [])
            await receive_listing(channel, Of.SITES)
            while True:
                await channel.send(msg.Offer(site.signed))
                began.set()
                await trio.sleep(0.01)

    node.network.serve(SYNC_PROTOCOL, serve)
    return began


def first_messages(node: MemoryNode) -> list[msg.Message | None]:
    """Makes `node` answer nothing; returns what is asked of it, which grows."""
    seen: list[msg.Message | None] = []

    async def serve(stream: Stream) -> None:
        seen.append(await FrameChannel(stream, idle_s=DEADLINE_S, write_s=DEADLINE_S).receive())

    node.network.serve(SYNC_PROTOCOL, serve)
    return seen


async def test_a_peer_whose_offers_never_end_keeps_no_other_from_a_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "EXCHANGES_MAX", 1)
    monkeypatch.setattr(driver, "EXCHANGE_MAX_S", 0.5)
    async with ring(3) as (_, (node, endless, other)):
        node.host(held := TreeSite(FILES))
        began, seen = offers_for_ever(endless, held), first_messages(other)
        await connect(node, endless)
        await began.wait()
        await connect(node, other)
        await until(lambda: any(isinstance(message, Summary) for message in seen))


async def test_peers_whose_offers_never_end_keep_no_release_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "EXCHANGES_MAX", 1)
    async with ring(3) as (_, (node, endless, other)):
        node.host(held := TreeSite(FILES))
        began, seen = offers_for_ever(endless, held), first_messages(other)
        await connect(node, other)
        await until(lambda: any(isinstance(message, Summary) for message in seen))
        await connect(node, endless)
        await began.wait()
        node.host(TreeSite({"index.html": b"home"}))
        await until(lambda: any(isinstance(message, msg.Offer) for message in seen))
