"""Fixtures of the conformance suites: both implementations of the store and of the network."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from node.net.memory import Air, open_memory_network
from node.net.opening import open_network
from node.store.port import Store
from tests.conformance.net_kit import Opener
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


@pytest.fixture(params=["libp2p", "memory"])
def opener(request: pytest.FixtureRequest) -> Opener:
    if request.param == "libp2p":
        return open_network
    air = Air()
    return lambda settings: open_memory_network(air, settings)
