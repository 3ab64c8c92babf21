"""The loop monitor sees what keeps the loop, and tells working from waiting."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator

import pytest
import trio
import trio.lowlevel

from node.monitor import STALL_S, LoopMonitor


@pytest.fixture(autouse=True)
def _no_garbage() -> Iterator[None]:
    """Whatever tests ran before, the collector does not work in the passes that are measured."""
    gc.disable()
    yield
    gc.enable()


def work(seconds: float) -> None:
    end_s = time.thread_time() + seconds
    while time.thread_time() < end_s:
        pass


async def passes(count: int) -> None:
    for _ in range(count):
        await trio.lowlevel.checkpoint()


async def test_a_quiet_loop_has_passes_and_works_little() -> None:
    monitor = LoopMonitor()
    monitor.start()
    await passes(100)
    trio.lowlevel.remove_instrument(monitor)
    report = monitor.report()
    assert report.passes >= 99
    assert report.worst_cpu_s < STALL_S
    assert (report.stalls == 0) == (report.worst_s <= STALL_S)


async def test_work_in_one_pass_is_a_stall_even_if_shared_by_tasks() -> None:
    monitor = LoopMonitor()
    monitor.start()
    await passes(2)

    async def one() -> None:
        work(STALL_S / 3)

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(one)
    await passes(2)
    trio.lowlevel.remove_instrument(monitor)
    report = monitor.report()
    assert report.stalls == report.recent_stalls >= 1  # a busy machine may add its own
    assert report.worst_cpu_s >= STALL_S
    assert report.worst_s >= report.worst_cpu_s - 0.002
    assert report.recent_worst_s == report.worst_s


async def test_waiting_within_a_pass_is_a_stall_but_no_work() -> None:
    monitor = LoopMonitor()
    monitor.start()
    await passes(2)
    time.sleep(2 * STALL_S)  # noqa: ASYNC251 - stands in for a call that blocks
    await passes(2)
    trio.lowlevel.remove_instrument(monitor)
    report = monitor.report()
    assert report.worst_s >= 2 * STALL_S
    assert report.worst_cpu_s < STALL_S
