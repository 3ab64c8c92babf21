"""How long the wire is fuzzed: a moment for developers, a minute in CI, and FEDNODE_FUZZ moments where that is set."""

from __future__ import annotations

import os

from hypothesis import settings

from tests.conftest import REQUIRE_ALL

_TIMES = int(os.environ.get("FEDNODE_FUZZ") or (10 if REQUIRE_ALL else 1))


def examples(moment: int) -> settings:
    """Settings for a test that tries so many examples in a moment."""
    return settings(max_examples=moment * _TIMES, deadline=None)
