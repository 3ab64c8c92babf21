"""Cases from seeds: some in the fast run, thousands in the large one."""

from __future__ import annotations

from typing import Final

import pytest
from _pytest.mark import ParameterSet

SEEDS: Final = 500


def seeds(fast: int, count: int = SEEDS) -> list[ParameterSet]:
    """0 to `count`, of which the first `fast` are no `large` cases."""
    return [pytest.param(seed, marks=[pytest.mark.large] if seed >= fast else []) for seed in range(count)]
