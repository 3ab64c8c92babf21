"""Hosts that a release names are asked, though nobody is connected and the DHT is empty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.core.inputs import Followed
from node.policy.model import Hosting
from node.replication import neighbours
from node.replication.lookup import find_heads, named_hosts
from node.replication.neighbours import Neighbours
from protocol.release import SignedRelease, sign_release
from tests.unit.replication.kit import DEADLINE_S, MemoryNode, TreeSite, ring, until

KEY = Ed25519PrivateKey.from_private_bytes(b"\x21" * 32)
NOBODY = "/ip4/127.0.0.1/tcp/9/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"


def naming(site: TreeSite, hosts: Sequence[str]) -> TreeSite:
    site.signed = sign_release(replace(site.signed.release, hosts=tuple(sorted(hosts))), site.key)
    return site


def address_of(node: MemoryNode) -> str:
    return node.network.addresses()[0]


async def test_who_was_away_finds_the_next_release_where_the_last_one_says() -> None:
    async with ring(2) as (_, nodes):
        old = naming(TreeSite({"index.html": b"old"}, key=KEY), [address_of(nodes[1]), NOBODY])
        new = TreeSite({"index.html": b"new"}, seq=2, key=KEY)
        nodes[0].host(old)
        nodes[1].host(new)
        nodes[0].replicator.tell(Followed(new.signed.site))
        await until(lambda: nodes[0].holds(new))


async def test_a_reader_asks_the_hosts_that_a_release_names_which_is_not_kept_here() -> None:
    async with ring(2, hosting=Hosting("none")) as (_, nodes):
        site = naming(TreeSite({"index.html": b"hello"}, key=KEY), [address_of(nodes[1])])
        nodes[1].host(site)
        found: list[SignedRelease] = []
        look = partial(find_heads, nodes[0].replicator.context, site.signed.site, lambda _, head: found.append(head))
        await look(hurry=True)
        assert found == []
        with trio.fail_after(DEADLINE_S):
            await look(hurry=True, known=[site.signed])
        assert found == [site.signed]


async def test_a_node_is_no_host_for_itself() -> None:
    async with ring(1) as (_, nodes):
        site = naming(TreeSite({"index.html": b"hello"}, key=KEY), [address_of(nodes[0]), "/onion3/x/p2p/Qm"])
        nodes[0].host(site)
        assert named_hosts(nodes[0].replicator.context, site.signed.site) == []


async def test_strangers_releases_do_not_make_a_node_forget_where_another_is() -> None:
    async with ring(2) as (_, nodes):
        true, peer = address_of(nodes[1]), nodes[1].network.local_peer
        nodes[0].network.remember(peer, [true])
        for number in range(1, 40):
            site = naming(TreeSite({"index.html": b"%d" % number}), [f"/ip4/192.0.2.{number}/tcp/4101/p2p/{peer}"])
            assert named_hosts(nodes[0].replicator.context, site.signed.site, [site.signed]) == [peer]
        assert true in nodes[0].network.known_addresses(peer)


async def test_who_is_alone_connects_to_the_hosts_that_its_releases_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "ROUND_S", 0.05)
    async with ring(2) as (_, nodes), trio.open_nursery() as nursery:
        site = naming(TreeSite({"index.html": b"hello"}, key=KEY), [address_of(nodes[1])])
        nodes[0].host(site)
        nursery.start_soon(Neighbours(nodes[0].replicator.context, ()).run)
        await until(lambda: bool(nodes[1].network.peers()))
        nursery.cancel_scope.cancel()
