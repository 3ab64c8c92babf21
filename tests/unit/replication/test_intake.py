"""What a publisher is told, and what becomes of the node, when the disk fails."""

from __future__ import annotations

import trio
import trio.testing

from node.net.channel import FrameChannel
from node.replication.intake import Intake
from node.store.errors import StoreFull
from node.store.memory import MemoryStore
from protocol import messages as msg
from protocol.release import Release, SignedRelease, sign_release
from tests.unit.replication.kit import DEADLINE_S, TreeSite, ring


class BrokenStore(MemoryStore):
    """A disk that takes no more, of which nobody knew before it was written."""

    def end_site(self, signed: SignedRelease) -> None:
        raise StoreFull("the disk fails")


class BuggyStore(MemoryStore):
    """A bug that nobody knows of."""

    def end_site(self, signed: SignedRelease) -> None:
        raise ZeroDivisionError


async def answer_to_end(store: MemoryStore) -> msg.Message | None:
    """What the publisher of a site is told who ends it, on this machine."""
    async with ring(1, store=store) as (_, (node,)), trio.open_nursery() as nursery:
        site = TreeSite({"index.html": b"hello"})
        node.host(site)
        end = sign_release(Release.end_of(site.signed.site, prev=site.signed.cid, created_s=1), site.key)
        mine, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(Intake(node.replicator.context, node.replicator).serve, theirs, None)
        with trio.fail_after(DEADLINE_S):
            async with FrameChannel(mine, idle_s=DEADLINE_S, write_s=DEADLINE_S) as channel:
                await channel.send(msg.Offer(end))
                return await channel.receive()


async def test_a_disk_that_fails_under_a_publish_is_told_and_ends_nothing_else() -> None:
    answer = await answer_to_end(BrokenStore(quota_bytes=10**9, cache_bytes=10**8))
    assert isinstance(answer, msg.Refuse)
    assert answer.code == "full"


async def test_a_bug_that_a_publish_meets_ends_nothing_else() -> None:
    answer = await answer_to_end(BuggyStore(quota_bytes=10**9, cache_bytes=10**8))
    assert isinstance(answer, msg.Refuse)
    assert answer.code == "internal"
