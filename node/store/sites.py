"""Rows of sites: the newest release known of each, and which hold it is served from."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Final, TypeAlias

from node.store.errors import StoreDamaged
from node.store.port import Origin, SiteRecord
from node.store.release_cache import ReleaseCache
from protocol.errors import DecodeError
from protocol.release import SignedRelease
from protocol.site_id import SiteId

RELEASES_CACHED_BYTES: Final = 16 * 1024**2
"""At most 64 MiB with what they are decoded to, in each process that reads all sites; a release has 0.6 to 5 KB."""

_decoded: Final = ReleaseCache(RELEASES_CACHED_BYTES)


def decode_release(raw: bytes) -> SignedRelease:
    """A release from a row, its signature checked again; a cache makes that cheap for what is read often."""
    known = _decoded.get(raw)
    if known is not None:
        return known
    try:
        signed = SignedRelease.decode(raw)
    except DecodeError as error:
        raise StoreDamaged(
            f"a release in the index is damaged: {error}",
            hint="check the disk, then run: fednode store rebuild",
        ) from error
    _decoded.put(raw, signed)
    return signed


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


Row: TypeAlias = tuple[bytes, bytes, bytes | None, str | None, int, int | None, int]
_SELECT: Final = (
    "SELECT s.site, s.head, h.release, s.origin, s.ended, h.done_bytes, s.updated_s"
    " FROM sites s LEFT JOIN holds h ON h.id = s.hold"
)


def load(tx: sqlite3.Connection, site: SiteId) -> SiteRecord | None:
    row = tx.execute(f"{_SELECT} WHERE s.site = ?", (site,)).fetchone()
    return None if row is None else _record(row)


def was_held(tx: sqlite3.Connection, site: SiteId) -> bool:
    row = tx.execute("SELECT was_held FROM sites WHERE site = ?", (site,)).fetchone()
    return row is not None and bool(row[0])


def all_rows(tx: sqlite3.Connection) -> list[Row]:
    """For `records`, which takes long for many and needs no transaction."""
    return tx.execute(f"{_SELECT} ORDER BY s.id").fetchall()


def records(rows: Iterable[Row]) -> list[SiteRecord]:
    return [_record(row) for row in rows]


def _record(row: Row) -> SiteRecord:
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
