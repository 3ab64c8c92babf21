"""Imports that are under way, on disk: what the end of the process cuts off goes on at the next start."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE_MAX_BYTES = 1 << 20

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PendingImport:
    """What was asked for, and the peers that were named."""

    target: str
    peers: tuple[str, ...]


class PendingFile:
    """A small JSON file, replaced as a whole. Without it, or when it cannot be read, nothing goes on by itself."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> list[PendingImport]:
        """May block. Never raises for the disk or for what the file says."""
        try:
            with self._path.open("rb") as handle:
                rows = json.loads(handle.read(FILE_MAX_BYTES))
            return [_pending(row) for row in rows]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            log.warning("the imports that were under way are not known: %s: %s", self._path, error)
            return []

    def save(self, imports: Sequence[PendingImport]) -> None:
        """May block. Never raises for the disk: an import that is under way matters more than that it is noted."""
        part = self._path.with_suffix(".part")
        try:
            with part.open("w") as handle:
                json.dump([{"target": each.target, "peers": each.peers} for each in imports], handle)
                handle.flush()
                os.fsync(handle.fileno())
            part.replace(self._path)
        except OSError as error:
            log.warning("the imports under way cannot be noted: %s", error)


def _pending(row: Any) -> PendingImport:
    target, peers = row["target"], row["peers"]
    if not isinstance(target, str) or not isinstance(peers, list) or not all(isinstance(each, str) for each in peers):
        raise ValueError("an import without target and peers")
    return PendingImport(target, tuple(peers))
