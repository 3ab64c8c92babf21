"""A process with one libp2p network and a few protocols: `python -m tests.integration.net_node CONFIG_JSON`.

Prints one JSON line when it is up, then one for each line of stdin: health, peers, remember PEER ADDRESS,
connect ADDRESS, echo PEER, break. Ends when stdin ends.
"""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import asdict
from typing import Any

import trio

from node.net.opening import open_network
from node.net.port import NetLimits, NetSettings, Network, Stream
from protocol.errors import FednodeError

DEADLINE_S = 10.0


async def echo(stream: Stream) -> None:
    while data := await stream.receive_some():
        await stream.send_all(data)


async def fail(stream: Stream) -> None:
    raise ZeroDivisionError


async def sleep(stream: Stream) -> None:
    await trio.sleep_forever()


async def talk(network: Network, peer: str) -> bool:
    stream = await network.open(peer, "/echo/1", deadline_s=DEADLINE_S)
    with trio.fail_after(DEADLINE_S):
        await stream.send_all(b"hello")
        good = await stream.receive_some() == b"hello"
    await stream.aclose()
    return good


async def obey(network: Network, line: str) -> Any:
    command, *rest = line.split()
    if command == "health":
        return asdict(network.health())
    if command == "peers":
        return [asdict(peer) for peer in network.peers()]
    if command == "remember":
        network.remember(rest[0], rest[1:])
        return None
    if command == "connect":
        return await network.connect(rest[0], deadline_s=DEADLINE_S)
    if command == "echo":
        return await talk(network, rest[0])
    if command == "break":  # what no peer should be able to do: an exception in libp2p's own task tree
        session = getattr(network, "_session")  # noqa: B009 - private on purpose
        session.nursery.start_soon(fail, None)
        return None
    raise ValueError(command)


async def main(config: dict[str, Any]) -> None:
    limits = NetLimits(**config.get("limits", {}))
    settings = NetSettings(tuple(config["listen"]), bytes.fromhex(config["seed"]), join="public", limits=limits)
    async with open_network(settings) as network:
        for protocol, handler in (("/echo/1", echo), ("/fail/1", fail), ("/sleep/1", sleep)):
            network.serve(protocol, handler)
        say({"addresses": network.addresses(), "peer": network.local_peer})
        while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            try:
                say({"result": await obey(network, line)})
            except FednodeError as exc:
                say({"error": exc.code, "message": str(exc)})


def say(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    trio.run(main, json.loads(sys.argv[1]))
