"""No task of the daemon keeps the others waiting, whatever is published and replicated."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.integration.daemons import Daemon, Site, eventually, federation

pytestmark = pytest.mark.integration

# What fednode itself may do in one pass of the loop, on a machine that others use too. Time that the loop's thread
# spent waiting for a processor is not counted: it says nothing about fednode.
PASS_MAX_CPU_MS = 20.0
STALLS_MAX_PART = 0.01


def big_site(folder: Path) -> Site:
    """A folder of 3,000 entries, files of many blocks, and 12 MB in all."""
    noise = random.Random(3).randbytes
    site = Site(folder)
    site.write("index.html", "<!doctype html><title>Big</title>")
    for number in range(3000):
        site.write(f"many/an entry with quite a long name, number {number}.txt", noise(40))
    for number in range(4):
        site.write(f"large/{number}.bin", noise(3_000_000))
    return site


def check_loop(daemon: Daemon) -> None:
    loop = daemon.status()["loop"]
    assert loop["passes"] > 100
    assert loop["worst_cpu_ms"] < PASS_MAX_CPU_MS, loop
    assert loop["stalls"] <= STALLS_MAX_PART * loop["passes"], loop


def test_publishing_and_replicating_stall_nobody(tmp_path: Path) -> None:
    site = big_site(tmp_path)
    with federation(2) as (first, second):
        for seq in (1, 2):
            site.write("index.html", f"<!doctype html><title>Big {seq}</title>")
            site.publish(first)

            def held(seq: int = seq) -> None:
                found = second.site(site.id)["held"]
                assert found is not None
                assert found["seq"] == seq

            eventually(held)
        check_loop(first)
        check_loop(second)
