"""What loss of power leaves of names: of renames and removals that no sync followed, any may have happened."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

from node.store import layout
from tests.unit.store.fault_files import FaultFiles, path_of

Names = dict[str, bytes]


class ExchangeFiles(FaultFiles):
    """Follows the names in the store's directory, of which all is on the disk at first. Packs are let be.

    A file that was made and not synced may be torn.
    """

    def __init__(self, directory: Path, *, stop_at: int | None, how: str, seed: int) -> None:
        super().__init__(stop_at=stop_at, how=how, seed=seed)
        self._directory = directory
        self._lasting = self._names()
        self._synced_names = set(self._lasting)
        self._changes: list[Callable[[Names], object]] = []
        self._chance = random.Random(seed)

    def _names(self) -> Names:
        return {path.name: path.read_bytes() for path in self._directory.iterdir() if path.is_file()}

    def create(self, path: Path) -> int:
        self._synced_names.discard(path.name)
        return super().create(path)

    def fsync(self, fd: int) -> None:
        super().fsync(fd)
        self._synced_names.add(path_of(fd).name)

    def fsync_dir(self, path: Path) -> None:
        super().fsync_dir(path)
        if path == self._directory:
            self._lasting = self._names()
            self._changes.clear()

    def replace(self, path: Path, target: Path) -> None:
        self._changes.append(lambda names: _move(names, path.name, target.name))
        self._synced_names.add(target.name)
        super().replace(path, target)

    def unlink(self, path: Path) -> None:
        if path.exists():
            self._changes.append(lambda names: names.pop(path.name, None))
        super().unlink(path)

    def copy_after_power_loss(self, store: Path, target: Path) -> None:
        target.mkdir()
        shutil.copytree(layout.packs_dir(store), layout.packs_dir(target))
        names = self._names() | self._lasting
        for name in names.keys() - self._lasting.keys():
            if name in self._synced_names or self._chance.random() < 0.5:  # renamed (see below), or it never was
                del names[name]
        for change in self._changes:
            if self._chance.random() < 0.5:
                change(names)
        for name, raw in names.items():
            kept = len(raw) if name in self._synced_names else self._chance.randrange(len(raw) + 1)
            (target / name).write_bytes(raw[:kept])


def _move(names: Names, name: str, target: str) -> None:
    if name in names:
        names[target] = names.pop(name)
