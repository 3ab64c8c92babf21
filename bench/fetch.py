"""How long one fetch takes from one host, a fast and a slow one, three equal ones, and one that stalls.

    ./dev bench fetch

Real replication over the in-memory network; each host sends one block in so many milliseconds, as a line of that rate
would. What is measured is the share of the hosts' rates together that the fetch gets, and what was sent twice.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import trio

from tests.unit.replication.hosts import Host
from tests.unit.replication.kit import TreeSite, connect, ring

BLOCKS = 400
BLOCK_BYTES = 64 * 1024
MIB = 1024 * 1024
DEADLINE_S = 120.0


@dataclass(frozen=True)
class Case:
    """paces_s: seconds a block of each host. stalled: how many of the first send nothing after 20 blocks."""

    name: str
    paces_s: tuple[float, ...]
    stalled: int = 0


CASES = (
    Case("one host", (0.02,)),
    Case("one fast, one ten times slower", (0.02, 0.2)),
    Case("the slow one first", (0.2, 0.02)),
    Case("three equal hosts", (0.02, 0.02, 0.02)),
    Case("one stalls, one sends", (0.02, 0.02), stalled=1),
)


async def measure(case: Case) -> str:
    """A line of the table."""
    rng = random.Random(case.name)
    site = TreeSite({f"{number}.bin": rng.randbytes(BLOCK_BYTES) for number in range(BLOCKS)})
    hosts = [Host(site, pace_s=pace_s) for pace_s in case.paces_s]
    for host in hosts[: case.stalled]:
        host.stall_after = 20
    async with ring(len(hosts) + 1) as (_, (reader, *nodes)):
        for host, node in zip(hosts, nodes, strict=True):
            host.on(node)
            await connect(reader, node)
        began_s = trio.current_time()
        with trio.fail_after(DEADLINE_S):
            while not reader.holds(site):  # noqa: ASYNC110 - looks into the store
                await trio.sleep(0.01)
        took_s = trio.current_time() - began_s
    rate = len(site.blocks) * BLOCK_BYTES / took_s / MIB
    offered = sum(BLOCK_BYTES / pace_s / MIB for pace_s in case.paces_s[case.stalled :])
    sent = [len(host.sent) for host in hosts]
    twice = sum(sent) - len(site.blocks)
    return f"{case.name:32} {took_s:6.1f} s {rate:6.2f} of {offered:5.2f} MiB/s   sent {sent}, {twice} twice"


async def main() -> None:
    for case in CASES:
        print(await measure(case))


if __name__ == "__main__":
    trio.run(main)
