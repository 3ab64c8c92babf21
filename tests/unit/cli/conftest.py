"""Commands run as typed, in a home of their own."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from cli.main import run
from tests.unit.cli.small_daemon import SmallDaemon, small_daemon


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Fednode = Callable[..., Ran]


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Everything below one folder, short enough for sockets; no setting of whoever runs the tests gets in."""
    for name in list(os.environ):
        if name.startswith("FEDNODE_"):
            monkeypatch.delenv(name)
    with TemporaryDirectory(prefix="fed-") as folder:
        monkeypatch.setenv("HOME", folder)
        monkeypatch.setenv("XDG_CONFIG_HOME", f"{folder}/config")
        monkeypatch.setenv("XDG_DATA_HOME", f"{folder}/data")
        monkeypatch.chdir(folder)
        yield Path(folder)


@pytest.fixture
def fednode(home: Path, capsys: pytest.CaptureFixture[str]) -> Fednode:
    """Runs `fednode …` in this process."""

    def run_it(*arguments: str | Path) -> Ran:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return Ran(code, printed.out, printed.err)

    return run_it


@pytest.fixture
def daemon(home: Path) -> Iterator[SmallDaemon]:
    """A daemon in the default data_dir."""
    with small_daemon(home / "data" / "fednode") as running:
        yield running


@pytest.fixture
def site_dir(home: Path) -> Path:
    """A small site with what is awkward: folders, an empty file, a hidden one, a link, a non-ASCII name."""
    folder = home / "site"
    (folder / "sub" / "deep").mkdir(parents=True)
    (folder / "empty-folder").mkdir()
    (folder / ".well-known").mkdir()
    (folder / "index.html").write_text("<h1>hello</h1>")
    (folder / "sub" / "grüße.txt").write_text("Grüße")
    (folder / "sub" / "deep" / "empty").write_bytes(b"")
    (folder / "sub" / "again.html").write_text("<h1>hello</h1>")
    (folder / ".well-known" / "security.txt").write_text("Contact: mailto:a@example.org")
    (folder / ".secret").write_text("not for readers")
    (folder / "link").symlink_to("sub/grüße.txt")
    return folder
