"""Publishing to several remote nodes over real libp2p, from a machine that runs none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.demo.nodes import fednode
from tests.integration.daemons import Daemon, Site, federation, sample_site

pytestmark = [pytest.mark.integration]

NOBODY = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWDVgXx4zcLZT6vhXA8m3LVYSum33U5XKfRo65pWHgqJTN"


@pytest.fixture(scope="module")
def daemons() -> Iterator[list[Daemon]]:
    with federation(2) as found:
        yield found


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return sample_site(tmp_path)


def publish(tmp_path: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and JSON of a publish by a user whose home has nothing in it."""
    home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config"), "XDG_DATA_HOME": str(tmp_path / "data")}
    ran = subprocess.run(
        [sys.executable, "-m", "cli", "publish", *arguments, "--json"],
        env=os.environ | home,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return ran.returncode, json.loads(ran.stdout)


def to(*addresses: str) -> list[str]:
    return [part for address in addresses for part in ("--to", address)]


def test_some_accept_some_refuse_some_are_gone(daemons: list[Daemon], site: Site, tmp_path: Path) -> None:
    willing, unwilling = daemons
    fednode("block", site.id, "--reason", "not here", *unwilling.at)
    nodes = to(willing.address, unwilling.address, NOBODY)
    code, result = publish(tmp_path, str(site.dir), "--key", str(site.key), *nodes)
    assert code == 5
    assert [node["node"] for node in result["nodes"]] == [willing.address, unwilling.address, NOBODY]
    assert [node["state"] for node in result["nodes"]] == ["accepted", "refused", "failed"]
    assert (result["nodes"][1]["code"], result["nodes"][1]["reason"]) == ("quarantined", "not here")
    assert result["nodes"][0]["new_bytes"] == result["size_bytes"]
    site.check_on(willing)
    code, result = publish(tmp_path, str(site.dir), "--key", str(site.key), *to(unwilling.address))
    assert (code, result["unchanged"], result["seq"]) == (4, True, 1)
    code, result = publish(tmp_path, str(site.dir), "--key", str(site.key), *to(NOBODY))
    assert (code, result["error"]["code"]) == (3, "unreachable")


def test_a_bundle_needs_no_key(daemons: list[Daemon], site: Site, tmp_path: Path) -> None:
    bundle = str(tmp_path / "site.car")
    made = fednode("bundle", str(site.dir), "--key", str(site.key), "-o", bundle)
    site.key.unlink()
    code, result = publish(tmp_path, bundle, *to(*(daemon.address for daemon in daemons)))
    assert code == 0
    assert (result["site"], result["root"], result["release"]) == (site.id, made["root"], made["release"])
    for daemon in daemons:
        site.wait_on(daemon)
