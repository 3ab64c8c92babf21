"""What the suites of the network port share: two networks over either implementation, and small handlers."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import trio
import trio.testing

from node.net.port import NetLimits, NetSettings, Network, Stream

LISTEN = ("/ip4/127.0.0.1/tcp/0",)
DEADLINE_S = 20.0
"""For what takes some milliseconds on a machine with nothing else to do."""
Opener = Callable[[NetSettings], AbstractAsyncContextManager[Network]]


def settings(listen: tuple[str, ...] = LISTEN, limits: NetLimits | None = None) -> NetSettings:
    return NetSettings(listen, os.urandom(32), dht=False, limits=limits or NetLimits())


@asynccontextmanager
async def two(opener: Opener, limits: NetLimits | None = None) -> AsyncIterator[tuple[Network, Network]]:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(opener(settings(limits=limits)))
        second = await stack.enter_async_context(opener(settings(limits=limits)))
        with trio.fail_after(3 * DEADLINE_S):
            yield first, second


async def echo(stream: Stream) -> None:
    while data := await stream.receive_some():
        await stream.send_all(data)


async def receive_all(stream: Stream) -> bytes:
    data = b""
    while more := await stream.receive_some():
        data += more
    return data


async def open_to(one: Network, other: Network, protocol: str) -> Stream:
    await one.connect(other.addresses()[0], deadline_s=DEADLINE_S)
    return await one.open(other.local_peer, protocol, deadline_s=DEADLINE_S)
