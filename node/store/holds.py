"""Rows of holds. Functions over an open transaction; nothing here touches a pack."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Generic, NamedTuple

from node.store import notes, sites
from node.store.errors import HoldGone, HoldIncomplete, QuotaExceeded
from node.store.layout import BLOCK_COST_BYTES, DOOMED, FINISHED, OPEN, PARTIAL_TREE, RELEASE, cost
from node.store.port import AnyHold, H, Hold, HoldInfo, Origin, SiteRecord, Usage
from protocol.cid import Cid
from protocol.errors import OverLimit
from protocol.release import SignedRelease, check_may_hold
from protocol.site_id import SiteId

COLUMNS: Final = "id, release, state, max_blocks, max_bytes, done_blocks, done_bytes, new_blocks, new_bytes, started_s"
# What open holds may still add: never more than was reserved, nor than the release has left.
_REMAINING: Final = (
    "max(0, min(reserve_bytes - charged_bytes,"
    f" max_bytes - done_bytes + {BLOCK_COST_BYTES} * (max_blocks - done_blocks)))"
)


@dataclass(frozen=True, slots=True)
class HoldRow:
    id: int
    release: bytes
    state: int
    max_blocks: int
    max_bytes: int
    done_blocks: int
    done_bytes: int
    new_blocks: int
    new_bytes: int
    started_s: int

    def info(self, hold: H) -> HoldInfo[H]:
        return HoldInfo(
            hold,
            self.state == FINISHED,
            self.done_blocks,
            self.done_bytes,
            self.new_blocks,
            self.new_bytes,
            self.started_s,
        )


class Begun(NamedTuple, Generic[H]):
    hold: H
    reserved_bytes: int  # newly
    surplus: bool  # another hold had to give way


def load(tx: sqlite3.Connection, hold: AnyHold) -> HoldRow:
    """Raises HoldGone."""
    row = tx.execute(
        f"SELECT {COLUMNS} FROM holds WHERE id = ? AND state <> ?",  # noqa: S608 - a constant
        (hold.id, DOOMED),
    ).fetchone()
    if row is None:
        raise HoldGone(f"{hold} is no longer kept or collected here")
    return HoldRow(*row)


def open_holds(tx: sqlite3.Connection) -> Iterator[HoldInfo[Hold]]:
    query = f"SELECT {COLUMNS} FROM holds WHERE state = ? AND kind = ? ORDER BY id"  # noqa: S608 - a constant
    for found in tx.execute(query, (OPEN, RELEASE)):
        row = HoldRow(*found)
        yield row.info(Hold(row.id, sites.decode_release(row.release)))


def begin(tx: sqlite3.Connection, signed: SignedRelease, *, quota_bytes: int, max_open: int, now_s: int) -> Begun[Hold]:
    """Raises QuotaExceeded, StaleRelease."""
    record = sites.load(tx, signed.site)
    if record is not None:
        check_may_hold(record.head, record.held, signed)
    raw, cid = signed.encode(), signed.cid
    found = tx.execute("SELECT id FROM holds WHERE release_cid = ? AND state <> ?", (cid, DOOMED)).fetchone()
    if found is not None:
        return Begun(Hold(found[0], signed), 0, False)
    release = signed.release
    held = record.held.release if record and record.held else None
    reserve = cost(release.block_count, release.size_bytes)
    if held is not None:
        reserve = max(0, reserve - cost(held.block_count, held.size_bytes))
    check_quota(tx, reserve, quota_bytes)
    cursor = tx.execute(
        "INSERT INTO holds (owner, seq, state, release_cid, release, max_blocks, max_bytes, reserve_bytes, started_s)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (signed.site, signed.seq, OPEN, cid, raw, release.block_count, release.size_bytes, reserve, now_s),
    )
    hold = Hold(int(cursor.lastrowid or 0), signed)
    gave_way = tx.execute(  # surplus open holds of the site, the lowest sequences first
        "UPDATE holds SET state = ? WHERE id IN (SELECT id FROM holds WHERE owner = ? AND state = ?"
        " ORDER BY seq DESC, id DESC LIMIT -1 OFFSET ?)",
        (DOOMED, signed.site, OPEN, max_open),
    )
    return Begun(hold, reserve, gave_way.rowcount > 0)


def reserved_bytes(tx: sqlite3.Connection) -> int:
    (total,) = tx.execute(
        f"SELECT ifnull(sum({_REMAINING}), 0) FROM holds WHERE state = ?",  # noqa: S608 - a constant
        (OPEN,),
    ).fetchone()
    return int(total)


def check_quota(tx: sqlite3.Connection, reserve: int, quota_bytes: int) -> None:
    """Raises QuotaExceeded when so much cannot be reserved."""
    free = max(0, _free_bytes(tx, quota_bytes))
    if reserve > free:
        raise QuotaExceeded(needed_bytes=reserve, free_bytes=free)


def _free_bytes(tx: sqlite3.Connection, quota_bytes: int) -> int:
    """What the quota has left; negative after it was lowered, or in the middle of a step that is then refused."""
    blocks, size = tx.execute("SELECT held_blocks, held_bytes FROM totals").fetchone()
    return quota_bytes - cost(blocks, size) - reserved_bytes(tx)


def check_room(row: HoldRow, blocks: int, size: int) -> None:
    """Raises OverLimit when so much more would be more than the release states, or the tree may have."""
    if row.done_blocks + blocks > row.max_blocks or row.done_bytes + size > row.max_bytes:
        raise OverLimit(f"more than the {row.max_blocks} blocks and {row.max_bytes} bytes that there may be")


def charge(tx: sqlite3.Connection, row: HoldRow, *, blocks: int, size: int, grown: int, quota_bytes: int) -> None:
    """Count what a hold takes on; `grown` is what it costs in addition, which `totals` has already.

    Raises QuotaExceeded, upon which the transaction is given up.
    """
    tx.execute(
        "UPDATE holds SET done_blocks = done_blocks + ?, done_bytes = done_bytes + ?,"
        " charged_bytes = charged_bytes + ? WHERE id = ?",
        (blocks, size, grown, row.id),
    )
    free = _free_bytes(tx, quota_bytes)
    if grown and free < 0:
        raise QuotaExceeded(needed_bytes=grown, free_bytes=max(0, grown + free))


def count_new(tx: sqlite3.Connection, row: HoldRow, blocks: int, size: int) -> None:
    tx.execute(
        "UPDATE holds SET new_blocks = new_blocks + ?, new_bytes = new_bytes + ? WHERE id = ?", (blocks, size, row.id)
    )


def finish(tx: sqlite3.Connection, row: HoldRow, signed: SignedRelease, *, origin: Origin, now_s: int) -> None:
    """The hold becomes the site's; every hold of an earlier release is doomed."""
    record = check_finish(tx, row, signed)
    tx.execute("UPDATE holds SET state = ? WHERE id = ?", (FINISHED, row.id))
    tx.execute(
        "UPDATE holds SET state = ? WHERE owner = ? AND id <> ? AND (seq <= ? OR state = ?)",
        (DOOMED, signed.site, row.id, signed.seq, FINISHED),
    )
    if record is None or record.head.rank < signed.rank:
        sites.put_head(tx, signed, now_s=now_s)
    tx.execute(
        "UPDATE sites SET hold = ?, was_held = 1, origin = ?, updated_s = ? WHERE site = ?",
        (row.id, origin, now_s, signed.site),
    )
    notes.free(tx, signed.site)


