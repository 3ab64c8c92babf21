"""Makes the cases of tests that `over` seeds."""

from __future__ import annotations

import pytest


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The thousands that a run leaves out are not even made, which alone would take seconds of each worker."""
    counts: tuple[int, int] | None = getattr(metafunc.function, "seed_counts", None)
    if counts is None:
        return
    fast, count = counts
    leaves_out_large = "not large" in metafunc.config.option.markexpr
    large = [] if leaves_out_large else [pytest.param(seed, marks=pytest.mark.large) for seed in range(fast, count)]
    metafunc.parametrize("seed", [*range(fast), *large])
