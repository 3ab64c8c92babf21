"""A daemon that is killed in the middle of a fetch goes on where it was, from whichever host is there then."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from node.net import FrameChannel, NetSettings, Network, open_network
from node.net.port import PeerConnected
from protocol import messages as msg
from protocol.errors import PeerError
from protocol.messages import SYNC_PROTOCOL
from tests.integration.daemons import Daemon, daemon_folder
from tests.unit.replication.hosts import Host
from tests.unit.replication.kit import TreeSite

pytestmark = [pytest.mark.integration]
DEADLINE_S = 30.0
BLOCK_BYTES = 100_000
PACE_S = 0.004


async def offering(network: Network, host: Host) -> None:
    """Tells every peer that connects of the site, as a host does that has just got it."""
    async for event in network.events():
        if not isinstance(event, PeerConnected):
            continue
        try:
            stream = await network.open(event.peer, SYNC_PROTOCOL, deadline_s=DEADLINE_S)
            async with FrameChannel(stream, idle_s=DEADLINE_S, write_s=DEADLINE_S) as channel:
                await channel.send(msg.Offer(host.site.signed))
                await channel.receive()
        except PeerError:
            continue  # it was killed meanwhile


@asynccontextmanager
async def on_loopback(host: Host, number: int) -> AsyncIterator[str]:
    """The host on a real network; its address."""
    settings = NetSettings(listen=("/ip4/127.0.0.1/tcp/0",), private_key=bytes([number]) * 32)
    async with open_network(settings) as network, trio.open_nursery() as nursery:
        network.serve(SYNC_PROTOCOL, host.serve)
        nursery.start_soon(offering, network, host)
        yield network.addresses()[0]
        nursery.cancel_scope.cancel()


async def until_sent(host: Host, count: int) -> None:
    with trio.fail_after(DEADLINE_S):
        while len(host.sent) < count:  # noqa: ASYNC110 - it is another process that makes it grow
            await trio.sleep(0.01)


async def until_served(daemon: Daemon, site: TreeSite) -> None:
    """A release is served when all of it is there."""
    with trio.fail_after(DEADLINE_S):
        while (await trio.to_thread.run_sync(daemon.status))["sites"]["hosted"] == 0:  # noqa: ASYNC110
            await trio.sleep(0.05)
    name, content = f"{len(site.blocks) - 2}.bin", bytes([1]) * BLOCK_BYTES
    answer = await trio.to_thread.run_sync(daemon.get, str(site.signed.site), f"/{name}")
    assert (answer.status, answer.body[-BLOCK_BYTES + 8 :]) == (200, content[8:])


def sample(count: int) -> TreeSite:
    return TreeSite({f"{number}.bin": b"%8d" % number + bytes([1]) * (BLOCK_BYTES - 8) for number in range(count)})


async def test_kill_in_mid_fetch_costs_what_was_not_written_yet() -> None:
    site = sample(900)
    first, second = Host(site, pace_s=PACE_S), Host(site, pace_s=PACE_S)
    with daemon_folder() as folder:
        async with on_loopback(first, 21) as one, on_loopback(second, 22) as two:
            daemon = Daemon("reader", folder, bootstrap=one, gateway_fetch_on_miss="off")
            await trio.to_thread.run_sync(daemon.start)
            try:
                await until_sent(first, 600)
                daemon.kill()
                sent = list(first.sent)
                first.stall_after = 0  # it is there and gives nothing any more
                daemon = Daemon("reader", folder, bootstrap=two, gateway_fetch_on_miss="off")
                await trio.to_thread.run_sync(daemon.start)
                await until_served(daemon, site)
            finally:
                await trio.to_thread.run_sync(partial(daemon.stop))
    again = set(sent) & set(second.sent)
    # A second's blocks on their way and two batches of 8 MiB were not on disk.
    assert len(again) < 1.0 / PACE_S + 2 * 8 * 1024 * 1024 / BLOCK_BYTES
    assert len(second.sent) < len(site.blocks) - len(sent) + len(again) + 20
