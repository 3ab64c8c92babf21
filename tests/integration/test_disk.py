"""A real disk that is full or read-only: a clear answer to the publisher, and readers notice nothing."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli.demo.nodes import DemoFailed
from tests.integration.daemons import Daemon, Site, daemon_folder, sample_site

pytestmark = [pytest.mark.integration]
DISK_BYTES = 64 * 1024 * 1024


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A tmpfs of its own, which only root may mount."""
    with daemon_folder() as folder:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "fednode-test", str(folder)],
            capture_output=True,
            check=False,
        )
        if mounted.returncode != 0:
            pytest.skip("needs the right to mount a tmpfs: run as root")
        try:
            yield folder
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def running(folder: Path) -> Iterator[Daemon]:
    daemon = Daemon("node", folder)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.stop()


def test_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    small, large = sample_site(tmp_path / "small"), Site(tmp_path / "large")
    large.write("index.html", "large")
    for number in range(80):
        large.write(f"{number}.bin", os.urandom(1_000_000))
    with running(small_disk) as daemon:
        small.publish(daemon)
        with pytest.raises(DemoFailed, match="publish failed"):
            large.publish(daemon)
        small.check_on(daemon)
        assert daemon.get(large.id, "/").status == 404
        # Refusing and dropping must work just then.
        small.write("more.html", "there is room for little things")
        small.publish(daemon)
        small.check_on(daemon)
    with running(small_disk) as daemon:
        small.check_on(daemon)


def test_a_disk_that_fails_and_becomes_read_only(failing_disk: Path, tmp_path: Path) -> None:
    site = sample_site(tmp_path)
    with running(failing_disk) as daemon:
        site.publish(daemon)
        # What the kernel does by itself when an ext4 disk reports errors.
        subprocess.run(["mount", "-o", "remount,abort", str(failing_disk)], check=True)
        with pytest.raises(OSError, match="Read-only"):
            (failing_disk / "probe").write_text("no")
        site.write("new.html", "cannot be stored")
        with pytest.raises(DemoFailed, match="publish failed"):
            site.publish(daemon)
        (site.dir / "new.html").unlink()
        site.check_on(daemon)
        assert daemon.status()["network"]["state"] == "running"


@pytest.fixture
def failing_disk(tmp_path: Path) -> Iterator[Path]:
    """An ext4 file system in a file."""
    image = tmp_path / "image"
    image.write_bytes(b"")
    os.truncate(image, DISK_BYTES)
    with daemon_folder() as folder:
        for command in (["mkfs.ext4", "-q", str(image)], ["mount", "-o", "loop", str(image), str(folder)]):
            try:
                made = subprocess.run(command, capture_output=True, check=False).returncode == 0
            except FileNotFoundError:
                made = False
            if not made:
                pytest.skip("needs root, loop devices and mkfs.ext4: apt-get install e2fsprogs")
        try:
            yield folder
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)
