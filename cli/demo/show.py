"""How the demo tells what it does: live for people, one document for programs."""

from __future__ import annotations

import json
import time
from typing import Any, Protocol

import click


class Show(Protocol):
    """Told of each step as it goes."""

    def step(self, title: str) -> None: ...

    def command(self, node: str, line: str) -> None: ...

    def fact(self, text: str) -> None: ...

    def outcome(self, error: str | None) -> None: ...

    def end(self, addresses: dict[str, str]) -> None:
        """All steps are over; the nodes at `addresses` stay up for now."""
        ...


class TextShow:
    """Numbered steps with the commands that a person would type."""

    def __init__(self) -> None:
        self._number = 0
        self._started_s = 0.0

    def step(self, title: str) -> None:
        self._number += 1
        self._started_s = time.monotonic()
        click.secho(f"\n{self._number}. {title}", bold=True)

    def command(self, node: str, line: str) -> None:
        click.echo(click.style(f"   {node}$ ", fg="cyan") + line)

    def fact(self, text: str) -> None:
        click.echo(f"   {text}")

    def outcome(self, error: str | None) -> None:
        took_s = time.monotonic() - self._started_s
        if error is None:
            click.secho(f"   ✓ {took_s:.1f} s", fg="green")
        else:
            click.secho(f"   ✗ {error}", fg="red")

    def end(self, addresses: dict[str, str]) -> None:
        if not addresses:
            return
        click.secho("\nOpen it in a browser:", bold=True)
        for name, url in addresses.items():
            click.echo(f"   {name:8} {url}")
        click.echo("\nCtrl-C ends all of it.")


class JsonShow:
    """Collects, and prints everything at the end."""

    def __init__(self) -> None:
        self._steps: list[dict[str, Any]] = []
        self._started_s = 0.0

    def step(self, title: str) -> None:
        self._steps.append({"step": title, "ok": False, "error": None, "commands": [], "facts": [], "took_s": 0.0})
        self._started_s = time.monotonic()

    def command(self, node: str, line: str) -> None:
        self._steps[-1]["commands"].append({"node": node, "command": line})

    def fact(self, text: str) -> None:
        self._steps[-1]["facts"].append(text)

    def outcome(self, error: str | None) -> None:
        self._steps[-1] |= {
            "ok": error is None,
            "error": error,
            "took_s": round(time.monotonic() - self._started_s, 3),
        }

    def end(self, addresses: dict[str, str]) -> None:
        ok = all(step["ok"] for step in self._steps)
        click.echo(json.dumps({"ok": ok, "steps": self._steps, "addresses": addresses}, indent=2, ensure_ascii=False))
