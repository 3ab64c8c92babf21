"""A daemon that is killed in the middle of a fetch goes on where it was, from whichever host is there then."""

from __future__ import annotations

from functools import partial

import pytest
import trio

from tests.integration.daemons import Daemon, daemon_folder
from tests.integration.loopback import on_loopback
from tests.unit.replication.hosts import Host
from tests.unit.replication.kit import TreeSite

pytestmark = [pytest.mark.integration]
DEADLINE_S = 30.0
BLOCK_BYTES = 100_000
PACE_S = 0.004


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
        async with on_loopback(first) as one, on_loopback(second) as two:
            daemon = Daemon("reader", folder, bootstrap=one.addresses()[0], gateway_fetch_on_miss="off")
            await trio.to_thread.run_sync(daemon.start)
            try:
                await until_sent(first, 600)
                daemon.kill()
                sent = list(first.sent)
                first.stall_after = 0  # it is there and gives nothing any more
                daemon = Daemon("reader", folder, bootstrap=two.addresses()[0], gateway_fetch_on_miss="off")
                await trio.to_thread.run_sync(daemon.start)
                await until_served(daemon, site)
            finally:
                await trio.to_thread.run_sync(partial(daemon.stop))
    again = set(sent) & set(second.sent)
    # A second's blocks on their way and two batches of 8 MiB were not on disk.
    assert len(again) < 1.0 / PACE_S + 2 * 8 * 1024 * 1024 / BLOCK_BYTES
    assert len(second.sent) < len(site.blocks) - len(sent) + len(again) + 20
