"""Making a lost or damaged index anew from the packs (docs/spec/store.md, "Rebuilding")."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from node.store import exchange, layout, notes, salvage, scan, sites, trees
from node.store.faults import translated
from node.store.files import Files, OsFiles
from node.store.index import Index
from node.store.lock import StoreLock
from node.store.packs import HEADER
from node.store.port import TreeRecord
from protocol.cid import IDENTITY, Cid
from protocol.dag_links import is_leaf, links
from protocol.errors import DecodeError
from protocol.release import SignedRelease
from protocol.site_id import SiteId
from protocol.walk import inline_block

_log = logging.getLogger(__name__)

_ROTTEN: Final = (
    "CREATE TEMP TABLE rotten (cid BLOB PRIMARY KEY, pack INTEGER, start INTEGER, span INTEGER, length INTEGER)"
)


@dataclass(slots=True)
class Rebuilt:
    """What was found. `lost` names what only the old index knew and could not be read from it."""

    packs: int = 0
    blocks: int = 0
    bytes: int = 0
    damaged_blocks: int = 0
    unreadable_bytes: int = 0
    sites_held: int = 0
    sites_incomplete: list[SiteId] = field(default_factory=list)
    sites_ended: int = 0
    trees_held: int = 0
    trees_incomplete: list[Cid] = field(default_factory=list)
    loose_blocks: int = 0
    kept: dict[str, int] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    old_index: Path | None = None


class Note(NamedTuple):
    """A release or a tree that was held, and where its note is."""

    signed: SignedRelease
    kind: str
    pack: int
    start: int
    span: int


def rebuild(
    directory: Path,
    *,
    files: Files | None = None,
    clock: Callable[[], float] = time.time,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Rebuilt:
    """Replace the index by one made from the packs; no daemon may run. Packs stay as they are.

    `progress` is told the bytes read and to read. Raises StoreLocked and other OperatorErrors; the old index
    is then still there, or the next rebuild goes on.
    """
    files = files or OsFiles()
    lock = StoreLock(directory, files)
    try:
        with translated(directory, "rebuilding the index"):
            exchange.settle(directory, files)
            _unlink(directory, layout.REBUILT_NAME, files)
            result = Rebuilt()
            with closing(Index(directory, files, name=layout.REBUILT_NAME)) as index:
                work = _Rebuild(directory, index, files, int(clock()), result)
                work.read_packs(progress)
                work.place_sites()
                work.place_trees()
                work.place_rest()
                old = exchange.old_index(directory)
                with index.transaction(durable=True) as tx:
                    result.kept, result.lost = salvage.from_old(tx, old, now_s=int(clock()))
            result.old_index = exchange.put_in_place(directory, files)
    finally:
        lock.close()
    return result


class TreeNote(NamedTuple):
    record: TreeRecord
    kind: str
    pack: int
    start: int
    span: int


class _Rebuild:
    def __init__(self, directory: Path, index: Index, files: Files, now_s: int, result: Rebuilt) -> None:
        self._directory = directory
        self._index = index
        self._files = files
        self._now_s = now_s
        self._result = result
        self._notes: dict[SiteId, list[Note]] = {}
        self._tree_notes: dict[Cid, list[TreeNote]] = {}

    # --- packs ---------------------------------------------------------------------------------------------

    def read_packs(self, progress: Callable[[int, int], None]) -> None:
        packs = sorted(
            (int(path.stem), path)
            for path in layout.packs_dir(self._directory).iterdir()
            if path.suffix == ".car" and path.stem.isdecimal() and path.name == layout.pack_name(int(path.stem))
        )
        total = sum(path.stat().st_size for _, path in packs)
        done = 0
        with self._index.transaction(durable=False) as tx:
            tx.execute(_ROTTEN)
        for pack, path in packs:
            done += self._read_pack(pack, path)
            progress(done, total)

    def _read_pack(self, pack: int, path: Path) -> int:
        fd = self._files.open(path)
        try:
            self._files.fsync(fd)  # the new index says that it is on the disk
        finally:
            os.close(fd)
        with closing(scan.PackBytes(path)) as raw:
            if raw.size < len(HEADER):
                return raw.size
            end = len(HEADER)
            mark: scan.Found | None = None
            with self._index.transaction(durable=False) as tx:
                for found in scan.sections(raw):
                    self._give_up(tx, pack, raw, end, found.start)
                    end = found.end
                    mark = self._take(tx, pack, found, raw, mark)
                tx.execute("INSERT INTO packs (id, size_bytes, synced_bytes) VALUES (?, ?, ?)", (pack, end, end))
            self._result.unreadable_bytes += scan.damaged_bytes(raw, end, raw.size)
            self._result.packs += 1
            return raw.size

    def _give_up(self, tx: sqlite3.Connection, pack: int, raw: scan.PackBytes, start: int, stop: int) -> None:
        """What lies between two sections: zeros, or damage of which nothing can be read."""
        unreadable = scan.damaged_bytes(raw, start, stop)
        if unreadable:
            self._result.unreadable_bytes += unreadable
            tx.execute("INSERT INTO dead VALUES (?, ?, ?)", (pack, start, stop - start))

    def _take(
        self, tx: sqlite3.Connection, pack: int, found: scan.Found, raw: scan.PackBytes, mark: scan.Found | None
    ) -> scan.Found | None:
        """`mark`: the section before, if it was the mark of a note. Gives this one if it is a mark."""
        if mark is not None:
            if found.good and self._take_note(pack, mark, found, raw):
                return None
            tx.execute("INSERT INTO dead VALUES (?, ?, ?)", (pack, mark.start, mark.span))
        if found.good and found.cid in notes.MARKS:
            return found
        place = (pack, found.start, found.span)
        if found.cid.hash_code == IDENTITY:
            tx.execute("INSERT INTO dead VALUES (?, ?, ?)", place)
        elif not found.good:
            tx.execute("INSERT OR REPLACE INTO rotten VALUES (?, ?, ?, ?, ?)", (found.cid, *place, found.length))
        else:
            self._take_block(tx, found, place)
        return None

    def _take_block(self, tx: sqlite3.Connection, found: scan.Found, place: tuple[int, int, int]) -> None:
        new = tx.execute(
            "INSERT OR IGNORE INTO blocks (cid, pack, start, span, length) VALUES (?, ?, ?, ?, ?)",
            (found.cid, *place, found.length),
        )
        if new.rowcount == 0:  # a copy that healed another, or a moved one
            tx.execute("INSERT INTO dead VALUES (?, ?, ?)", place)
            return
        self._result.blocks += 1
        self._result.bytes += found.length

    def _take_note(self, pack: int, mark: scan.Found, found: scan.Found, raw: scan.PackBytes) -> bool:
        if found.start != mark.end:
            return False
        payload, kind = raw.read(found.data_offset, found.length), notes.MARKS[mark.cid]
        place = (pack, mark.start, mark.span + found.span)
        try:
            if kind in notes.TREES:
                record = trees.decode(payload, kind)
                self._tree_notes.setdefault(record.root, []).append(TreeNote(record, kind, *place))
            else:
                signed = SignedRelease.decode(payload)
                self._notes.setdefault(signed.site, []).append(Note(signed, kind, *place))
        except DecodeError:
            return False
        return True

    # --- sites ---------------------------------------------------------------------------------------------

    def place_sites(self) -> None:
        for found in self._notes.values():
            with self._index.transaction(durable=False) as tx:
                self._place_site(tx, sorted(found, key=lambda note: note.signed.rank, reverse=True))

    def place_trees(self) -> None:
        """Of two notes of one tree the one that was written later counts, but a whole tree before a partial one."""
        for found in self._tree_notes.values():
            with self._index.transaction(durable=False) as tx:
                newest = sorted(found, key=lambda note: (note.record.whole, note.pack, note.start), reverse=True)
                kept = next((note for note in newest if self._hold_tree(tx, note, keep=note is newest[0])), None)
                self._result.trees_held += kept is not None
                if kept is None:
                    self._result.trees_incomplete.append(newest[0].record.root)
                for note in found:
                    payload = trees.encode(note.record)
                    _place_note(
                        tx, notes.Note(note.record.root, note.kind, payload), tuple(note[2:]), kept=note is kept
                    )

    def _hold_tree(self, tx: sqlite3.Connection, note: TreeNote, *, keep: bool) -> bool:
        """True when what the note says is here. Otherwise an open hold of what there is stays if `keep`."""
        record = note.record
        payload = notes.Note(record.root, note.kind, trees.encode(record))
        kind = layout.TREE if record.whole else layout.PARTIAL_TREE
        hold, whole, fits = self._collect(
            tx, record.root, record.blocks, record.size_bytes, (record.root, kind, 0, payload.cid, payload.payload)
        )
        if not whole and not (keep and fits):
            _forget_hold(tx, hold)
        elif whole:
            tx.execute("UPDATE holds SET origin = ?, started_s = ? WHERE id = ?", (note.kind, record.since_s, hold))
        else:  # to be imported again, under the bounds of then
            tx.execute("UPDATE holds SET release = X'', release_cid = X'' WHERE id = ?", (hold,))
        return whole

    def place_rest(self) -> None:
        with self._index.transaction(durable=False) as tx:
            tx.execute("INSERT INTO dead SELECT pack, start, span FROM rotten")
            tx.execute("INSERT INTO cache SELECT id, 0 FROM blocks WHERE id NOT IN (SELECT block FROM refs)")
            tx.execute(
                "UPDATE totals SET (held_blocks, held_bytes, cache_blocks, cache_bytes) = (SELECT"
                " count(*) FILTER (WHERE NOT cached), ifnull(sum(length) FILTER (WHERE NOT cached), 0),"
                " count(*) FILTER (WHERE cached), ifnull(sum(length) FILTER (WHERE cached), 0)"
                " FROM (SELECT length, id IN (SELECT block FROM cache) AS cached FROM blocks))"
            )
            (self._result.loose_blocks,) = tx.execute("SELECT cache_blocks FROM totals").fetchone()
            (self._result.damaged_blocks,) = tx.execute("SELECT count(*) FROM blocks WHERE corrupt = 1").fetchone()

    def _place_site(self, tx: sqlite3.Connection, found: list[Note]) -> None:
        """Newest first. The end counts, else the newest release whose blocks are all here."""
        ended = next((note for note in found if note.signed.release.ended), None)
        head = ended or found[0]
        sites.put_head(tx, head.signed, now_s=self._now_s)
        kept = ended
        if ended is not None:
            self._result.sites_ended += 1
        else:
            kept = next((note for note in found if self._hold(tx, note, keep=note is head)), None)
        tx.execute("UPDATE sites SET was_held = 1 WHERE site = ?", (head.signed.site,))
        if kept is None:
            self._result.sites_incomplete.append(head.signed.site)
        elif kept is not ended:
            self._result.sites_held += 1
        self._place_notes(tx, found, kept)

    @staticmethod
    def _place_notes(tx: sqlite3.Connection, found: Iterable[Note], kept: Note | None) -> None:
        for note in found:
            place = (note.pack, note.start, note.span)
            _place_note(tx, notes.Note.of(note.signed, note.kind), place, kept=note is kept)

    def _hold(self, tx: sqlite3.Connection, note: Note, *, keep: bool) -> bool:
        """True when all of the release is here. Otherwise an open hold of what there is stays if `keep`."""
        signed, release = note.signed, note.signed.release
        row = (signed.site, layout.RELEASE, signed.seq, signed.cid, signed.encode())
        hold, whole, fits = self._collect(tx, release.root, release.block_count, release.size_bytes, row)
        if not whole and not (keep and fits):
            _forget_hold(tx, hold)
        elif whole:
            tx.execute("UPDATE sites SET hold = ?, origin = ? WHERE site = ?", (hold, note.kind, signed.site))
        return whole

    def _collect(
        self,
        tx: sqlite3.Connection,
        root: Cid | None,
        blocks: int,
        size_bytes: int,
        row: tuple[bytes, int, int, bytes, bytes],
    ) -> tuple[int, bool, bool]:
        """A hold with what is here below the root: (id, whether that is all, whether it is not more than all).

        `row`: owner, kind, sequence, CID and bytes of the release or record.
        """
        cursor = tx.execute(
            "INSERT INTO holds (owner, kind, seq, release_cid, release, state, max_blocks, max_bytes, reserve_bytes,"
            " started_s) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*row, layout.OPEN, blocks, size_bytes, layout.cost(blocks, size_bytes), self._now_s),
        )
        hold = int(cursor.lastrowid or 0)
        if root is not None:
            self._walk(tx, hold, root)
        found = tx.execute(
            "SELECT count(*), ifnull(sum(length), 0) FROM refs JOIN blocks ON blocks.id = block WHERE hold = ?", (hold,)
        ).fetchone()
        whole = found == (blocks, size_bytes)
        tx.execute(
            "UPDATE holds SET state = ?, done_blocks = ?, done_bytes = ?, charged_bytes = ? WHERE id = ?",
            (layout.FINISHED if whole else layout.OPEN, *found, layout.cost(*found), hold),
        )
        return hold, whole, found[0] <= blocks and found[1] <= size_bytes

    def _walk(self, tx: sqlite3.Connection, hold: int, root: Cid) -> None:
        """Reference every block of the tree that is here."""
        waiting = [root]
        while waiting:
            cid = waiting.pop().canonical
            inline = inline_block(cid)
            if inline is not None:
                waiting += _links(cid, inline)
                continue
            row = _block(tx, cid)
            if row is None:
                continue
            id_, corrupt, pack, data_offset, length = row
            new = tx.execute("INSERT OR IGNORE INTO refs (hold, block) VALUES (?, ?)", (hold, id_)).rowcount
            if new and not corrupt and not is_leaf(cid):
                waiting += _links(cid, self._read(pack, data_offset, length))

    def _read(self, pack: int, offset: int, length: int) -> bytes:
        fd = os.open(layout.pack_path(self._directory, pack), os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(fd, length, offset)
        finally:
            os.close(fd)


def _place_note(tx: sqlite3.Connection, note: notes.Note, place: tuple[int, ...], *, kept: bool) -> None:
    if kept:
        tx.execute(
            "INSERT INTO notes (owner, release_cid, kind, pack, start, span) VALUES (?, ?, ?, ?, ?, ?)",
            (note.owner, note.cid, note.kind, *place),
        )
    else:
        tx.execute("INSERT INTO dead VALUES (?, ?, ?)", place)


def _forget_hold(tx: sqlite3.Connection, hold: int) -> None:
    tx.execute("DELETE FROM refs WHERE hold = ?", (hold,))
    tx.execute("DELETE FROM holds WHERE id = ?", (hold,))


def _block(tx: sqlite3.Connection, cid: Cid) -> tuple[int, bool, int, int, int] | None:
    """(id, corrupt, pack, data offset, length); a damaged copy is taken when there is no other."""
    query = "SELECT id, corrupt, pack, start + span - length, length FROM blocks WHERE cid = ?"
    row = tx.execute(query, (cid,)).fetchone()
    if row is None:
        tx.execute(
            "INSERT INTO blocks (cid, pack, start, span, length, corrupt)"
            " SELECT cid, pack, start, span, length, 1 FROM rotten WHERE cid = ?",
            (cid,),
        )
        tx.execute("DELETE FROM rotten WHERE cid = ?", (cid,))
        row = tx.execute(query, (cid,)).fetchone()
    return None if row is None else (row[0], bool(row[1]), row[2], row[3], row[4])


def _links(cid: Cid, data: bytes) -> list[Cid]:
    try:
        return links(cid, data)
    except DecodeError:
        return []


def _unlink(directory: Path, name: str, files: Files) -> None:
    for suffix in ("", "-wal", "-shm"):
        files.unlink(directory / (name + suffix))
