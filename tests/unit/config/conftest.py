"""Short paths: settings with a data_dir whose sockets would not fit are refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Like pytest's own, and at most a few characters long also when tests run side by side."""
    with TemporaryDirectory(prefix="fed-") as folder:
        yield Path(folder)
