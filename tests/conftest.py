"""For all tests: no silent skips in CI, and hypothesis without deadlines on noisy machines."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import hypothesis
import pytest

REQUIRE_ALL = os.environ.get("FEDNODE_REQUIRE_ALL", "") not in ("", "0")

hypothesis.settings.register_profile("fednode", deadline=None, print_blob=True, derandomize=REQUIRE_ALL)
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
