"""docs/operators/admin-api.md knows every route and every code of the admin API."""

from __future__ import annotations

import re
from pathlib import Path
from unittest.mock import MagicMock

from starlette.routing import Route

from node.admin import app, client, control
from node.policy import invitations, list_files, list_sources, rules, subscriptions
from protocol.errors import FednodeError
from tests.unit.admin.small_node import SmallNode

TEXT = (Path(__file__).parents[3] / "docs/operators/admin-api.md").read_text("utf-8")


def test_every_route_is_documented_and_no_other(small_node: SmallNode) -> None:
    served = {
        f"{method} {route.path}"
        for route in app.create_app(small_node, *(MagicMock(),) * 5).routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert set(re.findall(r"^\| `([A-Z]+ /v1/[^`]*)`", TEXT, re.MULTILINE)) == served


def test_every_error_code_is_documented() -> None:
    codes = {
        member.code
        for module in (control, client, invitations, list_files, list_sources, rules)
        for member in vars(module).values()
        if isinstance(member, type) and issubclass(member, FednodeError) and member.__module__ == module.__name__
    }
    # Never sent: a stored rule that cannot be read keeps the node from starting; daemon-error stands for all codes.
    # bad-invitation goes to publishers.
    codes -= {"bad-stored-rule", "daemon-error", "bad-invitation"}
    codes |= {*app.HTTP_CODES.values(), "internal"}
    assert {code for code in codes if f"`{code}`" not in TEXT} == set()


def test_limits_are_as_documented() -> None:
    assert (app.BODY_MAX_BYTES, app.BODY_DEADLINE_S, control.RULES_PAGE_MAX) == (64 * 1024, 10, 1000)
    assert subscriptions.PROBLEMS_MAX == 20
