"""The 274 official cases against a daemon that got their fixtures by `fednode import`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance import gateway_suite

pytestmark = pytest.mark.integration

CASES = 274


def test_every_case_goes_as_expected(tmp_path: Path) -> None:
    if not gateway_suite.is_there():
        pytest.skip(f"needs the gateway cases in {gateway_suite.FIXTURES}: set FEDNODE_FIXTURES")
    with gateway_suite.gateway(tmp_path) as daemon:
        cases = gateway_suite.run(daemon)
    assert len(cases) == CASES
    assert not gateway_suite.surprises(cases, gateway_suite.expected()), gateway_suite.table(cases)
