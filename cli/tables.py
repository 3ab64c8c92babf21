"""Text for people: aligned columns, sizes, times. Whatever came from elsewhere loses its control characters."""

from __future__ import annotations

import sys
import time
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import click

from config.sizes import human_size
from protocol.plain import count

__all__ = ["ago", "count", "duration", "echo_fields", "echo_table", "human_size", "moment", "plain"]


def plain(text: object) -> str:
    """`text` in one line without control, bidi or other invisible characters: safe to print on a terminal."""
    return "".join(
        char if unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") else "\N{REPLACEMENT CHARACTER}"
        for char in str(text)
    )


def echo_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns as wide as they must be; the last one is not padded."""
    cells = [[plain(cell) for cell in row] for row in rows]
    widths = [max(map(_width, column)) for column in zip(head, *cells, strict=True)]
    click.echo(_style_head(_line(head, widths)))
    for row in cells:
        click.echo(_line(row, widths))


def _style_head(line: str) -> str:
    return click.style(line, bold=True) if sys.stdout.isatty() else line


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cell + " " * (width - _width(cell)) for cell, width in zip(cells, widths, strict=True)]
    return "  ".join(padded).rstrip()


def _width(text: str) -> int:
    """Columns on a terminal: wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def echo_fields(fields: Iterable[tuple[str, object]]) -> None:
    """Name and value, one a line; empty values are left out."""
    shown = [(name, plain(value)) for name, value in fields if value not in ("", None)]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        click.echo(f"{name:{width}}  {value}")


def duration(seconds: float) -> str:
    """ "3 days", "2 h 5 min", "40 s"."""
    whole = max(0, int(seconds))
    if whole >= 2 * 86400:
        return f"{whole // 86400} days"
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 60} min" if whole >= 60 else f"{whole} s"


def moment(unix_s: float) -> str:
    """ "2026-11-22 17:20 UTC"."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M UTC")


def ago(unix_s: float | None) -> str:
    """How long ago that was; "-" for never."""
    return "-" if not unix_s else f"{duration(time.time() - unix_s)} ago"
