"""Releases written in the packs, so that a lost index can be made anew from them (docs/spec/store.md, "Notes").

A note is two sections: a mark, which is an identity CID that no peer can have put there, and the release.
Functions over an open transaction; nothing here is durable by itself.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Final

from node.store.packs import PackWriter, Place
from node.store.port import Origin
from node.store.sites import decode_release
from protocol import car
from protocol.cid import Cid
from protocol.release import SignedRelease
from protocol.site_id import SiteId

END: Final = "end"
KINDS: Final = (*(str(origin) for origin in Origin), END)
"""Of a note: how the held release came here, or that the release ended its site."""

_IDENTITY_RAW: Final = b"\x01\x55\x00"
_PREFIX: Final = b"fednode "

_NEEDED: Final = (
    "EXISTS (SELECT 1 FROM sites LEFT JOIN holds ON holds.id = sites.hold WHERE sites.site = notes.site"
    " AND (holds.release_cid = notes.release_cid OR (sites.ended = 1 AND notes.kind = 'end')))"
)


def mark(kind: str) -> tuple[Cid, bytes]:
    """The section before the release; its CID carries its bytes."""
    text = _PREFIX + kind.encode()
    return Cid(_IDENTITY_RAW + bytes((len(text),)) + text), text


MARKS: Final = {mark(kind)[0]: kind for kind in KINDS}


def sections(signed: SignedRelease, kind: str) -> list[tuple[Cid, bytes]]:
    return [mark(kind), (signed.cid, signed.encode())]


def encoded(signed: SignedRelease, kind: str) -> bytes:
    """A note as it stands in a pack."""
    return b"".join(car.section_prefix(cid, len(data)) + data for cid, data in sections(signed, kind))


def write(tx: sqlite3.Connection, packs: PackWriter, signed: SignedRelease, kind: str) -> list[Place]:
    """Append the note; the places are for `packs.committed`."""
    places = packs.append(tx, sections(signed, kind))
    tx.execute(
        "INSERT INTO notes (site, release_cid, kind, pack, start, span) VALUES (?, ?, ?, ?, ?, ?)",
        (signed.site, signed.cid, kind, places[0].pack, places[0].start, sum(place.span for place in places)),
    )
    return places


def has(tx: sqlite3.Connection, signed: SignedRelease) -> bool:
    found = tx.execute("SELECT 1 FROM notes WHERE release_cid = ? LIMIT 1", (signed.cid,)).fetchone()
    return found is not None


def free(tx: sqlite3.Connection, site: SiteId | None) -> None:
    """The notes of the site, or of all sites, that no longer say what the index says become dead."""
    where = f"NOT {_NEEDED}" + ("" if site is None else " AND site = ?")
    bound = () if site is None else (site,)
    tx.execute(f"INSERT INTO dead SELECT pack, start, span FROM notes WHERE {where}", bound)  # noqa: S608 - constants
    tx.execute(f"DELETE FROM notes WHERE {where}", bound)  # noqa: S608


def missing(tx: sqlite3.Connection) -> Iterator[tuple[SignedRelease, str]]:
    """Held and ended releases that no pack has yet: of an earlier layout, or of a full disk."""
    held = tx.execute(
        "SELECT holds.release, ifnull(sites.origin, 'published') FROM sites JOIN holds ON holds.id = sites.hold"
        " WHERE NOT EXISTS (SELECT 1 FROM notes WHERE notes.release_cid = holds.release_cid)"
    )
    for raw, origin in held:
        yield decode_release(raw), origin
    ended = tx.execute(
        "SELECT head FROM sites WHERE ended = 1 AND was_held = 1"
        " AND NOT EXISTS (SELECT 1 FROM notes WHERE notes.site = sites.site AND notes.kind = 'end')"
    )
    for (raw,) in ended:
        yield decode_release(raw), END
