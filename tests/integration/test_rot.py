"""Real rot under a live daemon: it is found and counted, never served, and fetched again from the other host."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from pathlib import Path

import pytest

from cli.demo.nodes import DemoFailed
from config import Paths
from protocol.cid import RAW, Cid
from protocol.limits import CHUNK_BYTES
from tests.conformance.store_kit import damage, place
from tests.integration.daemons import Daemon, Site, eventually, federation, sample_site

pytestmark = [pytest.mark.integration]
FILE = "large.bin"


def damaged_blocks(daemon: Daemon) -> int:
    """As `fednode status` and the metrics tell."""
    with daemon.admin() as client:
        (line,) = [line for line in client.metrics().splitlines() if line.startswith("fednode_store_damaged_blocks ")]
    count = int(line.split()[1])
    assert daemon.status()["store"]["corrupt_blocks"] == count
    return count


def verified(daemon: Daemon) -> dict[str, object]:
    command = [sys.executable, "-m", "cli", "store", "verify", "--json", *daemon.at]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=False).stdout)
    assert isinstance(found, dict)
    return found


def check_never_wrong(daemon: Daemon, site: Site) -> bool:
    """True when the file was served; what is cut off was not."""
    try:
        answer = daemon.get(site.id, f"/{FILE}")
    except (http.client.IncompleteRead, DemoFailed):
        return False
    assert answer.status != 200 or answer.body == (site.dir / FILE).read_bytes()
    return answer.status == 200


def test_rot_is_found_never_served_and_healed(tmp_path: Path) -> None:
    site = sample_site(tmp_path)
    raw = (site.dir / FILE).read_bytes()
    chunks = [Cid.of(RAW, raw[at : at + CHUNK_BYTES]) for at in range(0, len(raw), CHUNK_BYTES)]
    with federation(2) as (first, second):
        site.publish(first)
        eventually(lambda: held(second, site))
        store = Paths(second.data_dir).store_dir

        # Nobody can heal it: it is told, and not served.
        first.stop()
        damage(store, chunks[-1])
        found = verified(second)
        assert found["ok"] is False
        assert found["damaged"] == [str(chunks[-1])] or found["known_damaged"] == 1  # the daemon was first
        assert damaged_blocks(second) == 1
        assert not check_never_wrong(second, site)

        # The other host is back: a reader is enough.
        first.start()
        eventually(lambda: served(second, site))
        eventually(lambda: healed(second))

        # And without any reader, whoever finds it: the daemon may be reading the store through just now.
        before = place(store, chunks[0])
        damage(store, chunks[0])
        verified(second)
        eventually(lambda: healed(second))
        assert place(store, chunks[0]) != before
        assert verified(second)["ok"]
        site.check_on(second)


def held(daemon: Daemon, site: Site) -> None:
    assert daemon.site(site.id)["held"] is not None


def served(daemon: Daemon, site: Site) -> None:
    assert check_never_wrong(daemon, site)


def healed(daemon: Daemon) -> None:
    assert damaged_blocks(daemon) == 0
