"""A process with libp2p as it comes (its own Yamux, Noise, Kademlia): the other side of the interoperability tests.

Speaks to its parent like `net_node`: connect ADDRESS, echo PEER BYTES, many PEER, reset PEER, ping PEER,
protocols PEER, provide HEX, find HEX. Serves /echo/1 and /reset/1.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import trio
from libp2p import create_yamux_muxer_option, new_host
from libp2p.abc import INetStream
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.host.ping import PingService
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.network.stream.exceptions import StreamEOF, StreamError
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

from tests.integration.net_node import say


async def echo(stream: INetStream) -> None:
    try:
        while data := await stream.read(65536):
            await stream.write(data)
    except StreamEOF:
        await stream.close()
    except StreamError:  # would end this host, were it to leave the handler
        return


async def reset(stream: INetStream) -> None:
    await stream.read(2)
    await stream.reset()


class Node:
    def __init__(self) -> None:
        self.host = new_host(create_new_key_pair(), muxer_opt=create_yamux_muxer_option())
        self.host.set_stream_handler(TProtocol("/echo/1"), echo)
        self.host.set_stream_handler(TProtocol("/reset/1"), reset)
        self.dht = KadDHT(self.host, DHTMode.SERVER)

    async def connect(self, address: str) -> str:
        info = info_from_p2p_addr(Multiaddr(address))
        await self.host.connect(info)
        return str(info.peer_id)

    async def echo(self, peer: str, count: str) -> bool:
        stream = await self.host.new_stream(ID.from_base58(peer), [TProtocol("/echo/1")])
        sent = os.urandom(int(count))
        received = b""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.write, sent)
            while len(received) < len(sent):
                received += await stream.read(65536)
        await stream.close()
        return received == sent

    async def many(self, peer: str) -> bool:
        good: list[bool] = []

        async def one() -> None:
            good.append(await self.echo(peer, "10000"))

        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(one)
        return len(good) == 30 and all(good)

    async def reset(self, peer: str) -> None:
        stream = await self.host.new_stream(ID.from_base58(peer), [TProtocol("/wait/1")])
        await stream.read(4)
        await stream.reset()

    async def ping(self, peer: str) -> int:
        return len(await PingService(self.host).ping(ID.from_base58(peer), 3))

    async def protocols(self, peer: str) -> list[str]:
        while True:
            known = self.host.get_peerstore().get_protocols(ID.from_base58(peer))
            if known:
                return list(known)
            await trio.sleep(0.02)

    async def provide(self, key: str) -> bool:
        return bool(await self.dht.provide(key))

    async def find(self, key: str) -> list[list[Any]]:
        found = await self.dht.find_providers(key)
        return [[str(each.peer_id), [str(address) for address in each.addrs]] for each in found]


async def main() -> None:
    node = Node()
    async with node.host.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]), background_trio_service(node.dht):
        addresses = [str(address) for address in node.host.get_addrs()]
        say({"addresses": addresses, "peer": str(node.host.get_id())})
        while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            command, *rest = line.split()
            with trio.fail_after(60):
                say({"result": await getattr(node, command)(*rest)})
    os._exit(0)


if __name__ == "__main__":
    trio.run(main)
