"""DNS names that list nodes: read, followed a few steps, asked again; with a real DNS server on loopback."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from node.gateway.dns import DnsClient
from node.membership import seeds as module
from node.membership.seeds import ADDRESSES_MAX, NAMES_MAX, Seeds
from node.net.peer_ids import peer_id_of_seed
from node.replication import neighbours
from node.replication.neighbours import Neighbours
from protocol.dnsaddr import TEXT_MAX_CHARS, Further, further, read_records
from tests.unit.gateway.dns_server import DnsServer, dns_server
from tests.unit.replication.kit import MemoryNode, ring, until

NAME = "seed.example.org"
PEERS = [peer_id_of_seed(bytes([100 + number]) * 32) for number in range(100)]


def address(number: int, host: str = "192.0.2.1") -> str:
    return f"/ip4/{host}/tcp/4101/p2p/{PEERS[number]}"


@pytest.fixture
def server() -> Iterator[DnsServer]:
    with dns_server() as running:
        yield running


def seeds_of(node: MemoryNode, server: DnsServer, *names: str) -> Seeds:
    return Seeds(node.network, DnsClient([server.address]), names)


@given(st.lists(st.text(max_size=100) | st.text(max_size=100).map("dnsaddr=/".__add__), max_size=9))
def test_any_record_is_read_or_left_out(texts: list[str]) -> None:
    for found in read_records(texts):
        assert found.startswith("/")
        assert found.isascii()
        further(found)


def test_which_records_count() -> None:
    good = [f"fednode={address(1)}", f"dnsaddr={address(2)}", "dnsaddr=/dnsaddr/a.example"]
    bad = ["", "v=spf1 -all", "dnsaddr=", "fednode=192.0.2.1", "dnsaddr=/a b", "dnsaddr=/" + "a" * TEXT_MAX_CHARS]
    assert read_records(good + bad) == sorted(text.partition("=")[2] for text in good)
    assert further(address(1)) is None
    assert further("/dnsaddr/A.example./p2p/Qm") == Further("a.example", "/p2p/Qm")
    assert further("/dnsaddr/a.example") == Further("a.example", "")
    assert further("/dnsaddr/") is further("/dnsaddr/-") is further("/dnsaddr") is None


async def test_both_kinds_of_records_are_found_and_what_cannot_be_dialled_is_not(server: DnsServer) -> None:
    server.txt[NAME] = [f"fednode={address(1)}", "fednode=/ip4/192.0.2.9/udp/4001/quic-v1/p2p/" + PEERS[9]]
    server.txt[f"_dnsaddr.{NAME}"] = [f"dnsaddr={address(2)}", "dnsaddr=/ip4/192.0.2.9/tcp/4001"]
    async with ring(1) as (_, (node,)):
        seeds = seeds_of(node, server, NAME)
        assert await seeds.look()
        assert sorted(seeds.found()) == sorted([PEERS[1], PEERS[2]])
        assert node.network.known_addresses(PEERS[1]) == [address(1)]


async def test_names_lead_to_names_of_which_one_peer_may_be_meant(server: DnsServer) -> None:
    server.txt[f"_dnsaddr.{NAME}"] = [f"dnsaddr=/dnsaddr/ams.example.org/p2p/{PEERS[1]}"]
    server.txt["_dnsaddr.ams.example.org"] = [f"dnsaddr={address(1)}", f"dnsaddr={address(2)}"]
    async with ring(1) as (_, (node,)):
        seeds = seeds_of(node, server, NAME)
        assert await seeds.look()
        assert seeds.found() == [PEERS[1]]


async def test_a_zone_without_end_costs_a_few_questions(server: DnsServer) -> None:
    for number in range(100):
        onward = [f"dnsaddr=/dnsaddr/{(5 * number + more) % 100}.example.org" for more in range(5)]
        server.txt[f"_dnsaddr.{number}.example.org"] = onward
    server.txt[NAME] = [f"fednode={address(number)}" for number in range(100)]
    server.txt[f"_dnsaddr.{NAME}"] = ["dnsaddr=/dnsaddr/1.example.org"]
    async with ring(1) as (_, (node,)):
        seeds = seeds_of(node, server, NAME)
        await seeds.look()
        assert server.asked.total() <= NAMES_MAX
        assert len(seeds.found()) == ADDRESSES_MAX


async def test_one_silent_seed_does_not_hide_the_other(server: DnsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.gateway.dns.ANSWER_S", 0.3)
    server.silent.add(NAME)
    server.txt["other.example.org"] = [f"fednode={address(1)}"]
    async with ring(1) as (_, (node,)):
        seeds = seeds_of(node, server, NAME, "other.example.org")
        assert not await seeds.look()
        assert seeds.found() == [PEERS[1]]


async def test_a_node_that_knows_nobody_connects_to_what_a_seed_lists_once_it_does(
    server: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "ROUND_S", 0.05)
    monkeypatch.setattr(module, "RETRY_S", 0.05)
    async with ring(2) as (_, nodes), trio.open_nursery() as nursery:
        seeds = seeds_of(nodes[0], server, NAME)
        nursery.start_soon(seeds.run)
        nursery.start_soon(Neighbours(nodes[0].replicator.context, (), seeds.found).run)
        await until(lambda: server.asked[NAME] >= 2)
        server.txt[NAME] = [f"fednode={nodes[1].network.addresses()[0]}"]
        await until(lambda: bool(nodes[1].network.peers()))
        nursery.cancel_scope.cancel()
