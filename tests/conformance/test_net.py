"""What `node.net.port` promises of a network, over libp2p and in memory. Its streams are in test_net_streams.py."""

from __future__ import annotations

import os
import time
from contextlib import AsyncExitStack

import pytest
import trio
import trio.testing
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.net.peer_ids import peer_id_of_seed
from node.net.port import (
    BadAddress,
    ListenFailed,
    NetLimits,
    NetSettings,
    Network,
    PeerConnected,
    PeerDisconnected,
    PeerUnreachable,
    Stream,
)
from protocol import ipns
from protocol.errors import PeerError
from protocol.site_id import SiteId
from tests.conformance.net_kit import DEADLINE_S, LISTEN, Opener, echo, open_to, receive_all, settings, two


async def never_read(stream: Stream) -> None:
    await trio.sleep_forever()


async def test_local_peer_is_that_of_the_key(opener: Opener) -> None:
    mine = settings()
    async with opener(mine) as network:
        assert network.local_peer == peer_id_of_seed(mine.private_key)
        assert network.addresses()[0].endswith(f"/p2p/{network.local_peer}")


async def test_open_dials_a_remembered_address(opener: Opener) -> None:
    async with two(opener) as (one, other):
        other.serve("/echo/1", echo)
        one.remember(other.local_peer, ["/ip4/127.0.0.1/tcp/1", "nonsense", *other.addresses()])
        stream = await one.open(other.local_peer, "/echo/1", deadline_s=DEADLINE_S)
        await stream.send_eof()
        assert await receive_all(stream) == b""


async def test_where_a_peer_was_reached_is_tried_first_whatever_others_say(opener: Opener) -> None:
    async with two(opener) as (one, other):
        other.serve("/echo/1", echo)
        one.remember(other.local_peer, other.addresses())
        await (await one.open(other.local_peer, "/echo/1", deadline_s=DEADLINE_S)).aclose()
        for port in range(1, 40):
            one.remember(other.local_peer, [f"/ip4/192.0.2.1/tcp/{port}"])
        assert one.known_addresses(other.local_peer)[0] == other.addresses()[0]


async def test_where_a_peer_was_found_before_is_tried_first_whatever_others_say(opener: Opener) -> None:
    async with two(opener) as (one, other):
        one.remember(other.local_peer, other.addresses(), reached=True)
        for port in range(1, 40):
            one.remember(other.local_peer, [f"/ip4/192.0.2.1/tcp/{port}"])
        assert one.known_addresses(other.local_peer)[0] == other.addresses()[0]


async def test_reach_connects_to_a_peer_whose_address_is_known(opener: Opener) -> None:
    async with two(opener) as (one, other):
        with pytest.raises(PeerUnreachable):
            await one.reach(other.local_peer, deadline_s=5)
        one.remember(other.local_peer, other.addresses())
        await one.reach(other.local_peer, deadline_s=5)
        await one.reach(other.local_peer, deadline_s=5)
        assert [info.peer for info in one.peers()] == [other.local_peer]
        with pytest.raises(BadAddress):
            await one.reach(one.local_peer, deadline_s=5)


async def test_open_leaves_a_peer_alone_that_it_may_not_dial(opener: Opener) -> None:
    async with two(opener) as (one, other):
        other.serve("/echo/1", echo)
        one.remember(other.local_peer, other.addresses())
        with pytest.raises(PeerUnreachable):
            await one.open(other.local_peer, "/echo/1", deadline_s=DEADLINE_S, dial=False)
        assert one.peers() == []
        await one.connect(other.addresses()[0], deadline_s=DEADLINE_S)
        stream = await one.open(other.local_peer, "/echo/1", deadline_s=DEADLINE_S, dial=False)
        await stream.send_eof()
        assert await receive_all(stream) == b""


async def test_unknown_peer_is_unreachable(opener: Opener) -> None:
    async with opener(settings()) as network:
        with pytest.raises(PeerUnreachable):
            await network.open(peer_id_of_seed(os.urandom(32)), "/echo/1", deadline_s=DEADLINE_S)


async def test_another_key_at_the_address_is_unreachable(opener: Opener) -> None:
    async with two(opener) as (one, other):
        address = other.addresses()[0].replace(other.local_peer, peer_id_of_seed(os.urandom(32)))
        with pytest.raises(PeerUnreachable):
            await one.connect(address, deadline_s=DEADLINE_S)
        assert one.peers() == []


