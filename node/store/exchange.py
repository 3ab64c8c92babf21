"""Putting a rebuilt index in the place of the old one, and finding the old one after that was broken off.

The file `rebuilding` says what the old index is renamed to. It is on the disk before the first rename and goes
after the last: while it is there no daemon starts. Of the renames in between any may have happened
(docs/spec/store.md, "Rebuilding").
"""

from __future__ import annotations

import os
from pathlib import Path

from node.store import layout
from node.store.files import Files

_LOG = "-wal"
_SHARED = "-shm"


def put_in_place(directory: Path, files: Files) -> Path | None:
    """Gives where the old index is now, if there was one."""
    new = directory / layout.REBUILT_NAME
    current = directory / layout.DATABASE_NAME
    broken_off = _marked(directory)
    old = broken_off if broken_off and broken_off.exists() and not current.exists() else _free_name(directory)
    _sync(new, files)
    _mark(directory, old.name, files)
    if current.exists():
        files.replace(current, old)
        if _beside(current, _LOG).exists():
            files.replace(_beside(current, _LOG), _beside(old, _LOG))
    files.unlink(_beside(current, _LOG))
    files.unlink(_beside(current, _SHARED))
    files.fsync_dir(directory)
    files.replace(new, current)
    files.fsync_dir(directory)
    files.unlink(directory / layout.REBUILDING_NAME)
    files.fsync_dir(directory)
    return old if old.exists() else None


def settle(directory: Path, files: Files) -> None:
    """After a break: bring the old index and its log under one name again."""
    old = _marked(directory)
    if old is None:
        return
    current = directory / layout.DATABASE_NAME
    source, target = (current, old) if old.exists() else (old, current)
    if _beside(source, _LOG).exists() and not _beside(target, _LOG).exists():
        files.replace(_beside(source, _LOG), _beside(target, _LOG))
    files.unlink(_beside(source, _SHARED))
    files.fsync_dir(directory)


def old_index(directory: Path) -> Path | None:
    """The index to keep the operator's rows of."""
    old = _marked(directory)
    if old is not None and old.exists():
        return old
    current = directory / layout.DATABASE_NAME
    if current.exists() and current.stat().st_size:
        return current
    aside = sorted(directory.glob(layout.OLD_NAME + "*"), key=lambda path: path.stat().st_mtime)
    return next((path for path in reversed(aside) if not path.name.endswith((_LOG, _SHARED))), None)


def _mark(directory: Path, name: str, files: Files) -> None:
    marker = directory / layout.REBUILDING_NAME
    fd = files.create(marker)
    try:
        files.write_at(fd, 0, [name.encode() + b"\n"])
        files.fsync(fd)
    finally:
        os.close(fd)
    files.fsync_dir(directory)


def _marked(directory: Path) -> Path | None:
    """None without a marker, and with a torn one: then nothing was renamed yet."""
    try:
        name = (directory / layout.REBUILDING_NAME).read_text()
    except (FileNotFoundError, UnicodeDecodeError):
        return None
    return directory / name.rstrip("\n") if name.startswith(layout.OLD_NAME) and name.endswith("\n") else None


def _sync(path: Path, files: Files) -> None:
    fd = files.open(path)
    try:
        files.fsync(fd)
    finally:
        os.close(fd)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _free_name(directory: Path) -> Path:
    first = directory / layout.OLD_NAME
    names = (first, *(first.with_name(f"{first.name}{number}") for number in range(2, 1000)))
    return next(path for path in names if not path.exists())
