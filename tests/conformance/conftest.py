"""Fixtures of the store's conformance suite."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from node.store.port import Store
from tests.conformance.store_check import problems
from tests.conformance.store_kit import Bench, scratch


@pytest.fixture(params=["disk", "memory"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with scratch() as path:
        bench = Bench(request.param, path / "store")
        yield bench
        bench.reopen()  # a start gives back the bytes of evicted and healed blocks
        bench.close()
        assert bench.kind == "memory" or problems(bench.directory) == []


@pytest.fixture
def store(bench: Bench) -> Store:
    return bench.store
