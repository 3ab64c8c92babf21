"""Headless Chromium: dumps the page as it is after its scripts have run, and takes screenshots."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

# Chromium must not look anything up outside this machine.
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]


def program() -> str:
    """The path of Chromium; skips the test when there is none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    return found


def dump_dom(url: str, profile: Path, *, wait_ms: int = 3000) -> str:
    """The page's HTML once its scripts had `wait_ms` of virtual time."""
    return _run(url, profile, ["--dump-dom", f"--virtual-time-budget={wait_ms}"])


def screenshot(url: str, profile: Path, target: Path, *, width: int = 1000, height: int = 800) -> bytes:
    """The page as a PNG, also left at `target`."""
    _run(url, profile, [f"--screenshot={target}", f"--window-size={width},{height}"])
    return target.read_bytes()


def _run(url: str, profile: Path, options: list[str]) -> str:
    done = subprocess.run(
        [program(), *FLAGS, f"--user-data-dir={profile}", *options, url],
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )
    return done.stdout
