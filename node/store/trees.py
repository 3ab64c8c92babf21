"""Rows of holds that keep trees: IPFS DAGs under their root CID. Functions over an open transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Final

from node.store import notes
from node.store.errors import HoldIncomplete, StoreDamaged, TooMany
from node.store.holds import COLUMNS, Begun, HoldRow, check_quota, has_corrupt
from node.store.layout import DOOMED, FINISHED, OPEN, PARTIAL_TREE, TREE, StoreLimits
from node.store.notes import Note
from node.store.port import HoldInfo, TreeHold, TreeOrigin, TreeRecord
from protocol import canonical
from protocol.cid import IDENTITY, Cid
from protocol.errors import DecodeError, Malformed, UnsupportedHash
from protocol.schema import take_bool, take_bytes, take_int, take_map

_RECORD_MAX_BYTES: Final = 512
_RECORD_KEYS: Final = frozenset(("root", "blocks", "bytes", "whole", "since_s"))
_SELECT: Final = "SELECT release, origin FROM holds"


def check_root(root: Cid) -> Cid:
    """The root as the store knows it. UnsupportedHash."""
    if root.hash_code == IDENTITY:
        raise UnsupportedHash("an identity CID carries its bytes itself: there is nothing to keep")
    return root.canonical


def begin(
    tx: sqlite3.Connection,
    root: Cid,
    *,
    max_blocks: int,
    max_bytes: int,
    reserve_bytes: int,
    quota_bytes: int,
    limits: StoreLimits,
    now_s: int,
) -> Begun[TreeHold]:
    """Raises QuotaExceeded."""
    found = tx.execute(
        "SELECT id, state FROM holds WHERE owner = ? AND (state = ? OR (state = ? AND kind = ?))"
        " ORDER BY state LIMIT 1",
        (root, OPEN, FINISHED, TREE),
    ).fetchone()
    if found is not None:
        if found[1] == OPEN:
            tx.execute("UPDATE holds SET max_blocks = ?, max_bytes = ? WHERE id = ?", (max_blocks, max_bytes, found[0]))
        return Begun(TreeHold(found[0], root), 0, False)
    check_quota(tx, reserve_bytes, quota_bytes)
    cursor = tx.execute(
        "INSERT INTO holds (owner, kind, seq, state, release_cid, release, max_blocks, max_bytes, reserve_bytes,"
        " started_s) VALUES (?, ?, 0, ?, X'', X'', ?, ?, ?, ?)",
        (root, TREE, OPEN, max_blocks, max_bytes, reserve_bytes, now_s),
    )
    gave_way = tx.execute(
        "UPDATE holds SET state = ? WHERE id IN (SELECT id FROM holds WHERE kind > 0 AND state = ?"
        " ORDER BY id DESC LIMIT -1 OFFSET ?)",
        (DOOMED, OPEN, limits.open_trees),
    )
    return Begun(TreeHold(int(cursor.lastrowid or 0), root), reserve_bytes, gave_way.rowcount > 0)


def open_holds(tx: sqlite3.Connection) -> Iterator[HoldInfo[TreeHold]]:
    query = f"SELECT owner, {COLUMNS} FROM holds WHERE state = ? AND kind > 0 ORDER BY id"  # noqa: S608 - a constant
    for owner, *found in tx.execute(query, (OPEN,)):
        row = HoldRow(*found)
        yield row.info(TreeHold(row.id, Cid(owner)))


def note(tx: sqlite3.Connection, row: HoldRow, hold: TreeHold, origin: TreeOrigin, *, whole: bool, keep: int) -> Note:
    """What the store says of the tree once it is kept. Raises HoldIncomplete, TooMany."""
    if not tx.execute(
        "SELECT 1 FROM blocks JOIN refs ON refs.block = blocks.id AND refs.hold = ? WHERE blocks.cid = ?",
        (hold.id, hold.root),
    ).fetchone():
        raise HoldIncomplete("a tree without its root")
    if has_corrupt(tx, row.id):
        raise HoldIncomplete("a block of this tree is damaged on disk; put it again")
    (others,) = tx.execute(
        "SELECT count(*) FROM holds WHERE state = ? AND kind > 0 AND owner <> ?", (FINISHED, hold.root)
    ).fetchone()
    if others >= keep:
        raise TooMany(f"{keep} trees are kept already", hint="fednode drop CID")
    record = TreeRecord(hold.root, whole, origin, row.done_blocks, row.done_bytes, row.started_s)
    return Note(hold.root, origin, encode(record))


def finish(tx: sqlite3.Connection, hold: TreeHold, note: Note) -> None:
    """The hold keeps the tree; every other hold of this root is doomed."""
    whole = decode(note.payload, note.kind).whole
    tx.execute(
        "UPDATE holds SET state = ?, kind = ?, origin = ?, release = ?, release_cid = ?,"
        " max_blocks = done_blocks, max_bytes = done_bytes WHERE id = ?",
        (FINISHED, TREE if whole else PARTIAL_TREE, note.kind, note.payload, note.cid, hold.id),
    )
    tx.execute("UPDATE holds SET state = ? WHERE owner = ? AND id <> ?", (DOOMED, hold.root, hold.id))
    notes.free(tx, hold.root)


def doom(tx: sqlite3.Connection, root: Cid) -> None:
    tx.execute("UPDATE holds SET state = ? WHERE owner = ? AND kind > 0", (DOOMED, root))
    notes.free(tx, root)


def load(tx: sqlite3.Connection, root: Cid) -> TreeRecord | None:
    row = tx.execute(f"{_SELECT} WHERE owner = ? AND state = ? AND kind > 0", (root, FINISHED)).fetchone()
    return None if row is None else _record(*row)


def all_rows(tx: sqlite3.Connection) -> list[tuple[bytes, str]]:
    """For `records`, which takes long for many and needs no transaction."""
    return tx.execute(f"{_SELECT} WHERE state = ? AND kind > 0 ORDER BY id", (FINISHED,)).fetchall()


def records(rows: Iterable[tuple[bytes, str]]) -> list[TreeRecord]:
    return [_record(*row) for row in rows]


def roots_of(tx: sqlite3.Connection, cid: Cid, limit: int) -> list[Cid]:
    rows = tx.execute(
        "SELECT holds.owner FROM blocks JOIN refs ON refs.block = blocks.id JOIN holds ON holds.id = refs.hold"
        " WHERE blocks.cid = ? AND holds.state = ? AND holds.kind > 0 ORDER BY holds.id LIMIT ?",
        (cid, FINISHED, limit),
    ).fetchall()
    return [Cid(row[0]) for row in rows]


# --- the record of a tree ----------------------------------------------------------------------------------


def encode(record: TreeRecord) -> bytes:
    return canonical.pack(
        {
            "root": bytes(record.root),
            "blocks": record.blocks,
            "bytes": record.size_bytes,
            "whole": record.whole,
            "since_s": record.since_s,
        }
    )


def decode(payload: bytes, origin: str) -> TreeRecord:
    """Raises DecodeError."""
    found = take_map(canonical.unpack(payload, max_bytes=_RECORD_MAX_BYTES), "tree", _RECORD_KEYS)
    if origin not in notes.TREES:
        raise Malformed(f"a tree that came as {origin}")
    return TreeRecord(
        Cid.from_bytes(take_bytes(found["root"], "root")),
        take_bool(found["whole"], "whole"),
        TreeOrigin(origin),
        take_int(found["blocks"], "blocks", 1),
        take_int(found["bytes"], "bytes"),
        take_int(found["since_s"], "since_s"),
    )


def _record(payload: bytes, origin: str) -> TreeRecord:
    try:
        return decode(payload, origin)
    except DecodeError as error:
        raise StoreDamaged(
            f"the record of a tree in the index is damaged: {error}",
            hint="check the disk, then run: fednode store rebuild",
        ) from error
