"""Staying connected: who is dialled again, and when."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from node.policy.model import Rule
from node.policy.rules import read_target
from node.replication import neighbours
from node.replication.neighbours import Neighbours
from node.store.errors import StoreFull
from node.store.memory import MemoryStore
from node.store.port import PeerRow
from tests.unit.replication.kit import MemoryNode, connect, ring, until


class WatchedStore(MemoryStore):
    """Counts how often it is asked for peers, and fails if it is told to."""

    asked = 0
    fails = False

    def peers(self) -> list[PeerRow]:
        self.asked += 1
        if self.fails:
            raise StoreFull("the disk fails")
        return super().peers()


@pytest.fixture
def store() -> WatchedStore:
    return WatchedStore(quota_bytes=10**9, cache_bytes=10**8)


def refusing(node: MemoryNode) -> Rule:
    return Rule(read_target(f"/p2p/{node.network.local_peer}"), "refuse", "policy", "no", 1)


def neighbours_of(node: MemoryNode, *bootstrap: MemoryNode) -> Neighbours:
    return Neighbours(node.replicator.context, tuple(other.network.addresses()[0] for other in bootstrap))


async def test_a_peer_is_dialled_at_once_when_its_rule_is_lifted(
    store: WatchedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "ROUND_S", 3600.0)
    async with ring(2, store=store) as (_, (node, other)), trio.open_nursery() as nursery:
        node.set_rules(refusing(other))
        nursery.start_soon(neighbours_of(node, other).run)
        await until(lambda: store.asked >= 2)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert node.network.peers() == []
        node.set_rules()
        await until(lambda: bool(node.network.peers()))
        nursery.cancel_scope.cancel()


async def test_a_peer_that_was_refused_for_long_is_not_put_off(
    store: WatchedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "ROUND_S", 0.01)
    monkeypatch.setattr(neighbours, "BACKOFF_FIRST_S", 3600.0)
    async with ring(2, store=store) as (_, (node, other)), trio.open_nursery() as nursery:
        node.set_rules(refusing(other))
        nursery.start_soon(neighbours_of(node, other).run)
        await until(lambda: store.asked >= 4)
        node.set_rules()
        await until(lambda: bool(node.network.peers()))
        nursery.cancel_scope.cancel()


async def test_a_peer_that_came_by_itself_is_not_put_off(store: WatchedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "ROUND_S", 0.01)
    monkeypatch.setattr(neighbours, "BACKOFF_FIRST_S", 3600.0)
    async with ring(2, store=store) as (air, (node, other)), trio.open_nursery() as nursery:
        air.cut(node.network.local_peer, other.network.local_peer)
        nursery.start_soon(neighbours_of(node, other).run)
        await until(lambda: store.asked >= 4)
        air.heal(node.network.local_peer, other.network.local_peer)
        await connect(other, node)
        asked = store.asked
        await until(lambda: store.asked >= asked + 2)
        node.network.drop(other.network.local_peer)
        await until(lambda: bool(node.network.peers()))
        nursery.cancel_scope.cancel()


async def test_a_disk_that_cannot_be_read_keeps_nobody_from_its_bootstrap_nodes(
    store: WatchedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "ROUND_S", 0.05)
    store.fails = True
    async with ring(2, store=store) as (_, (node, other)), trio.open_nursery() as nursery:
        nursery.start_soon(neighbours_of(node, other).run)
        await until(lambda: bool(node.network.peers()))
        asked = store.asked
        await until(lambda: store.asked >= asked + 2)
        nursery.cancel_scope.cancel()
