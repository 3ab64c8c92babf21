"""What it costs to publish a tree and to bring it elsewhere, by fednode and by Kubo, in one run.

    FEDNODE_IPFS_CLIENTS=DIR python -m bench.interop FOLDER [--rounds 3]

DIR is what tests/integration/ipfs_clients.py needs. Each step starts with fresh nodes. Wall time is told as a ratio to
`cp` and `sha256sum` of the same tree in the same round; CPU seconds, of all processes of a step, stand beside it: where
the machine is busy with other things they say more. Kubo adds the tree in its own form (256 KiB leaves).
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cli.demo.nodes import fednode
from tests.integration.daemons import Daemon, Site, federation
from tests.integration.ipfs_clients import Client, installed, kubo

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
BASE = "cp + sha256sum"


@dataclass
class Cost:
    wall_s: float
    cpu_s: float


def cpu_s(pids: list[int]) -> float:
    """Of processes and their children, those that ended and were waited for among them."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += sum(int(field) for field in fields[11:15])
        total += int(TICKS_PER_S * cpu_s(children(pid)))
    return total / TICKS_PER_S


def children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


def measured(step: Callable[[], object], pids: list[int]) -> Cost:
    """pids: of the daemons that take part; this process and the commands that it runs are counted, too."""
    mine, theirs, began_s = sum(os.times()[:4]), cpu_s(pids), time.perf_counter()
    step()
    wall_s = time.perf_counter() - began_s
    return Cost(wall_s, sum(os.times()[:4]) - mine + cpu_s(pids) - theirs)


def copy(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as target:
        subprocess.run(["cp", "-r", str(folder), target], check=True)
        subprocess.run(f"find {target} -type f -print0 | xargs -0 sha256sum > /dev/null", shell=True, check=True)  # noqa: S602


@contextmanager
def published(site: Site, costs: dict[str, list[Cost]]) -> Iterator[tuple[Daemon, str]]:
    """A daemon that has the site, and its root."""
    with federation(1) as (daemon,):
        found: dict[str, str] = {}
        cost = measured(lambda: found.update(site.publish(daemon)), [daemon.pid])
        costs.setdefault("fednode publish", []).append(cost)
        yield daemon, found["root"]


def fetched(daemon: Daemon, root: str) -> Cost:
    """By a second fednode, which follows nothing and imports the tree."""
    with federation(1, hosting_mode="none") as (other,):
        command = ("import", f"/ipfs/{root}", "--from", daemon.address, *other.at)
        return measured(lambda: fednode(*command), [daemon.pid, other.pid])


def pinned(source: Client | Daemon, root: str) -> Cost:
    """By a Kubo node that is connected to the source alone."""
    pid = source.pid if isinstance(source, Daemon) else source.process.pid
    with kubo() as client:
        client.do("connect", source.address)
        return measured(lambda: client.do("pin", root), [pid, client.process.pid])


def one_round(site: Site, costs: dict[str, list[Cost]]) -> None:
    costs.setdefault(BASE, []).append(measured(lambda: copy(site.dir), []))
    with published(site, costs) as (daemon, root):
        costs.setdefault("fetch by a second fednode", []).append(fetched(daemon, root))
        costs.setdefault("Kubo pins from fednode", []).append(pinned(daemon, root))
    with kubo() as source:
        added: list[str] = []
        add = measured(lambda: added.append(source.do("add", site.dir)), [source.process.pid])
        costs.setdefault("Kubo add", []).append(add)
        costs.setdefault("Kubo pins from Kubo", []).append(pinned(source, added[0]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if not installed():
        sys.exit("FEDNODE_IPFS_CLIENTS: see tests/integration/ipfs_clients.py")
    costs: dict[str, list[Cost]] = {}
    with tempfile.TemporaryDirectory() as name:
        site = Site(Path(name))
        shutil.copytree(options.folder, site.dir, dirs_exist_ok=True)
        for _ in range(options.rounds):
            one_round(site, costs)
    print(f"load {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores, {options.rounds} rounds: medians (least to most)")
    print(f"{'':26} {'wall':>7} {'':20} {'CPU':>7}   wall / cp, CPU / cp")
    for what, found in costs.items():
        walls, cpus = [cost.wall_s for cost in found], [cost.cpu_s for cost in found]
        ratios = [cost.wall_s / base.wall_s for cost, base in zip(found, costs[BASE], strict=True)]
        loads = [cost.cpu_s / base.cpu_s for cost, base in zip(found, costs[BASE], strict=True)]
        spread = f"({min(walls):.2f} to {max(walls):.2f})"
        wall, cpu = statistics.median(walls), statistics.median(cpus)
        print(f"{what:26} {wall:6.2f}s {spread:20} {cpu:6.2f}s", end="")
        print(f"   {statistics.median(ratios):.1f}, {statistics.median(loads):.1f}")


if __name__ == "__main__":
    main()