def check_finish(tx: sqlite3.Connection, row: HoldRow, signed: SignedRelease) -> SiteRecord | None:
    """The site as it is. Raises HoldIncomplete, StaleRelease."""
    record = sites.load(tx, signed.site)
    if record is not None:
        check_may_hold(record.head, record.held, signed)
    if (row.done_blocks, row.done_bytes) != (row.max_blocks, row.max_bytes):
        raise HoldIncomplete(
            f"{row.done_blocks} blocks with {row.done_bytes} bytes, where the release states {row.max_blocks}"
            f" with {row.max_bytes}"
        )
    if has_corrupt(tx, row.id):
        raise HoldIncomplete("a block of this release is damaged on disk; put it again")
    return record


def has_corrupt(tx: sqlite3.Connection, hold: int) -> bool:
    found = tx.execute(
        "SELECT 1 FROM blocks INDEXED BY blocks_corrupt CROSS JOIN refs ON refs.block = blocks.id AND refs.hold = ?"
        " WHERE blocks.corrupt = 1 LIMIT 1",
        (hold,),
    ).fetchone()
    return found is not None


def doom_hold(tx: sqlite3.Connection, hold: AnyHold) -> None:
    tx.execute("UPDATE holds SET state = ? WHERE id = ? AND state = ?", (DOOMED, hold.id, OPEN))


def doom_site(tx: sqlite3.Connection, site: SiteId) -> None:
    tx.execute("UPDATE holds SET state = ? WHERE owner = ?", (DOOMED, site))
    tx.execute("UPDATE sites SET hold = NULL WHERE site = ?", (site,))
    notes.free(tx, site)


def next_doomed(tx: sqlite3.Connection) -> int | None:
    row = tx.execute("SELECT id FROM holds WHERE state = ? ORDER BY id LIMIT 1", (DOOMED,)).fetchone()
    return None if row is None else int(row[0])


def is_linked(tx: sqlite3.Connection, cid: Cid) -> bool:
    """Some finished, whole hold without a corrupt block keeps it."""
    rows = tx.execute(
        "SELECT refs.hold FROM blocks JOIN refs ON refs.block = blocks.id JOIN holds ON holds.id = refs.hold"
        " WHERE blocks.cid = ? AND blocks.corrupt = 0 AND holds.state = ? AND holds.kind <> ?",
        (cid, FINISHED, PARTIAL_TREE),
    ).fetchall()
    return any(not has_corrupt(tx, row[0]) for row in rows)


def usage(tx: sqlite3.Connection, *, quota_bytes: int, cache_quota_bytes: int) -> Usage:
    held_blocks, held, cache_blocks, cached, corrupt = tx.execute(
        "SELECT held_blocks, held_bytes, cache_blocks, cache_bytes,"
        " (SELECT count(*) FROM blocks WHERE corrupt = 1) FROM totals"
    ).fetchone()
    return Usage(
        used_bytes=held,
        index_bytes=cost(held_blocks, 0),
        reserved_bytes=reserved_bytes(tx),
        quota_bytes=quota_bytes,
        cache_bytes=cached,
        cache_quota_bytes=cache_quota_bytes,
        blocks=held_blocks + cache_blocks,
        corrupt_blocks=corrupt,
    )
