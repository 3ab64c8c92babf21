"""An import from the IPFS network that is cut off by kill -9 goes on by itself when the daemon is started again."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cli.demo.nodes import fednode
from tests.integration.daemons import Daemon, Site, daemon_folder, eventually
from tests.integration.relay import Relay, port_of

pytestmark = [pytest.mark.integration]
MIB = 1024 * 1024
FILES = 40
LET_THROUGH_BYTES = 22 * MIB
IN_MEMORY_BYTES = 9 * MIB
"""Of what was received when the process dies: a batch of 8 MiB that fills, and a block on its way into it."""


def ended(daemon: Daemon, number: int) -> dict[str, Any]:
    with daemon.admin() as client:
        found = client.show_import(number)
    assert found["state"] not in ("resolving", "fetching")
    return found


def test_an_import_that_was_killed_goes_on_at_the_next_start(tmp_path: Path) -> None:
    rng = random.Random(11)
    site = Site(tmp_path)
    for number in range(FILES):
        site.write(f"{number}.bin", rng.randbytes(MIB))
    with daemon_folder() as folder:
        source = Daemon("source", folder)
        target = Daemon("target", folder, hosting_mode="none")
        try:
            source.start()
            target.start()
            root = site.publish(source)["root"]
            with closing(Relay(port_of(source.address), hold_after_bytes=LET_THROUGH_BYTES)) as line:
                with target.admin() as client:
                    number = client.start_import(f"/ipfs/{root}", [line.at(source.address)])["number"]

                    def half_is_here() -> int:
                        found = client.show_import(number)
                        assert found["received_bytes"] >= LET_THROUGH_BYTES - 2 * MIB, found
                        assert found["size_bytes"] >= found["received_bytes"] - IN_MEMORY_BYTES, found
                        return int(found["size_bytes"])

                    written_bytes = eventually(half_is_here)
                target.kill()
                line.opened.set()
                target.start()
                (resumed,) = fednode("imports", *target.at)["imports"]
                assert (resumed["target"], resumed["resumed"]) == (f"/ipfs/{root}", True)
                found = eventually(lambda: ended(target, resumed["number"]))
            assert found["state"] == "done"
            assert found["size_bytes"] > FILES * MIB
            assert written_bytes >= LET_THROUGH_BYTES - 2 * MIB - IN_MEMORY_BYTES
            assert 0 < found["received_bytes"] <= found["size_bytes"] - written_bytes
        finally:
            source.stop()
            target.stop()
