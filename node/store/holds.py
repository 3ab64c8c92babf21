"""Rows of holds and sites. Functions over an open transaction; nothing here touches a pack."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from node.store.errors import HoldGone, HoldIncomplete, QuotaExceeded, StoreDamaged
from node.store.layout import DOOMED, FINISHED, OPEN
from node.store.port import Hold, HoldInfo, Origin, SiteRecord, Usage
from protocol.cid import Cid
from protocol.errors import DecodeError, OverLimit
from protocol.release import SignedRelease, check_successor
from protocol.site_id import SiteId

_COLUMNS: Final = "id, release, state, max_blocks, max_bytes, done_blocks, done_bytes, new_blocks, new_bytes, started_s"
# What open holds may still add: never more than was reserved, nor than the release has left.
_REMAINING: Final = "max(0, min(reserve_bytes - charged_bytes, max_bytes - done_bytes))"


@lru_cache(maxsize=2048)
def decode_release(raw: bytes) -> SignedRelease:
    """A release from a row, its signature checked again; the cache makes that cheap for what is read often."""
    try:
        return SignedRelease.decode(raw)
    except DecodeError as error:
        raise StoreDamaged(
            f"a release in the index is damaged: {error}",
            hint="check the disk, then move the store away; the node fetches its sites again",
        ) from error


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

    def info(self) -> HoldInfo:
        return HoldInfo(
            Hold(self.id, decode_release(self.release)),
            self.state == FINISHED,
            self.done_blocks,
            self.done_bytes,
            self.new_blocks,
            self.new_bytes,
            self.started_s,
        )


def load(tx: sqlite3.Connection, hold: Hold) -> HoldRow:
    """Raises HoldGone."""
    row = tx.execute(
        f"SELECT {_COLUMNS} FROM holds WHERE id = ? AND state <> ?",  # noqa: S608 - a constant
        (hold.id, DOOMED),
    ).fetchone()
    if row is None:
        raise HoldGone(f"release {hold.signed.seq} of {hold.site} is no longer kept or collected here")
    return HoldRow(*row)


def open_rows(tx: sqlite3.Connection) -> Iterator[HoldRow]:
    for row in tx.execute(f"SELECT {_COLUMNS} FROM holds WHERE state = ? ORDER BY id", (OPEN,)):  # noqa: S608
        yield HoldRow(*row)


def begin(
    tx: sqlite3.Connection, signed: SignedRelease, *, quota_bytes: int, max_open: int, now_s: int
) -> tuple[Hold, int]:
    """The hold, and the bytes that were newly reserved for it."""
    record = load_site(tx, signed.site)
    if record is not None:
        check_successor(record.head, signed)
    raw, cid = signed.encode(), signed.cid
    found = tx.execute("SELECT id FROM holds WHERE release_cid = ? AND state <> ?", (cid, DOOMED)).fetchone()
    if found is not None:
        return Hold(found[0], signed), 0
    release = signed.release
    reserve = max(0, release.size_bytes - (record.held_bytes if record else 0))
    free = free_bytes(tx, quota_bytes)
    if reserve > free:
        raise QuotaExceeded(needed_bytes=reserve, free_bytes=free)
    cursor = tx.execute(
        "INSERT INTO holds (site, seq, state, release_cid, release, max_blocks, max_bytes, reserve_bytes, started_s)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (signed.site, signed.seq, OPEN, cid, raw, release.block_count, release.size_bytes, reserve, now_s),
    )
    tx.execute(  # surplus open holds of the site give way, the lowest sequences first
        "UPDATE holds SET state = ? WHERE id IN (SELECT id FROM holds WHERE site = ? AND state = ?"
        " ORDER BY seq DESC, id DESC LIMIT -1 OFFSET ?)",
        (DOOMED, signed.site, OPEN, max_open),
    )
    return Hold(int(cursor.lastrowid or 0), signed), reserve


def reserved_bytes(tx: sqlite3.Connection) -> int:
    (total,) = tx.execute(
        f"SELECT ifnull(sum({_REMAINING}), 0) FROM holds WHERE state = ?",  # noqa: S608 - a constant
        (OPEN,),
    ).fetchone()
    return int(total)


def free_bytes(tx: sqlite3.Connection, quota_bytes: int) -> int:
    (held,) = tx.execute("SELECT held_bytes FROM totals").fetchone()
    return max(0, quota_bytes - int(held) - reserved_bytes(tx))


def check_room(row: HoldRow, blocks: int, size: int) -> None:
    """Raises OverLimit when so much more would be more than the release states."""
    if row.done_blocks + blocks > row.max_blocks or row.done_bytes + size > row.max_bytes:
        raise OverLimit(f"more than the {row.max_blocks} blocks and {row.max_bytes} bytes that the release states")


def charge(tx: sqlite3.Connection, row: HoldRow, *, blocks: int, size: int, new_bytes: int, quota_bytes: int) -> None:
    """Count what a hold takes on. `new_bytes` starts to count against the quota; `totals` has it already."""
    tx.execute(
        "UPDATE holds SET done_blocks = done_blocks + ?, done_bytes = done_bytes + ?,"
        " charged_bytes = charged_bytes + ? WHERE id = ?",
        (blocks, size, new_bytes, row.id),
    )
    if new_bytes == 0:
        return
    (held,) = tx.execute("SELECT held_bytes FROM totals").fetchone()
    over = int(held) + reserved_bytes(tx) - quota_bytes
    if over > 0:
        raise QuotaExceeded(needed_bytes=new_bytes, free_bytes=max(0, new_bytes - over))


def count_new(tx: sqlite3.Connection, row: HoldRow, blocks: int, size: int) -> None:
    tx.execute(
        "UPDATE holds SET new_blocks = new_blocks + ?, new_bytes = new_bytes + ? WHERE id = ?", (blocks, size, row.id)
    )


def finish(tx: sqlite3.Connection, row: HoldRow, signed: SignedRelease, *, origin: Origin, now_s: int) -> None:
    """The hold becomes the site's; every hold of an earlier release is doomed."""
    record = load_site(tx, signed.site)
    _check_finish(tx, row, signed, record)
    tx.execute("UPDATE holds SET state = ? WHERE id = ?", (FINISHED, row.id))
    tx.execute(
        "UPDATE holds SET state = ? WHERE site = ? AND id <> ? AND (seq <= ? OR state = ?)",
        (DOOMED, signed.site, row.id, signed.seq, FINISHED),
    )
    if record is None or record.head.seq < signed.seq:
        put_head(tx, signed, now_s=now_s)
    tx.execute(
        "UPDATE sites SET hold = ?, was_held = 1, origin = ?, updated_s = ? WHERE site = ?",
        (row.id, origin, now_s, signed.site),
    )


