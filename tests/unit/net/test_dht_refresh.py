"""When the DHT looks around by itself: every ten minutes, and when it has got to know somebody."""

from __future__ import annotations

import os

import pytest
import trio
import trio.testing
from libp2p.kad_dht.pb.kademlia_pb2 import Message

from node.net.delimited import delimited
from node.net.kademlia import NEAREST
from node.net.libp2p_dht import PROTOCOLS, Dht
from node.net.peer_ids import peer_id_of_seed
from node.net.port import Stream
from tests.property.test_net_messages import Host

PROTOCOL = PROTOCOLS["federation"]


class CountingHost(Host):
    """Counts the walks. Whoever is asked answers, without naming anybody."""

    def __init__(self) -> None:
        super().__init__(answer)
        self.walks = 0

    def connected_peers(self) -> set[str]:
        return set()

    def walk_ended(self) -> None:
        self.walks += 1


async def answer(stream: Stream) -> None:
    await stream.receive_some()
    await stream.send_all(delimited(Message(type=Message.FIND_NODE).SerializeToString()))
    await stream.aclose()


@pytest.mark.parametrize("new_peers", [0, 3])
async def test_peers_that_are_known_and_come_again_cost_no_walk(
    new_peers: int, autojump_clock: trio.testing.MockClock
) -> None:
    host = CountingHost()
    dht = Dht(host, PROTOCOL)
    peers = [peer_id_of_seed(os.urandom(32)) for _ in range(2 * NEAREST)]
    async with trio.open_nursery() as host.nursery, trio.open_nursery() as nursery:
        nursery.start_soon(dht.run)
        for peer in peers:
            dht.on_identified(peer, [PROTOCOL])
        await trio.sleep(60)
        assert dht.size >= NEAREST
        walks = host.walks
        for _ in range(20):
            dht.on_identified(peers[0], [PROTOCOL])
            await trio.sleep(5)
        assert host.walks == walks
        for _ in range(new_peers):  # of so many, one at least has a place
            for _ in range(50):
                dht.on_identified(peer_id_of_seed(os.urandom(32)), [PROTOCOL])
            await trio.sleep(5)
        assert (host.walks > walks) == bool(new_peers)
        nursery.cancel_scope.cancel()
