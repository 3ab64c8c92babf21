"""What a node says of itself to others: its agent string, and no private addresses in the DHT of all IPFS nodes."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from importlib.metadata import version

import pytest
import trio
from libp2p.identity.identify.pb.identify_pb2 import Identify
from multiaddr import Multiaddr

from node.net.addresses import Address
from node.net.libp2p_network import LibP2PNetwork
from node.net.opening import open_network
from node.net.port import NetSettings, Network
from tests.conformance.net_kit import DEADLINE_S

LISTEN = ("/ip4/127.0.0.1/tcp/0",)
PUBLIC = "/dns4/node.example.org/tcp/4101"
KEY = b"\x12\x20" + bytes(32)


def node(join: str, announce: tuple[str, ...] = ()) -> NetSettings:
    return NetSettings(LISTEN, os.urandom(32), join=join, announce=announce)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("/ip4/127.0.0.1/tcp/1", False),
        ("/ip4/10.1.2.3/tcp/1", False),
        ("/ip4/192.168.0.1/tcp/1", False),
        ("/ip4/100.64.0.1/tcp/1", False),  # a provider's NAT
        ("/ip4/169.254.1.1/tcp/1", False),
        ("/ip4/8.8.8.8/tcp/1", True),
        ("/ip6/::1/tcp/1", False),
        ("/ip6/fd00::1/tcp/1", False),
        ("/ip6/fe80::1/tcp/1", False),
        ("/ip6/2606:4700::1111/tcp/1", True),
        ("/dns4/node.example.org/tcp/1", True),
        ("/dns4/localhost/tcp/1", False),
        ("/dns/printer.local/tcp/1", False),
        ("/dns6/nas/tcp/1", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert Address.parse(address).is_public is public


async def identified(asker: Network, peer: str) -> Identify:
    stream = await asker.open(peer, "/ipfs/id/1.0.0", deadline_s=DEADLINE_S)
    answer = b""
    while data := await stream.receive_some():
        answer += data
    return Identify.FromString(answer[2:])  # a length of two bytes


async def test_identify_names_fednode_and_what_it_serves() -> None:
    async with open_network(node("federation")) as one, open_network(NetSettings((), os.urandom(32))) as other:
        with trio.fail_after(3 * DEADLINE_S):
            peer = await other.connect(one.addresses()[0], deadline_s=DEADLINE_S)
            said = await identified(other, peer)
            expected = one.addresses()
    assert said.agent_version == f"fednode/{version('fednode')}"
    assert said.protocol_version == "ipfs/0.1.0"
    assert {"/ipfs/id/1.0.0", "/ipfs/ping/1.0.0", "/fednode/kad/1.0.0"} <= set(said.protocols)
    assert [f"{Multiaddr(raw)}/p2p/{peer}" for raw in said.listen_addrs] == expected
    assert str(Multiaddr(said.observed_addr)).startswith("/ip4/127.0.0.1/tcp/")


@pytest.mark.parametrize(
    ("join", "announce", "near", "told"),
    [
        ("public", (), True, True),
        ("public", (), False, False),
        ("public", (PUBLIC, "/ip4/10.0.0.7/tcp/4101"), False, True),  # what the operator announces is told
        ("federation", (), False, True),
    ],
)
async def test_strangers_on_the_internet_are_told_no_private_addresses(
    monkeypatch: pytest.MonkeyPatch, join: str, announce: tuple[str, ...], near: bool, told: bool
) -> None:
    """All is on loopback here, so `near` stands in for where the other one is seen to be."""
    monkeypatch.setattr(LibP2PNetwork, "is_near", lambda *_: near)
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(open_network(node(join, announce)))
        hub, third = [await stack.enter_async_context(open_network(node(join))) for _ in range(2)]
        with trio.fail_after(3 * DEADLINE_S):
            dialled = f"{LISTEN[0].replace('/0', f'/{port(one)}')}/p2p/{one.local_peer}"
            peer = await hub.connect(dialled, deadline_s=DEADLINE_S)
            expected = one.addresses() if told else []
            said = await identified(hub, peer)
            assert [f"{Multiaddr(raw)}/p2p/{peer}" for raw in said.listen_addrs] == expected
            while not await one.provide(KEY, ipfs_only=join == "public", deadline_s=DEADLINE_S):
                await trio.lowlevel.checkpoint()  # identify has not said yet that the hub takes part
            await third.connect(hub.addresses()[0], deadline_s=DEADLINE_S)
            while set(dict(await third.find_providers(KEY, limit=2, deadline_s=DEADLINE_S)).get(peer, ())) != set(
                expected
            ):
                await trio.lowlevel.checkpoint()  # the hub has not asked yet whether the others take part


def port(network: Network) -> int:
    listener = getattr(network, "_listeners")[0]  # noqa: B009 - the announced addresses lead elsewhere
    number: int = listener.socket.getsockname()[1]
    return number
