"""The store after a stop at any step: death of the process, or loss of power (docs/spec/store.md, "Crashes").

One seed makes one case; repeat it with `pytest 'tests/unit/store/test_store_crash.py::NAME[SEED]'`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from node.store.port import Store
from tests.conformance.store_check import problems
from tests.conformance.store_kit import scratch
from tests.unit.store.fault_files import FaultFiles, PowerCut
from tests.unit.store.scenario import (
    Scenario,
    all_readable,
    durable_state,
    open_disk,
    open_twin,
    outcome,
    whole_state,
)
from tests.unit.store.seeds import over_seeds

STEPS = 110  # a little more than most scenarios take
HOWS = ("before", "torn", "after")

State = Callable[[Store], object]


def run_until_cut(path: Path, scenario: Scenario, files: FaultFiles, state: State) -> list[object]:
    """Do the calls until the cut; gives the states that may be found afterwards.

    The call that was under way has happened or not; every earlier one has.
    """
    twin = open_twin()
    try:
        store = open_disk(path, files)
    except PowerCut:
        return [state(twin)]
    for call in scenario.calls:
        try:
            answer = outcome(call, store)
        except PowerCut:
            before = state(twin)
            outcome(call, twin)
            return [before, state(twin)]
        assert answer == outcome(call, twin)
    return [state(twin)]


def check_after(path: Path, scenario: Scenario, state: State, allowed: list[object]) -> None:
    store = open_disk(path)
    assert state(store) in allowed
    assert all_readable(store)
    assert store.usage().corrupt_blocks == 0
    scenario.go_on(store)
    store.compact()
    assert all_readable(store)
    store.close()
    open_disk(path).close()
    assert problems(path) == []


def interrupted_start(path: Path, source: random.Random) -> None:
    """A start that is stopped, too."""
    files = FaultFiles(stop_at=source.randrange(6), how=source.choice(HOWS))
    with suppress(PowerCut):
        open_disk(path, files)


@over_seeds(12)
def test_what_was_done_survives_the_death_of_the_process(seed: int) -> None:
    source = random.Random(seed)
    files = FaultFiles(stop_at=source.randrange(STEPS), how=source.choice(HOWS), seed=seed, can_punch=seed % 3 > 0)
    scenario = Scenario(seed)
    with scratch() as path:
        allowed = run_until_cut(path / "store", scenario, files, whole_state)
        files.copy_after_kill(path / "store", path / "after")
        if source.random() < 0.3:
            interrupted_start(path / "after", source)
            files.copy_after_kill(path / "after", path / "again")
            check_after(path / "again", scenario, whole_state, allowed)
        else:
            check_after(path / "after", scenario, whole_state, allowed)


@over_seeds(24, 1000)
def test_what_was_acknowledged_survives_loss_of_power(seed: int) -> None:
    source = random.Random(seed)
    files = FaultFiles(stop_at=source.randrange(STEPS), how=source.choice(HOWS), seed=seed, can_punch=seed % 3 > 0)
    scenario = Scenario(seed)
    with scratch() as path:
        allowed = run_until_cut(path / "store", scenario, files, durable_state)
        files.copy_after_power_loss(path / "store", path / "after")
        if source.random() < 0.3:
            interrupted_start(path / "after", source)
            files.copy_after_kill(path / "after", path / "again")
            check_after(path / "again", scenario, durable_state, allowed)
        else:
            check_after(path / "after", scenario, durable_state, allowed)
