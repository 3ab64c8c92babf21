"""Fixtures of the store's conformance suite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from node.store.port import Store
from tests.conformance.store_kit import Bench


@pytest.fixture(params=["disk", "memory"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(request.param, tmp_path / "store")
    yield bench
    bench.close()


@pytest.fixture
def store(bench: Bench) -> Store:
    return bench.store
