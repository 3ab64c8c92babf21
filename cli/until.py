"""When something ends: 12h, 30d, or a date."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

import click

_UNITS_S = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_FOR = re.compile(r"([1-9][0-9]{0,4})([mhdw])", re.ASCII)
YEARS_MAX = 10


class UntilType(click.ParamType[int]):
    """A duration from now on, or a date (its end, in UTC), as seconds since 1970; within ten years."""

    name = "time"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        now_s = int(time.time())
        until_s = read_until(value, now_s)
        if until_s is None:
            self.fail(f"{value[:40]!r} is neither like 12h, 30d or 2w nor a date like 2027-01-31", param, ctx)
        if not now_s < until_s <= now_s + YEARS_MAX * 366 * 86_400:
            self.fail(f"{value[:40]!r} is not within the next {YEARS_MAX} years", param, ctx)
        return until_s


def read_until(text: str, now_s: int) -> int | None:
    """Seconds since 1970; None for a text that says no time."""
    if found := _FOR.fullmatch(text):
        return now_s + int(found[1]) * _UNITS_S[found[2]]
    try:
        date = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None
    return int(date.timestamp()) + 86_400


UNTIL = UntilType()
