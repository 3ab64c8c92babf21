"""A pin by Kubo from fednode beside the same pin by Kubo from Kubo, in one run, as a ratio.

    FEDNODE_IPFS_CLIENTS=DIR python -m bench.bitswap FOLDER [--rounds 3]

DIR is what tests/integration/ipfs_clients.py needs. Figures are told of a folder of 2,012 files and 196 MB. Kubo adds
it in its own form (256 KiB leaves), so that it has more blocks to ask for.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.integration.daemons import Site, federation
from tests.integration.ipfs_clients import installed, kubo


def pin_s(address: str, root: str) -> float:
    """Seconds that a new Kubo node takes to pin `root` from the only node that it is connected to."""
    with kubo() as client:
        client.do("connect", address)
        began_s = time.perf_counter()
        client.do("pin", root)
        return time.perf_counter() - began_s


def copy_s(folder: Path) -> float:
    """Seconds for `cp` and `sha256sum` of the same tree: what the machine can do."""
    with tempfile.TemporaryDirectory() as target:
        began_s = time.perf_counter()
        subprocess.run(["cp", "-r", str(folder), target], check=True)
        subprocess.run(f"find {target} -type f -print0 | xargs -0 sha256sum > /dev/null", shell=True, check=True)  # noqa: S602
        return time.perf_counter() - began_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if not installed():
        sys.exit("FEDNODE_IPFS_CLIENTS: see tests/integration/ipfs_clients.py")
    with tempfile.TemporaryDirectory() as name, federation(1) as (daemon,), kubo() as source:
        site = Site(Path(name))
        shutil.copytree(options.folder, site.dir, dirs_exist_ok=True)
        ours = site.publish(daemon)["root"]
        theirs = source.do("add", site.dir)
        times: dict[str, list[float]] = {"cp + sha256sum": [], "from fednode": [], "from Kubo": []}
        for _ in range(options.rounds):
            times["cp + sha256sum"].append(copy_s(site.dir))
            times["from fednode"].append(pin_s(daemon.address, ours))
            times["from Kubo"].append(pin_s(source.address, theirs))
    medians = {what: statistics.median(found) for what, found in times.items()}
    for what, found in times.items():
        ratio = medians[what] / medians["cp + sha256sum"]
        print(f"{what:16} {medians[what]:6.2f} s  ({min(found):.2f} to {max(found):.2f})  {ratio:.1f} x")
    print(f"fednode / Kubo   {medians['from fednode'] / medians['from Kubo']:.2f}")


if __name__ == "__main__":
    main()
