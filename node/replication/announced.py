"""How far the announcements have come, kept over restarts in one small file."""

from __future__ import annotations

import logging
import os
from pathlib import Path

logger = logging.getLogger(__name__)


class AnnouncedThrough:
    """A unix time up to which every announcement was made. Losing it costs announcements, nothing else."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def load(self) -> float:
        """0 when nothing is known."""
        try:
            return float(self._path.read_text("ascii")) if self._path is not None else 0.0
        except (OSError, ValueError):
            return 0.0

    def save(self, wall_s: float) -> None:
        """Never raises: a full disk must not stop the announcements."""
        if self._path is None:
            return
        part = self._path.with_suffix(".part")
        try:
            part.write_text(f"{wall_s:.0f}\n", "ascii")
            os.replace(part, self._path)
        except OSError as error:
            logger.warning("cannot write %s: %s", self._path, error.strerror)
