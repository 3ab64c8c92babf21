"""The demo is a test of the whole."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.integration]


def test_every_step_of_the_demo_holds() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cli", "demo", "--json"], capture_output=True, text=True, timeout=110, check=False
    )
    report = json.loads(done.stdout)
    assert [step["error"] for step in report["steps"]] == [None] * 7, done.stderr
    assert report["ok"]
    assert done.returncode == 0
