"""What is held, written in the packs, so that a lost index can be made anew from them (docs/spec/store.md, "Notes").

A note is two sections: a mark, which is an identity CID that no peer can have put there, and a release or a tree's
record.
Functions over an open transaction; nothing here is durable by itself.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from node.store.layout import FINISHED
from node.store.packs import PackWriter, Place
from node.store.port import Origin, TreeOrigin
from node.store.sites import decode_release
from protocol import car
from protocol.cid import RAW, Cid
from protocol.release import SignedRelease

END: Final = "end"
TREES: Final = tuple(str(origin) for origin in TreeOrigin)
KINDS: Final = (*(str(origin) for origin in Origin), END, *TREES)
"""Of a note: how the held release or tree came here, or that the release ended its site."""

_IDENTITY_RAW: Final = b"\x01\x55\x00"
_PREFIX: Final = b"fednode "

_NEEDED: Final = (
    "(EXISTS (SELECT 1 FROM sites LEFT JOIN holds ON holds.id = sites.hold WHERE sites.site = notes.owner"
    " AND (holds.release_cid = notes.release_cid OR (sites.ended = 1 AND notes.kind = 'end')))"
    " OR EXISTS (SELECT 1 FROM holds WHERE holds.owner = notes.owner AND holds.state = 1 AND holds.kind > 0"
    " AND holds.release_cid = notes.release_cid))"
)


@dataclass(frozen=True, slots=True)
class Note:
    """`owner` is a site id or the root of a tree; `payload` the signed release or the tree's record."""

    owner: bytes
    kind: str
    payload: bytes

    @classmethod
    def of(cls, signed: SignedRelease, kind: str) -> Note:
        return cls(signed.site, kind, signed.encode())

    @property
    def cid(self) -> Cid:
        return Cid.of(RAW, self.payload)

    def __str__(self) -> str:
        return f"{self.kind} {Cid(self.owner) if self.kind in TREES else self.owner.hex()}"


def mark(kind: str) -> tuple[Cid, bytes]:
    """The section before the release; its CID carries its bytes."""
    text = _PREFIX + kind.encode()
    return Cid(_IDENTITY_RAW + bytes((len(text),)) + text), text


MARKS: Final = {mark(kind)[0]: kind for kind in KINDS}


def sections(note: Note) -> list[tuple[Cid, bytes]]:
    return [mark(note.kind), (note.cid, note.payload)]


def encoded(note: Note) -> bytes:
    """A note as it stands in a pack."""
    return b"".join(car.section_prefix(cid, len(data)) + data for cid, data in sections(note))


def write(tx: sqlite3.Connection, packs: PackWriter, note: Note) -> list[Place]:
    """Append the note; the places are for `packs.committed`."""
    places = packs.append(tx, sections(note))
    tx.execute(
        "INSERT INTO notes (owner, release_cid, kind, pack, start, span) VALUES (?, ?, ?, ?, ?, ?)",
        (note.owner, note.cid, note.kind, places[0].pack, places[0].start, sum(place.span for place in places)),
    )
    return places


def has(tx: sqlite3.Connection, note: Note) -> bool:
    found = tx.execute("SELECT 1 FROM notes WHERE release_cid = ? LIMIT 1", (note.cid,)).fetchone()
    return found is not None


def free(tx: sqlite3.Connection, owner: bytes | None) -> None:
    """The notes of a site or tree, or of all, that no longer say what the index says become dead."""
    where = f"NOT {_NEEDED}" + ("" if owner is None else " AND owner = ?")
    bound = () if owner is None else (owner,)
    tx.execute(f"INSERT INTO dead SELECT pack, start, span FROM notes WHERE {where}", bound)  # noqa: S608 - constants
    tx.execute(f"DELETE FROM notes WHERE {where}", bound)  # noqa: S608


def missing(tx: sqlite3.Connection) -> Iterator[Note]:
    """Held and ended releases and trees that no pack has yet: of an earlier layout, or of a full disk."""
    held = tx.execute(
        "SELECT holds.release, ifnull(sites.origin, 'published') FROM sites JOIN holds ON holds.id = sites.hold"
        " WHERE NOT EXISTS (SELECT 1 FROM notes WHERE notes.release_cid = holds.release_cid)"
    )
    for raw, origin in held:
        yield Note.of(decode_release(raw), origin)
    ended = tx.execute(
        "SELECT head FROM sites WHERE ended = 1 AND was_held = 1"
        " AND NOT EXISTS (SELECT 1 FROM notes WHERE notes.owner = sites.site AND notes.kind = 'end')"
    )
    for (raw,) in ended:
        yield Note.of(decode_release(raw), END)
    trees = tx.execute(
        "SELECT owner, origin, release FROM holds WHERE state = ? AND kind > 0"
        " AND NOT EXISTS (SELECT 1 FROM notes WHERE notes.release_cid = holds.release_cid)",
        (FINISHED,),
    )
    for owner, origin, payload in trees:
        yield Note(owner, origin, payload)