async def test_never_dials_itself(opener: Opener) -> None:
    async with opener(settings()) as network:
        with pytest.raises(BadAddress):
            await network.connect(network.addresses()[0], deadline_s=DEADLINE_S)
        with pytest.raises(BadAddress):
            await network.open(network.local_peer, "/echo/1", deadline_s=DEADLINE_S)


@pytest.mark.parametrize("address", ["", "127.0.0.1:4101", "/ip4/127.0.0.1/tcp/4101", "/ip4/1.2.3/tcp/1/p2p/Qm"])
async def test_bad_addresses_are_named_so(opener: Opener, address: str) -> None:
    async with opener(settings(())) as network:
        with pytest.raises(BadAddress):
            await network.connect(address, deadline_s=DEADLINE_S)


async def test_peers_and_events_on_both_sides(opener: Opener) -> None:
    async with two(opener) as (one, other):
        mine, theirs = one.events(), other.events()
        await one.connect(other.addresses()[0], deadline_s=DEADLINE_S)
        assert await mine.receive() == PeerConnected(other.local_peer, inbound=False)
        assert await theirs.receive() == PeerConnected(one.local_peer, inbound=True)
        assert [(peer.peer, peer.inbound) for peer in one.peers()] == [(other.local_peer, False)]
        assert [(peer.peer, peer.inbound) for peer in other.peers()] == [(one.local_peer, True)]
        assert one.health().connections == other.health().connections == 1
        await one.disconnect(other.local_peer)
        assert await mine.receive() == PeerDisconnected(other.local_peer)
        assert await theirs.receive() == PeerDisconnected(one.local_peer)
        assert one.peers() == other.peers() == []


async def test_providers_are_found_through_a_third_node(opener: Opener) -> None:
    key = os.urandom(34)
    async with AsyncExitStack() as stack:
        nodes = []
        for _ in range(4):
            mine = NetSettings(LISTEN, os.urandom(32))
            nodes.append(await stack.enter_async_context(opener(mine)))
        dialler = await stack.enter_async_context(opener(NetSettings((), os.urandom(32))))
        hub, *others = nodes
        with trio.fail_after(3 * DEADLINE_S):
            for node in [*others, dialler]:
                await node.connect(hub.addresses()[0], deadline_s=DEADLINE_S)
            assert await others[0].count_provided(key, deadline_s=DEADLINE_S) == 0
            took = await others[0].provide(key)
            assert took >= 1
            assert await others[0].count_provided(key, deadline_s=DEADLINE_S) == took
            assert await others[1].count_provided(key, deadline_s=DEADLINE_S) == 0
            for node in [hub, *others[1:], dialler]:
                found = dict(await node.find_providers(key, limit=5, deadline_s=DEADLINE_S))
                assert set(found) == {others[0].local_peer}
                assert others[0].addresses()[0] in found[others[0].local_peer]
            assert await others[0].find_providers(key, limit=5, deadline_s=DEADLINE_S) == []
            assert await hub.find_providers(os.urandom(34), limit=5, deadline_s=DEADLINE_S) == []


async def test_stop_is_quick_while_peers_neither_read_nor_write(opener: Opener) -> None:
    async with opener(settings()) as other:
        other.serve("/never/1", never_read)
        async with opener(settings()) as one:
            stream = await open_to(one, other, "/never/1")
            with trio.move_on_after(0.05):
                await stream.send_all(bytes(20_000_000))
            waiting = await one.open(other.local_peer, "/never/1", deadline_s=DEADLINE_S)
            assert waiting.peer == other.local_peer
            started = trio.current_time()
        assert trio.current_time() - started < DEADLINE_S / 2


async def test_events_are_bounded_and_the_lost_ones_counted(opener: Opener) -> None:
    async with two(opener, NetLimits(events=1)) as (one, other):
        events = one.events()
        await one.connect(other.addresses()[0], deadline_s=DEADLINE_S)
        await one.disconnect(other.local_peer)
        while not one.health().dropped_events:
            await trio.testing.wait_all_tasks_blocked(0.01)
        assert await events.receive() == PeerConnected(other.local_peer, inbound=False)
        assert one.health().dropped_events == 1
        with pytest.raises(trio.WouldBlock):
            events.receive_nowait()


