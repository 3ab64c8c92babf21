"""The numbers of a real daemon and its worker, by command and by HTTP."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.integration.daemons import Daemon, daemon_folder, eventually, sample_site
from tests.ports import free_port

pytestmark = [pytest.mark.integration]


def test_metrics_of_a_daemon(tmp_path: Path) -> None:
    port = free_port()
    with daemon_folder() as folder:
        daemon = Daemon("node", folder, network_dht="false", metrics_listen=f"127.0.0.1:{port}")
        daemon.start()
        try:
            site = sample_site(tmp_path)
            site.publish(daemon)
            site.check_on(daemon)

            def check() -> None:
                with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
                    text = answer.read().decode()
                assert 'fednode_sites{state="hosted"} 1' in text
                requests = next(line for line in text.splitlines() if line.startswith("fednode_http_requests_total"))
                assert int(requests.rpartition(" ")[2]) >= len(site.files())

            eventually(check)
            command = [sys.executable, "-m", "cli", "metrics", *daemon.at]
            printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            assert "# TYPE fednode_http_latency_seconds histogram" in printed
        finally:
            daemon.stop()
