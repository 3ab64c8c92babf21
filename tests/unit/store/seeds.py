"""Cases from seeds: some in the fast run, thousands in the large one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

SEEDS: Final = 500

F = TypeVar("F", bound=Callable[..., Any])


def over_seeds(fast: int, count: int = SEEDS) -> Callable[[F], F]:
    """Gives a test the argument `seed`: 0 to `count`, of which the first `fast` are no `large` cases."""

    def mark(test: F) -> F:
        vars(test)["seed_counts"] = (fast, count)  # conftest.py makes them
        return test

    return mark
