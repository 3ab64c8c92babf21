"""FEDNODE_REQUIRE_ALL turns every kind of skip into a failure (tests/conftest.py)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[2] / "conftest.py"

SKIPS = {
    "call": "import pytest\ndef test_it(): pytest.skip('no chromium')\n",
    "mark": "import pytest\n@pytest.mark.skip(reason='no chromium')\ndef test_it(): pass\n",
    "fixture": "import pytest\n@pytest.fixture\ndef f(): pytest.skip('no chromium')\ndef test_it(f): pass\n",
    "module": "import pytest\npytest.skip('no chromium', allow_module_level=True)\n",
}


def run(folder: Path, source: str, *, require_all: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(CONFTEST, folder / "conftest.py")
    (folder / "test_it.py").write_text(source)
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:trio"]
    environment = {**os.environ, "FEDNODE_REQUIRE_ALL": require_all}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_skips_fail(tmp_path: Path) -> None:
    for name, source in SKIPS.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / f"test_{name}.py").write_text(source)
    result = run(tmp_path, "def test_it(): pass\n", require_all="1")
    # A module that skips itself is an error of collection, and ends the run before any test.
    assert result.returncode == 2, result.stdout
    assert "may not be skipped: " in result.stdout
    shutil.rmtree(tmp_path / "module")
    result = run(tmp_path, "def test_it(): pass\n", require_all="1")
    assert result.returncode == 1, result.stdout
    assert "1 failed, 1 passed, 2 errors" in result.stdout


def test_skips_are_skips_otherwise(tmp_path: Path) -> None:
    result = run(tmp_path, SKIPS["call"], require_all="")
    assert result.returncode == 0, result.stdout
    assert "1 skipped" in result.stdout


@pytest.mark.parametrize("source", ["import pytest\n@pytest.mark.xfail\ndef test_it(): assert False\n"])
def test_an_expected_failure_is_no_skip(tmp_path: Path, source: str) -> None:
    result = run(tmp_path, source, require_all="1")
    assert result.returncode == 0, result.stdout
    assert "1 xfailed" in result.stdout