async def test_peer_that_comes_back_elsewhere_is_reached_after_remember(opener: Opener) -> None:
    key = os.urandom(32)
    async with opener(settings()) as one:
        async with opener(NetSettings(LISTEN, key, dht=False)) as other:
            peer = await one.connect(other.addresses()[0], deadline_s=DEADLINE_S)
        with pytest.raises(PeerUnreachable):
            await one.open(peer, "/echo/1", deadline_s=DEADLINE_S)
        async with opener(NetSettings(LISTEN, key, dht=False)) as other:
            other.serve("/echo/1", echo)
            one.remember(peer, other.addresses())
            started = trio.current_time()
            stream = await one.open(peer, "/echo/1", deadline_s=DEADLINE_S)
            assert trio.current_time() - started < DEADLINE_S / 2
            await stream.send_all(b"again")
            assert await stream.receive_some() == b"again"


async def test_taken_port_is_an_operator_error(opener: Opener) -> None:
    async with opener(settings()) as first:
        taken = first.addresses()[0].partition("/p2p/")[0]
        with pytest.raises(ListenFailed):
            async with opener(settings((*LISTEN, taken))):
                pass


async def test_exception_of_the_body_passes_as_it_is(opener: Opener) -> None:
    with pytest.raises(KeyError):
        async with opener(settings()):
            raise KeyError


async def test_dialler_has_no_address_and_can_be_answered(opener: Opener) -> None:
    async with opener(settings(())) as one, opener(settings()) as other:
        assert one.addresses() == []
        one.serve("/echo/1", echo)
        await one.connect(other.addresses()[0], deadline_s=DEADLINE_S)
        stream = await other.open(one.local_peer, "/echo/1", deadline_s=DEADLINE_S)
        await stream.send_all(b"back")
        assert await stream.receive_some() == b"back"


async def test_simultaneous_dials_both_succeed(opener: Opener) -> None:
    async with two(opener) as (one, other):
        one.serve("/echo/1", echo)
        other.serve("/echo/1", echo)
        async with trio.open_nursery() as nursery:

            async def talk(here: Network, there: Network) -> None:
                stream = await open_to(here, there, "/echo/1")
                await stream.send_all(b"hi")
                assert await stream.receive_some() == b"hi"

            for _ in range(3):
                nursery.start_soon(talk, one, other)
                nursery.start_soon(talk, other, one)
        assert len(one.peers()) == len(other.peers()) == 1


async def test_what_is_for_ipfs_nodes_is_found_only_in_the_network_that_both_joined(opener: Opener) -> None:
    key = b"\x12\x20" + bytes(32)
    signer = Ed25519PrivateKey.generate()
    name = SiteId.of(signer).cid.multihash
    record = ipns.create(signer, value=b"/ipfs/bafkqaaa", sequence=1, validity_s=int(time.time()) + 1000, ttl_s=60)
    async with AsyncExitStack() as stack:
        one, hub, third, stranger = [
            await stack.enter_async_context(opener(NetSettings(LISTEN, os.urandom(32), join=join)))
            for join in ("lan", "lan", "lan", "federation")
        ]
        with trio.fail_after(3 * DEADLINE_S):
            for node in (one, third, stranger):
                await node.connect(hub.addresses()[0], deadline_s=DEADLINE_S)
            while not await one.provide(key, ipfs_only=True, deadline_s=DEADLINE_S):
                await trio.lowlevel.checkpoint()  # identify has not said yet that the hub takes part
            assert await one.put_ipns(name, record, deadline_s=DEADLINE_S) >= 1
            assert [peer for peer, _ in await third.find_providers(key, limit=2, deadline_s=DEADLINE_S)] == [
                one.local_peer
            ]
            found = await third.find_ipns(name, deadline_s=DEADLINE_S)
            assert found is not None
            assert found.raw == record
            assert await stranger.find_providers(key, limit=1, deadline_s=DEADLINE_S) == []
            assert await stranger.find_ipns(name, deadline_s=DEADLINE_S) is None
            assert await stranger.put_ipns(name, record, deadline_s=DEADLINE_S) == 0
            with pytest.raises(PeerError):
                await one.put_ipns(name, record[:-1], deadline_s=DEADLINE_S)


