"""Draws docs/scale/*.svg from the results: plain SVG, log-log, a line for each kind of run."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "docs" / "scale"
WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 640, 360, 70, 50, 40, 20
COLOURS = ("#1b6ca8", "#c0392b", "#2e7d32", "#8e44ad")
Row = dict[str, float]
Lines = dict[str, list[tuple[float, float]]]


def draw(results: Path) -> None:
    rows = [json.loads(line) for line in results.read_text().splitlines() if line]
    FOLDER.mkdir(exist_ok=True)
    costs = [row for row in rows if row["run"] == "cost"]
    deaths = [row for row in rows if row["run"] == "death"]
    _plot("cpu", "CPU of one node's core", "members", "percent of a core", _lines(costs, "members", "cpu_percent"))
    _plot("join", "CPU to take in all members", "members", "seconds", _lines(costs, "members", "join_cpu_s"))
    _plot("audits", "Audits that one node asks for", "members", "a second", _lines(costs, "members", "audits_a_s"))
    restored = {
        "band restored": [(row["sites_lost_a_copy"], row["restored_s"] / 60) for row in deaths],
        "first copy": [(row["sites_lost_a_copy"], row["first_copy_s"] / 60) for row in deaths],
    }
    _plot("death", "After the death of a host", "sites that lost a copy", "minutes", restored)


def _lines(rows: list[Row], x: str, y: str) -> Lines:
    found: Lines = {}
    for row in rows:
        found.setdefault(f"{row['sites']:,} sites a node, {row['churn']}", []).append((row[x], row[y]))
    return found


def _plot(name: str, title: str, x_title: str, y_title: str, lines: Lines) -> None:
    points = [point for line in lines.values() for point in line if min(point) > 0]
    if not points:
        return
    x_at = _scale([x for x, _ in points], LEFT, WIDTH - RIGHT)
    y_at = _scale([y for _, y in points], HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}">',
        "<style>text { font: 12px sans-serif }</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="20">{title}</text>',
        f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 12}" text-anchor="middle">{x_title}</text>',
        f'<text transform="translate(16 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">{y_title}</text>',
    ]
    for value in _decades([x for x, _ in points]):
        parts.append(
            f'<path d="M{x_at(value):.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#ddd"/>'
            f'<text x="{x_at(value):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{value:g}</text>'
        )
    for value in _decades([y for _, y in points]):
        parts.append(
            f'<path d="M{LEFT} {y_at(value):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
            f'<text x="{LEFT - 6}" y="{y_at(value) + 4:.1f}" text-anchor="end">{value:g}</text>'
        )
    for index, (label, line) in enumerate(lines.items()):
        colour = COLOURS[index % len(COLOURS)]
        shown = [(x_at(x), y_at(y)) for x, y in sorted(line) if min(x, y) > 0]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in shown)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.extend(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in shown)
        parts.append(f'<text x="{LEFT + 12}" y="{TOP + 16 + 16 * index}" fill="{colour}">{label}</text>')
    (FOLDER / f"{name}.svg").write_text("\n".join([*parts, "</svg>\n"]))


def _decades(values: list[float]) -> list[float]:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return [10.0**power for power in range(low, max(high, low + 1) + 1)]


def _scale(values: list[float], begin: float, end: float) -> Callable[[float], float]:
    ticks = _decades(values)
    low, high = math.log10(ticks[0]), math.log10(ticks[-1])
    return lambda value: begin + (end - begin) * (math.log10(value) - low) / (high - low)
