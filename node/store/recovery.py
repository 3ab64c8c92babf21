"""What a start does before the store is used (docs/spec/store.md, "Start").

Only what lies beyond the last synced offset of a pack is read again, so a start after a crash stays quick.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from pathlib import Path
from typing import Final

from node.store import layout
from node.store.faults import translated
from node.store.files import Files
from node.store.index import Index
from node.store.layout import FINISHED
from node.store.packs import HEADER, PackWriter
from protocol import car
from protocol.cid import Cid
from protocol.errors import DecodeError

_log = logging.getLogger(__name__)

_BLOCKS_BEYOND: Final = "SELECT cid, start, span, length FROM blocks WHERE pack = ? AND start >= ? ORDER BY start"


def recover(directory: Path, index: Index, packs: PackWriter, files: Files, limits: layout.StoreLimits) -> None:
    """Make packs and index agree, then go on in the newest pack that has room."""
    with translated(directory, "recovering the store"):
        with index.transaction(durable=False) as tx:
            rows = tx.execute("SELECT id, size_bytes, synced_bytes FROM packs").fetchall()
        _unlink_strangers(directory, {pack for pack, _, _ in rows}, files)
        for pack, size, synced in rows:
            if not layout.pack_path(directory, pack).exists():
                _forget_pack(directory, index, pack)
            elif size > synced:
                _recover_pack(directory, index, files, pack, size, synced)
            elif layout.pack_path(directory, pack).stat().st_size > size:
                _cut_tail(directory, files, pack, size)
        _resume_newest(directory, index, packs, files, limits)


def _unlink_strangers(directory: Path, packs: set[int], files: Files) -> None:
    """Packs that were created or freed just before the end, whose row is not there (any more)."""
    known = {layout.pack_name(pack) for pack in packs}
    for path in layout.packs_dir(directory).iterdir():
        if path.name not in known and path.suffix == ".car":
            files.unlink(path)


def _forget_pack(directory: Path, index: Index, pack: int) -> None:
    _log.error("pack %s is missing; its blocks are to be fetched again", layout.pack_name(pack))
    with index.transaction(durable=True) as tx:
        forget_beyond(tx, pack, 0)
        tx.execute("UPDATE packs SET synced_bytes = 0 WHERE id = ?", (pack,))


def _recover_pack(directory: Path, index: Index, files: Files, pack: int, size: int, synced: int) -> None:
    fd = files.open(layout.pack_path(directory, pack))
    try:
        cut = _first_bad(index, fd, pack, synced)
        if cut is None:
            cut = size
        else:
            _log.warning("pack %s lost what was written after byte %d", layout.pack_name(pack), cut)
        if os.fstat(fd).st_size != cut:
            files.truncate(fd, cut)
        files.fsync(fd)
    finally:
        os.close(fd)
    with index.transaction(durable=True) as tx:
        forget_beyond(tx, pack, cut)
        tx.execute("UPDATE packs SET synced_bytes = size_bytes WHERE id = ?", (pack,))


def _cut_tail(directory: Path, files: Files, pack: int, size: int) -> None:
    """What was written when the end came and no row names."""
    fd = files.open(layout.pack_path(directory, pack))
    try:
        files.truncate(fd, size)
        files.fsync(fd)
    finally:
        os.close(fd)


def _first_bad(index: Index, fd: int, pack: int, synced: int) -> int | None:
    """Offset of the first section after `synced` that is not what its row says."""
    with index.transaction(durable=False) as tx:
        for cid, start, span, length in tx.execute(_BLOCKS_BEYOND, (pack, synced)):
            section = os.pread(fd, span, start)
            prefix = car.section_prefix(Cid(cid), length)
            if len(section) != span or not section.startswith(prefix):
                return int(start)
            try:
                Cid(cid).verify(memoryview(section)[len(prefix) :])
            except DecodeError:
                return int(start)
    return None


def forget_beyond(tx: sqlite3.Connection, pack: int, cut: int) -> None:
    """The pack ends at `cut`. Blocks behind it are gone, those of finished holds are to be healed.

    A finished hold is synced before it is finished, so only healed copies can be lost there.
    """
    tx.execute(
        "UPDATE blocks SET corrupt = 1 WHERE pack = ? AND start >= ? AND EXISTS (SELECT 1 FROM refs JOIN holds"
        " ON holds.id = refs.hold WHERE refs.block = blocks.id AND holds.state = ?)",
        (pack, cut, FINISHED),
    )
    lost = "SELECT id FROM blocks WHERE pack = ? AND start >= ? AND corrupt = 0"
    where = (pack, cut)
    tx.execute(
        "UPDATE holds SET (done_blocks, done_bytes) = (SELECT holds.done_blocks - count(*), holds.done_bytes -"
        " ifnull(sum(b.length), 0) FROM blocks b CROSS JOIN refs ON refs.hold = holds.id AND refs.block = b.id"
        " WHERE b.pack = ? AND b.start >= ? AND b.corrupt = 0) WHERE state <> ?",
        (*where, FINISHED),
    )
    for kind, keeper in (("held", "refs"), ("cache", "cache")):
        tx.execute(
            f"UPDATE totals SET ({kind}_blocks, {kind}_bytes) = (SELECT {kind}_blocks - count(*),"  # noqa: S608
            f" {kind}_bytes - ifnull(sum(length), 0) FROM blocks WHERE id IN ({lost})"
            f" AND EXISTS (SELECT 1 FROM {keeper} WHERE block = blocks.id))",
            where,
        )
        tx.execute(f"DELETE FROM {keeper} WHERE block IN ({lost})", where)  # noqa: S608 - constants
    tx.execute(f"DELETE FROM blocks WHERE id IN ({lost})", where)  # noqa: S608
    tx.execute("DELETE FROM dead WHERE pack = ? AND start >= ?", where)
    tx.execute("DELETE FROM notes WHERE pack = ? AND start >= ?", where)
    tx.execute("UPDATE packs SET size_bytes = ? WHERE id = ?", (cut, pack))


def _resume_newest(directory: Path, index: Index, packs: PackWriter, files: Files, limits: layout.StoreLimits) -> None:
    with index.transaction(durable=False) as tx:
        row = tx.execute(  # rows behind the end are blocks that wait to be healed: their places stay taken
            "SELECT id, size_bytes FROM packs WHERE id = (SELECT max(id) FROM packs) AND size_bytes < ?"
            " AND NOT EXISTS (SELECT 1 FROM blocks WHERE pack = packs.id AND start >= packs.size_bytes)",
            (limits.pack_roll_bytes,),
        ).fetchone()
    if row is None:
        return
    pack, size = row
    if size >= len(HEADER) and layout.pack_path(directory, pack).stat().st_size >= size:
        packs.resume(pack, size)