async def test_a_banned_peer_is_out_for_a_while_in_both_directions(opener: Opener) -> None:
    async with two(opener) as (one, other):
        other.serve("/echo/1", echo)
        one.serve("/echo/1", echo)
        await one.connect(other.addresses()[0], deadline_s=DEADLINE_S)
        with trio.fail_after(3 * DEADLINE_S):
            gone = one.events()
            other.note_useful(one.local_peer)
            other.ban(one.local_peer, for_s=1000)
            assert await gone.receive() == PeerDisconnected(other.local_peer)
            assert other.peers() == []
            with pytest.raises(PeerUnreachable):
                await other.connect(one.addresses()[0], deadline_s=DEADLINE_S)
            with pytest.raises(PeerUnreachable):
                await one.open(other.local_peer, "/echo/1", deadline_s=DEADLINE_S)
            other.ban(one.local_peer, for_s=0.1)
            await trio.sleep(0.2)
            stream = await one.open(other.local_peer, "/echo/1", deadline_s=DEADLINE_S)
            await stream.send_all(b"again")
            assert await stream.receive_some() == b"again"


async def test_a_refused_peer_is_out_until_the_answer_changes(opener: Opener) -> None:
    async with two(opener) as (one, other):
        other.serve("/echo/1", echo)
        one.serve("/echo/1", echo)
        other.remember(one.local_peer, one.addresses())
        await one.connect(other.addresses()[0], deadline_s=DEADLINE_S)
        gone = one.events()
        other.refuses = lambda peer: peer == one.local_peer
        other.leave_refused()
        assert await gone.receive() == PeerDisconnected(other.local_peer)
        assert other.peers() == []
        with pytest.raises(PeerUnreachable):
            await other.connect(one.addresses()[0], deadline_s=DEADLINE_S)
        with pytest.raises(PeerUnreachable):
            await other.open(one.local_peer, "/echo/1", deadline_s=DEADLINE_S)
        with pytest.raises(PeerUnreachable):
            await one.open(other.local_peer, "/echo/1", deadline_s=DEADLINE_S)
        assert other.peers() == []
        other.refuses = lambda _: False
        stream = await one.open(other.local_peer, "/echo/1", deadline_s=DEADLINE_S)
        await stream.send_all(b"again")
        assert await stream.receive_some() == b"again"


async def test_the_others_stay_when_one_is_refused(opener: Opener) -> None:
    async with AsyncExitStack() as stack:
        one, other, third = [await stack.enter_async_context(opener(settings())) for _ in range(3)]
        with trio.fail_after(3 * DEADLINE_S):
            third.serve("/echo/1", echo)
            for peer in (one, other):
                await peer.connect(third.addresses()[0], deadline_s=DEADLINE_S)
            stream = await other.open(third.local_peer, "/echo/1", deadline_s=DEADLINE_S)
            gone = one.events()
            third.refuses = lambda peer: peer == one.local_peer
            third.leave_refused()
            assert await gone.receive() == PeerDisconnected(third.local_peer)
            await stream.send_all(b"still here")
            assert await stream.receive_some() == b"still here"


async def test_a_refused_peer_is_named_as_a_provider_neither_to_us_nor_by_us(opener: Opener) -> None:
    key = bytes((0x12, 0x20)) + os.urandom(32)
    async with AsyncExitStack() as stack:
        hub, one, other = [
            await stack.enter_async_context(opener(NetSettings(LISTEN, os.urandom(32)))) for _ in range(3)
        ]

        async def named(to: Network) -> list[str]:
            return [peer for peer, _ in await to.find_providers(key, limit=2, deadline_s=DEADLINE_S)]

        with trio.fail_after(3 * DEADLINE_S):
            for node in (one, other):
                await node.connect(hub.addresses()[0], deadline_s=DEADLINE_S)
            while not await one.provide(key, deadline_s=DEADLINE_S):
                await trio.lowlevel.checkpoint()  # identify has not said yet that the hub takes part
            while await named(other) != [one.local_peer]:
                await trio.lowlevel.checkpoint()
            other.refuses = lambda peer: peer == one.local_peer
            other.leave_refused()
            assert await named(other) == []
            other.refuses = lambda _: False
            hub.refuses = lambda peer: peer == one.local_peer
            hub.leave_refused()
            assert await named(hub) == []
