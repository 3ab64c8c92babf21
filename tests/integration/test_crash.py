"""kill -9 at any moment: what was acknowledged is there, nothing half-written is served, the next start just works."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli.demo.nodes import DemoFailed, fednode
from tests.integration.daemons import Daemon, Site, daemon_folder, eventually, federation, sample_site

pytestmark = [pytest.mark.integration]
ROUNDS = 6


def start_publish(site: Site, daemon: Daemon) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "cli", "publish", str(site.dir), "--key", str(site.key), *daemon.at, "--json"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def serves_wholly(daemon: Daemon, site: Site, versions: list[dict[str, bytes]]) -> int:
    """Which of the published versions the daemon serves; fails on a mixture or on anything torn."""
    for number in reversed(range(len(versions))):
        answers = {path: daemon.get(site.id, path) for path in versions[number]}
        if all((answers[path].status, answers[path].body) == (200, body) for path, body in versions[number].items()):
            return number
    raise AssertionError("what is served is none of the published versions")


def test_kill_during_publish_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    rng = random.Random(7)
    site = sample_site(tmp_path)
    with daemon_folder() as folder:
        daemon = Daemon("node", folder)
        daemon.start()
        try:
            site.publish(daemon)
            versions = [site.files()]
            acknowledged = 0
            for number in range(ROUNDS):
                site.write("large.bin", rng.randbytes(3_000_000))
                for page in range(200):
                    site.write(f"pages/{page}.html", f"<p>{number} {rng.random()}</p>")
                versions.append(site.files())
                publish = start_publish(site, daemon)
                time.sleep(rng.uniform(0.2, 1.2))
                daemon.kill()
                if publish.wait(30) == 0:
                    acknowledged = len(versions) - 1
                daemon.start()
                assert serves_wholly(daemon, site, versions) >= acknowledged
            site.publish(daemon)
            site.check_on(daemon)
            assert daemon.status()["store"]["corrupt_blocks"] == 0
        finally:
            daemon.stop()


def test_kill_during_replication_resumes_and_completes(tmp_path: Path) -> None:
    rng = random.Random(8)
    site = Site(tmp_path)
    for number in range(60):
        site.write(f"{number}.bin", rng.randbytes(1_000_000))
    with federation(2) as (first, second):
        second.kill()
        site.publish(first)
        for _ in range(3):
            second.start()
            time.sleep(rng.uniform(0.1, 0.6))
            held = second.get(site.id, "/0.bin")
            assert held.status != 200 or held.body == (site.dir / "0.bin").read_bytes()
            second.kill()
        second.start()
        site.wait_on(second, 60.0)


def test_a_block_that_was_acknowledged_survives_kill(tmp_path: Path) -> None:
    site = sample_site(tmp_path)
    with federation(1) as (daemon,):
        site.publish(daemon)
        fednode("block", site.id, *daemon.at)
        daemon.kill()
        daemon.start()
        assert daemon.get(site.id, "/").status == 410
        fednode("unblock", site.id, *daemon.at)
        daemon.kill()
        daemon.start()
        site.wait_on(daemon, 2.0)


def test_flipped_bits_on_disk_are_never_served_and_healed_from_another_copy(tmp_path: Path) -> None:
    site = sample_site(tmp_path)
    marker = b"these very bytes will rot on the disk of one node"
    site.write("rot.txt", marker * 100)
    with federation(2) as (first, second):
        site.publish(first)
        site.wait_on(second)
        flipped = 0
        for pack in (first.data_dir / "store" / "packs").glob("*.car"):
            content = bytearray(pack.read_bytes())
            at = content.find(marker)
            if at >= 0:
                content[at] ^= 0x01
                with pack.open("r+b") as handle:
                    handle.seek(at)
                    handle.write(content[at : at + 1])
                flipped += 1
        assert flipped == 1
        # The worker's memory may still hold the good block; a new one has only the disk.
        first.stop()
        first.start()
        answer = first.get(site.id, "/rot.txt")
        assert answer.body == marker * 100 or answer.status >= 500
        eventually(lambda: site.check_on(first))
        second.stop()
        first.stop()
        first.start()
        site.check_on(first)


def test_damage_that_nobody_can_heal_is_an_error_and_not_served(tmp_path: Path) -> None:
    site = sample_site(tmp_path)
    marker = b"nobody else has these bytes"
    site.write("rot.txt", marker * 50)
    with federation(1) as (daemon,):
        site.publish(daemon)
        daemon.stop()
        for pack in (daemon.data_dir / "store" / "packs").glob("*.car"):
            content = pack.read_bytes()
            pack.write_bytes(content.replace(marker, b"NOBODY ELSE HAS THESE BYTES", 1))
        daemon.start()
        try:
            answer = daemon.get(site.id, "/rot.txt")
        except DemoFailed:
            return
        assert answer.status >= 500
        assert marker not in answer.body
        assert daemon.get(site.id, "/index.html").status == 200
