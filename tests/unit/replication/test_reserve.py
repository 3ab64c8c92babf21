"""A tenth of the quota is for sites that lack hosts: neither publishers nor readers use it up. With the real store."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import trio

from node.core import inputs as ins
from node.net.channel import FrameChannel
from node.store.disk import DiskStore, open_store
from protocol import messages as msg
from protocol.cid import RAW, Cid
from protocol.messages import PUBLISH_PROTOCOL
from tests.unit.replication.kit import DEADLINE_S, MemoryNode, TreeSite, connect, ring, until

QUOTA_BYTES = 2_000_000
SITE_BYTES = 170_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DiskStore]:
    opened = open_store(tmp_path / "store", quota_bytes=QUOTA_BYTES, cache_bytes=QUOTA_BYTES)
    yield opened
    opened.close()


def site(number: int) -> TreeSite:
    return TreeSite({"a.bin": random.Random(number).randbytes(SITE_BYTES)})


async def publish(publisher: MemoryNode, node: MemoryNode, made: TreeSite) -> str:
    """What the node says in the end: "have", or the code of its refusal."""
    stream = await publisher.network.open(node.network.local_peer, PUBLISH_PROTOCOL, deadline_s=DEADLINE_S)
    async with FrameChannel(stream, idle_s=DEADLINE_S, write_s=DEADLINE_S) as channel:
        await channel.send(msg.Offer(made.signed))
        while True:
            match await channel.receive():
                case msg.Want(cids):
                    for cid in cids:
                        await channel.send(msg.Block(cid, made.blocks[cid]))
                case msg.Refuse(code):
                    return code
                case msg.Have():
                    return "have"
                case _:
                    pass


async def test_publishers_and_readers_leave_the_reserve_to_repair(store: DiskStore) -> None:
    async with ring(3, store=store) as (_, (node, publisher, host)):  # type: ignore[arg-type]
        await connect(node, publisher)
        answers: list[str] = []
        async with trio.open_nursery() as nursery:
            for number in range(20):

                async def one(number: int = number) -> None:
                    answers.append(await publish(publisher, node, site(number)))

                nursery.start_soon(one)
        assert set(answers) <= {"have", "full", "busy"}
        while await publish(publisher, node, site(len(answers))) == "have":
            answers.append("have")
        assert answers.count("have") == 10
        left_bytes = store.usage().free_bytes
        assert QUOTA_BYTES / 10 <= left_bytes < QUOTA_BYTES / 10 + SITE_BYTES
        cached = random.Random(1).randbytes(1_000_000)
        await trio.to_thread.run_sync(store.cache_blocks, [(Cid.of(RAW, cached), cached)])
        assert store.usage().free_bytes == left_bytes

        lacking = site(100)
        host.host(lacking)
        node.replicator.tell(ins.HeadSeen(host.network.local_peer, lacking.signed, wanted=True))
        await connect(node, host)
        await until(partial(node.holds, lacking))
        assert store.usage().free_bytes < QUOTA_BYTES / 10


async def test_a_new_release_of_a_hosted_site_may_use_the_reserve_however_it_comes(store: DiskStore) -> None:
    async with ring(2, store=store) as (_, (node, publisher)):  # type: ignore[arg-type]
        await connect(node, publisher)
        made = site(0)
        count = 0
        while await publish(publisher, node, made if count == 0 else site(count)) == "have":
            count += 1
        assert count == 10
        left_bytes = store.usage().free_bytes
        content = random.Random(0).randbytes(SITE_BYTES) + random.Random(99).randbytes(100_000)
        assert left_bytes - 100_000 < QUOTA_BYTES / 10
        assert await publish(publisher, node, TreeSite({"a.bin": content}, seq=2, key=made.key)) == "have"
        other = random.Random(98).randbytes(left_bytes)
        assert await publish(publisher, node, TreeSite({"a.bin": other}, seq=3, key=made.key)) == "full"
        assert store.usage().reserved_bytes == 0
        assert await publish(publisher, node, site(count)) == "full"
