"""Whether index and packs of a store at rest agree in all that docs/spec/store.md says of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from node.store import layout
from node.store.packs import HEADER
from protocol import car, varint
from protocol.cid import Cid, read_cid

assert (layout.FINISHED, layout.DOOMED) == (1, 2)
_MUST_BE_EMPTY = {
    "a block that nobody keeps": "SELECT id FROM blocks WHERE id NOT IN (SELECT block FROM refs)"
    " AND id NOT IN (SELECT block FROM cache)",
    "a block of hold and cache": "SELECT block FROM cache WHERE block IN (SELECT block FROM refs)",
    "a reference to no block": "SELECT * FROM refs WHERE block NOT IN (SELECT id FROM blocks)",
    "a reference of no hold": "SELECT * FROM refs WHERE hold NOT IN (SELECT id FROM holds)",
    "a cached block that is none": "SELECT * FROM cache WHERE block NOT IN (SELECT id FROM blocks)",
    "a doomed hold": "SELECT id FROM holds WHERE state = 2",
    "dead bytes": "SELECT * FROM dead",
    "a miscounted hold": "SELECT id FROM holds WHERE (done_blocks, done_bytes) IS NOT (SELECT count(*),"
    " ifnull(sum(length), 0) FROM refs JOIN blocks ON blocks.id = block WHERE hold = holds.id)",
    "a finished hold of no site": "SELECT id FROM holds WHERE state = 1"
    " AND kind = 0 AND id NOT IN (SELECT hold FROM sites WHERE hold IS NOT NULL)",
    "a site whose hold is not finished": "SELECT id FROM sites WHERE hold IS NOT NULL"
    " AND hold NOT IN (SELECT id FROM holds WHERE state = 1)",
    "a finished hold that is not whole": "SELECT id FROM holds WHERE state = 1"
    " AND (done_blocks, done_bytes) IS NOT (max_blocks, max_bytes)",
    "a wrong total": "SELECT * FROM totals WHERE (held_blocks, held_bytes, cache_blocks, cache_bytes) IS NOT"
    " (SELECT count(*) FILTER (WHERE NOT cached), ifnull(sum(length) FILTER (WHERE NOT cached), 0),"
    " count(*) FILTER (WHERE cached), ifnull(sum(length) FILTER (WHERE cached), 0)"
    " FROM (SELECT length, id IN (SELECT block FROM cache) AS cached FROM blocks))",
    "a pack synced beyond its end": "SELECT id FROM packs WHERE synced_bytes > size_bytes",
    "a held release without a note": "SELECT sites.id FROM sites JOIN holds ON holds.id = sites.hold"
    " WHERE (SELECT count(*) FROM notes WHERE notes.release_cid = holds.release_cid) <> 1",
    "an end without a note": "SELECT id FROM sites WHERE ended = 1 AND was_held = 1"
    " AND (SELECT count(*) FROM notes WHERE notes.owner = sites.site) <> 1",
    "a kept tree without a note": "SELECT id FROM holds WHERE state = 1 AND kind > 0"
    " AND (SELECT count(*) FROM notes WHERE notes.release_cid = holds.release_cid) <> 1",
    "a tree that is kept twice": "SELECT owner FROM holds WHERE state = 1 AND kind > 0"
    " GROUP BY owner HAVING count(*) > 1",
    "a block under CIDv0": "SELECT id FROM blocks WHERE substr(cid, 1, 1) = X'12'",
    "a note of nothing": "SELECT notes.id FROM notes LEFT JOIN sites ON sites.site = notes.owner LEFT JOIN holds"
    " ON holds.id = sites.hold WHERE holds.release_cid IS NOT notes.release_cid AND sites.ended IS NOT 1"
    " AND notes.release_cid NOT IN (SELECT release_cid FROM holds WHERE state = 1 AND kind > 0)",
    "a block of no pack": "SELECT id FROM blocks WHERE pack NOT IN (SELECT id FROM packs)",
}


def problems(directory: Path) -> list[str]:
    """What is wrong with the store that nobody writes to at the moment; blocks marked corrupt are let be."""
    with closing(sqlite3.connect(directory / layout.DATABASE_NAME)) as connection:
        found = [
            f"{name}: {rows}"
            for name, query in _MUST_BE_EMPTY.items()
            if (rows := connection.execute(query).fetchall())
        ]
        if connection.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
            found.append("the database is damaged")
        packs = dict(connection.execute("SELECT id, size_bytes FROM packs"))
        for pack, size in packs.items():
            sections = connection.execute(
                "SELECT start, span, cid, corrupt FROM blocks WHERE pack = ? AND start < ? ORDER BY start", (pack, size)
            )
            notes = connection.execute("SELECT start, span, release_cid FROM notes WHERE pack = ?", (pack,)).fetchall()
            found += _pack_problems(layout.pack_path(directory, pack), size, sections.fetchall(), notes)
    names = {path.name for path in layout.packs_dir(directory).iterdir()}
    if names != {layout.pack_name(pack) for pack in packs}:
        found.append(f"packs on disk {names}, in the index {sorted(packs)}")
    return found


def _pack_problems(
    path: Path, size: int, rows: list[tuple[int, int, bytes, int]], notes: list[tuple[int, int, bytes]]
) -> list[str]:
    raw = path.read_bytes()
    if len(raw) != size:
        return [f"{path.name} has {len(raw)} bytes, the index says {size}"]
    damaged = {start for start, _, _, corrupt in rows if corrupt}
    in_notes = {at for start, span, _ in notes for at in range(start, start + span)}
    all_sections = list(_sections(raw))
    noted = [(start + span, bytes(cid)) for start, span, cid in all_sections if start in in_notes]
    if sorted(noted)[1::2] != sorted((start + span, cid) for start, span, cid in notes):
        return [f"{path.name} holds the notes {noted}, the index says {notes}"]
    sections = [
        (start, span, bytes(cid), int(start in damaged)) for start, span, cid in all_sections if start not in in_notes
    ]
    if sections != rows:
        return [f"{path.name} holds {sections}, the index says {rows}"]
    return [
        f"{path.name} has wrong bytes at {start}"
        for start, span, cid, corrupt in rows
        if not corrupt and not _matches(Cid(cid), raw[start : start + span])
    ]


def _matches(cid: Cid, section: bytes) -> bool:
    prefix = section.index(cid) + len(cid)
    cid.verify(section[prefix:])
    return section[:prefix] == car.section_prefix(cid, len(section) - prefix)


def _sections(raw: bytes) -> Iterator[tuple[int, int, Cid]]:
    """(start, span, CID) of each; zeros between sections are what deleted blocks leave."""
    assert raw.startswith(HEADER)
    at = len(HEADER)
    while at < len(raw):
        if raw[at] == 0:
            at += 1
            continue
        length, begin = varint.decode(raw, at)
        cid, _ = read_cid(raw, begin)
        yield at, begin + length - at, cid
        at = begin + length
