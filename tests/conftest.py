"""For all tests: no silent skips in CI, hypothesis without deadlines on noisy machines, and no garbage."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator, Iterator
from typing import Any

import hypothesis
import pytest

REQUIRE_ALL = os.environ.get("FEDNODE_REQUIRE_ALL", "") not in ("", "0")

hypothesis.settings.register_profile(
    "fednode",
    deadline=None,
    print_blob=True,
    derandomize=REQUIRE_ALL,
    # It is about the machine, when that has other things to do.
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("fednode")


def _reason(longrepr: object) -> str:
    return str(longrepr[2]) if isinstance(longrepr, tuple) else str(longrepr)


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Under FEDNODE_REQUIRE_ALL a test that did not run is a failure: CI has all that tests need."""
    if REQUIRE_ALL and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"FEDNODE_REQUIRE_ALL is set, so this may not be skipped: {_reason(report.longrepr)}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _fail_if_skipped(report)
    return report


@pytest.fixture(autouse=True)
def _garbage() -> Iterator[None]:
    """A socket, file or coroutine that a test leaves to the garbage collector fails that test, and each time.

    Without this it fails whichever test runs when the collector happens to come by.
    """
    yield
    gc.collect()


def pytest_collection_finish() -> None:
    """Modules and test cases are not looked through again after each test: that would double the time."""
    _set_aside()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, object, object]:
    done = yield
    if nextitem is None or nextitem.path != item.path:
        _set_aside()
    return done


def _set_aside() -> None:
    """What is alive between two files of tests stays so."""
    gc.collect()
    gc.freeze()
