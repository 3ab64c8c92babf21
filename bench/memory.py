"""Resident memory of an idle node with ten sites, and CPU of `fednode --help`.

./dev bench memory
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.federation import rss_mb, timed
from tests.integration.daemons import federation, sample_site

SITES = 10
SETTLE_S = 10.0
DAEMON_MAX_MB = 150
HELP_MAX_S = 0.3


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, federation(1) as (daemon,):
        for number in range(SITES):
            sample_site(Path(folder) / str(number)).publish(daemon)
        time.sleep(SETTLE_S)
        daemon_mb = rss_mb(daemon.pid, "VmRSS")
        workers = [rss_mb(worker["pid"], "VmRSS") for worker in daemon.status()["gateway"]["workers"]]
    help_s = min(timed(lambda: subprocess.run([sys.executable, "-m", "cli", "--help"], check=True,
                                              stdout=subprocess.DEVNULL))[1] for _ in range(5))  # fmt: skip
    print(f"idle daemon with {SITES} sites: {daemon_mb} MB (at most {DAEMON_MAX_MB})")
    print(f"gateway workers beside it: {', '.join(f'{worker} MB' for worker in workers)}")
    print(f"fednode --help: {help_s:.2f} s of CPU (at most {HELP_MAX_S})")


if __name__ == "__main__":
    main()