def _check_finish(tx: sqlite3.Connection, row: HoldRow, signed: SignedRelease, record: SiteRecord | None) -> None:
    if record is not None:
        if record.head.seq == signed.seq or record.ended:
            check_successor(record.head, signed)
        if record.held is not None:
            check_successor(record.held, signed)
    if (row.done_blocks, row.done_bytes) != (row.max_blocks, row.max_bytes):
        raise HoldIncomplete(
            f"{row.done_blocks} blocks with {row.done_bytes} bytes, where the release states {row.max_blocks}"
            f" with {row.max_bytes}"
        )
    if has_corrupt(tx, row.id):
        raise HoldIncomplete("a block of this release is damaged on disk; put it again")


def has_corrupt(tx: sqlite3.Connection, hold: int) -> bool:
    found = tx.execute(
        "SELECT 1 FROM blocks JOIN refs ON refs.block = blocks.id WHERE blocks.corrupt = 1 AND refs.hold = ? LIMIT 1",
        (hold,),
    ).fetchone()
    return found is not None


def doom_hold(tx: sqlite3.Connection, hold: Hold) -> None:
    tx.execute("UPDATE holds SET state = ? WHERE id = ? AND state = ?", (DOOMED, hold.id, OPEN))


def doom_site(tx: sqlite3.Connection, site: SiteId) -> None:
    tx.execute("UPDATE holds SET state = ? WHERE site = ?", (DOOMED, site))
    tx.execute("UPDATE sites SET hold = NULL WHERE site = ?", (site,))


def next_doomed(tx: sqlite3.Connection) -> int | None:
    row = tx.execute("SELECT id FROM holds WHERE state = ? ORDER BY id LIMIT 1", (DOOMED,)).fetchone()
    return None if row is None else int(row[0])


def put_head(tx: sqlite3.Connection, signed: SignedRelease, *, now_s: int) -> None:
    tx.execute(
        "INSERT INTO sites (site, seq, head, ended, was_held, updated_s) VALUES (?, ?, ?, ?, 0, ?)"
        " ON CONFLICT (site) DO UPDATE SET seq = excluded.seq, head = excluded.head, ended = excluded.ended,"
        " updated_s = excluded.updated_s",
        (signed.site, signed.seq, signed.encode(), signed.release.ended, now_s),
    )


def forget_surplus_heads(tx: sqlite3.Connection, keep: int) -> None:
    """Heads of sites that were never held here are kept up to a bound."""
    tx.execute(
        "DELETE FROM sites WHERE id IN (SELECT id FROM sites WHERE was_held = 0"
        " ORDER BY updated_s DESC, id DESC LIMIT -1 OFFSET ?)",
        (keep,),
    )


_SITE: Final = (
    "SELECT s.site, s.head, h.release, s.origin, s.ended, h.done_bytes, s.updated_s"
    " FROM sites s LEFT JOIN holds h ON h.id = s.hold"
)


def load_site(tx: sqlite3.Connection, site: SiteId) -> SiteRecord | None:
    row = tx.execute(f"{_SITE} WHERE s.site = ?", (site,)).fetchone()
    return None if row is None else _site_record(row)


def load_sites(tx: sqlite3.Connection) -> list[SiteRecord]:
    return [_site_record(row) for row in tx.execute(f"{_SITE} ORDER BY s.id")]


def _site_record(row: tuple[bytes, bytes, bytes | None, str | None, int, int | None, int]) -> SiteRecord:
    site, head, held, origin, ended, held_bytes, updated_s = row
    return SiteRecord(
        SiteId(site),
        decode_release(head),
        None if held is None else decode_release(held),
        None if held is None or origin is None else Origin(origin),
        bool(ended),
        held_bytes or 0,
        updated_s,
    )


def is_linked(tx: sqlite3.Connection, cid: Cid) -> bool:
    """Some finished hold without a corrupt block keeps it."""
    rows = tx.execute(
        "SELECT refs.hold FROM blocks JOIN refs ON refs.block = blocks.id JOIN holds ON holds.id = refs.hold"
        " WHERE blocks.cid = ? AND blocks.corrupt = 0 AND holds.state = ?",
        (cid, FINISHED),
    ).fetchall()
    return any(not has_corrupt(tx, row[0]) for row in rows)


def usage(tx: sqlite3.Connection, *, quota_bytes: int, cache_quota_bytes: int) -> Usage:
    held_blocks, held, cache_blocks, cached, corrupt = tx.execute(
        "SELECT held_blocks, held_bytes, cache_blocks, cache_bytes,"
        " (SELECT count(*) FROM blocks WHERE corrupt = 1) FROM totals"
    ).fetchone()
    return Usage(held, reserved_bytes(tx), quota_bytes, cached, cache_quota_bytes, held_blocks + cache_blocks, corrupt)
