"""A few hundred of what `./dev fuzz gateway` sends for minutes."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.gateway import fuzz, gateway


def test_the_request_path_under_requests_that_are_almost_right(tmp_path: Path) -> None:
    with gateway(tmp_path) as target:
        fuzz(target, 200)()
