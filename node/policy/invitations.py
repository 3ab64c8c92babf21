"""Whom the operator invited, in `invitations.db`: invitations by the hash of their secret, and the sites that came with
them (docs/spec/policy.md, "Invitations")."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Final

from node.databases import Database, Kind
from node.policy.model import Publisher
from protocol.errors import OperatorError, PeerError
from protocol.limits import INVITATION_SECRET_BYTES
from protocol.site_id import SiteId

INVITATIONS_MAX: Final = 10_000
"""That are kept, those included that ended; one without a site goes when it has ended and there is no more room."""

SITES_MAX: Final = 100
"""That one invitation can be for."""

_SCHEMA: Final = """
CREATE TABLE invitations (
    number INTEGER PRIMARY KEY AUTOINCREMENT, hash BLOB NOT NULL UNIQUE, note TEXT NOT NULL, created_s INTEGER NOT NULL,
    until_s INTEGER NOT NULL, sites_max INTEGER NOT NULL, quota_bytes INTEGER, revoked_s INTEGER
);
CREATE TABLE invited (
    site BLOB PRIMARY KEY, invitation INTEGER NOT NULL REFERENCES invitations (number), since_s INTEGER NOT NULL
);
CREATE INDEX invited_by_invitation ON invited (invitation)
"""


class InvitationsFailed(OperatorError):
    """The invitations cannot be read or written, or there are too many."""

    code: ClassVar[str] = "invitations-failed"


class BadInvitation(PeerError):
    """The secret opens nothing here, or nothing any more."""

    code: ClassVar[str] = "bad-invitation"


FILE: Final = Kind("the invitations", 1, _SCHEMA, InvitationsFailed, upgrades={})


@dataclass(frozen=True, slots=True)
class Issued:
    """One invitation. until_s: when its secret ends; what came with it stays invited until it is revoked."""

    number: int
    note: str
    created_s: int
    until_s: int
    sites_max: int
    quota_bytes: int | None
    revoked_s: int | None
    sites: tuple[SiteId, ...] = ()


class Invitations:
    """Methods block on the disk and may be called from any thread. Raise InvitationsFailed; then nothing changed."""

    def __init__(self, path: Path, *, now_s: Callable[[], int]) -> None:
        self._now_s = now_s
        self._database = Database(FILE, path)

    def close(self) -> None:
        self._database.close()

    def issue(self, *, note: str, until_s: int, sites_max: int, quota_bytes: int | None) -> tuple[Issued, bytes]:
        """A new one and its secret, which is kept nowhere."""
        secret = secrets.token_bytes(INVITATION_SECRET_BYTES)
        now_s = self._now_s()
        with self._database.writing() as database:
            self._make_room(database, now_s)
            number = database.execute(
                "INSERT INTO invitations (hash, note, created_s, until_s, sites_max, quota_bytes) VALUES (?,?,?,?,?,?)",
                (_hash(secret), note, now_s, until_s, sites_max, quota_bytes),
            ).lastrowid
        return Issued(number or 0, note, now_s, until_s, sites_max, quota_bytes, None), secret

    def redeem(self, secret: bytes, site: SiteId) -> bool:
        """Takes the site in; False when it is invited already, by whichever invitation. BadInvitation.

        Whoever has an invitation may offer anybody's release: that must not move a site to an invitation of theirs.
        """
        with self._database.writing() as database:
            row = database.execute(
                "SELECT number, until_s, sites_max, revoked_s FROM invitations WHERE hash = ?", (_hash(secret),)
            ).fetchone()
            if row is None:
                raise BadInvitation("this node does not know the invitation")
            number, until_s, sites_max, revoked_s = row
            if revoked_s is not None:
                raise BadInvitation("the operator took the invitation back")
            (holding,) = database.execute(
                "SELECT count(*) FROM invited JOIN invitations ON number = invitation"
                " WHERE site = ? AND revoked_s IS NULL",
                (bytes(site),),
            ).fetchone()
            if holding:
                return False
            if until_s <= self._now_s():
                raise BadInvitation("the invitation has ended")
            (used,) = database.execute("SELECT count(*) FROM invited WHERE invitation = ?", (number,)).fetchone()
            if used >= sites_max:
                raise BadInvitation(f"the invitation was for {sites_max} site(s) and is used up")
            database.execute("INSERT OR REPLACE INTO invited VALUES (?,?,?)", (bytes(site), number, self._now_s()))
            return True

    def withdraw(self, site: SiteId) -> None:
        """The site does not count any more: it was refused for another reason."""
        with self._database.writing() as database:
            database.execute("DELETE FROM invited WHERE site = ?", (bytes(site),))

    def revoke(self, number: int) -> Issued | None:
        """The invitation as it is then; None when there is no such one. Its sites are invited no more."""
        with self._database.writing() as database:
            database.execute(
                "UPDATE invitations SET revoked_s = ? WHERE number = ? AND revoked_s IS NULL", (self._now_s(), number)
            )
        return next((each for each in self.show() if each.number == number), None)

    def show(self) -> list[Issued]:
        """All, the newest first."""
        with self._database.reading() as database:
            sites: dict[int, list[SiteId]] = {}
            for site, number in database.execute("SELECT site, invitation FROM invited ORDER BY since_s, site"):
                sites.setdefault(number, []).append(SiteId(site))
            rows = database.execute(
                "SELECT number, note, created_s, until_s, sites_max, quota_bytes, revoked_s FROM invitations"
                " ORDER BY number DESC"
            ).fetchall()
        return [replace(Issued(*row), sites=tuple(sites.get(row[0], ()))) for row in rows]

    def publishers(self) -> Mapping[SiteId, Publisher]:
        """Who is invited, by each of their sites."""
        found: dict[SiteId, Publisher] = {}
        for each in self.show():
            if each.revoked_s is None:
                found.update(dict.fromkeys(each.sites, Publisher(frozenset(each.sites), each.quota_bytes)))
        return found

    def _make_room(self, database: sqlite3.Connection, now_s: int) -> None:
        (kept,) = database.execute("SELECT count(*) FROM invitations").fetchone()
        if kept < INVITATIONS_MAX:
            return
        gone = database.execute(
            "DELETE FROM invitations WHERE (revoked_s IS NOT NULL OR until_s <= ?)"
            " AND number NOT IN (SELECT invitation FROM invited)",
            (now_s,),
        ).rowcount
        if not gone:
            raise InvitationsFailed(f"{INVITATIONS_MAX} invitations are in use", hint="fednode invite list")


def _hash(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()
