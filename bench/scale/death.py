"""From the death of a host, disk and all, until every site that it hosted is back at its minimum."""

from __future__ import annotations

import argparse
import dataclasses

from bench.scale.churn import CHURNS, HOUR_S
from bench.scale.world import Setting, World
from node.core.copies import GRACE_S
from protocol.release import Band

SIZE_BYTES = 100_000
DEADLINE_S = 48 * HOUR_S
# Every site has exactly its minimum: whatever dies must be made anew.
EXACT = Band(3, 3)


def run(args: argparse.Namespace) -> dict[str, object]:
    """As many sites are placed as give one host `args.sites` of them; what is around keeps quiet."""
    setting = Setting(
        args.seed,
        args.nodes,
        max(1, args.sites * args.nodes // EXACT.min_hosts),
        CHURNS["vps"],
        band=EXACT,
        size_bytes=SIZE_BYTES,
        step_s=1.0,
        calm_s=1.0,
        disturbed=False,
    )
    world = World(setting)
    world.run(2 * HOUR_S)
    copies, asks = world.tally.copies, world.tally.asks
    victim = min(world.nodes.values(), key=lambda node: abs(len(node.disk) - args.sites))
    sites = list(victim.disk)
    died_s = world.now_s
    world.die(victim, replaced=False)
    first_s: float | None = None
    while world.now_s < died_s + DEADLINE_S:
        world.run(world.now_s + 1.0)
        if first_s is None and world.tally.copies > copies:
            first_s = world.now_s
        if first_s is not None and all(world.tally.live_hosts(site) >= EXACT.min_hosts for site in sites):
            break
    made = world.tally.copies - copies
    return {
        **{key: value for key, value in dataclasses.asdict(setting).items() if key in ("size_bytes", "bytes_per_s")},
        "sites_lost_a_copy": len(sites),
        "first_copy_s": (first_s or 0) - died_s,
        "restored_s": world.now_s - died_s,
        "bytes_moved": made * SIZE_BYTES,
        "least_bytes": len(sites) * SIZE_BYTES,
        "asks": world.tally.asks - asks,
        "grace_s": GRACE_S,
    }
