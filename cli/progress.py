"""Progress of reading, writing and publishing: bars on a terminal, nothing elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cli.publishing.exchange import Watcher
from cli.publishing.flow import Progress, Silent, Task

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID


@contextmanager
def bars() -> Iterator[Progress]:
    """Bars on stderr if it is a terminal, gone when the context ends."""
    if not sys.stderr.isatty():
        yield Silent()
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as RichProgress

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(True), TransferSpeedColumn())
    with RichProgress(*columns, console=Console(stderr=True), transient=True) as shown:
        yield _TerminalBars(shown)


class _TerminalBars:
    def __init__(self, shown: RichProgress) -> None:
        self._shown = shown

    def task(self, name: str, total_bytes: int) -> Task:
        return self._bar(name, total_bytes)

    def node(self, name: str, total_bytes: int) -> Watcher:
        return self._bar(f"to {name}", total_bytes)

    def _bar(self, name: str, total_bytes: int) -> _TaskBar:
        return _TaskBar(self._shown, self._shown.add_task(_short(name), total=total_bytes))


class _TaskBar:
    def __init__(self, shown: RichProgress, task: TaskID) -> None:
        self._shown = shown
        self._task = task

    def advance(self, count_bytes: int) -> None:
        self._shown.advance(self._task, count_bytes)

    def sent(self, count_bytes: int) -> None:
        """What the node says counts, not what is still on its way."""

    def node_has(self, done_bytes: int, total_bytes: int) -> None:
        self._shown.update(self._task, completed=done_bytes, total=total_bytes)


def _short(name: str) -> str:
    return name if len(name) <= 40 else name[:28] + "…" + name[-11:]
