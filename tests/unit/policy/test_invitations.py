"""Whom the operator invited: for how long, for how many sites, and over a restart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.policy import invitations as module
from node.policy.invitations import BadInvitation, Invitations, InvitationsFailed
from node.policy.model import Publisher
from protocol.errors import DecodeError
from protocol.invitation import NODE_BYTES, PREFIX, Invitation, parse_invitation
from protocol.limits import INVITATION_SECRET_BYTES
from protocol.site_id import SiteId

NODE, OTHER_NODE = SiteId(b"\x01" * 32), SiteId(b"\x02" * 32)
SITES = [SiteId(bytes([number]) * 32) for number in range(10, 15)]
BEGIN_S = 1_800_000_000


class Book:
    """Invitations and their clock."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "invitations.db"
        self.now_s = BEGIN_S
        self.open()

    def open(self) -> None:
        self.invitations = Invitations(self.path, now_s=lambda: self.now_s)

    def issue(self, *, sites_max: int = 1, quota_bytes: int | None = None) -> tuple[int, bytes]:
        issued, secret = self.invitations.issue(
            note="Ann", until_s=BEGIN_S + 60, sites_max=sites_max, quota_bytes=quota_bytes
        )
        return issued.number, secret


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    found = Book(tmp_path)
    yield found
    found.invitations.close()


def test_sites_that_came_with_one_invitation_are_one_publisher(book: Book) -> None:
    _, secret = book.issue(sites_max=2, quota_bytes=5000)
    _, other = book.issue()
    assert book.invitations.publishers() == {}
    assert book.invitations.redeem(secret, SITES[0])
    assert book.invitations.redeem(secret, SITES[1])
    assert book.invitations.redeem(other, SITES[2])
    both = Publisher(frozenset(SITES[:2]), 5000)
    assert book.invitations.publishers() == {
        SITES[0]: both,
        SITES[1]: both,
        SITES[2]: Publisher(frozenset([SITES[2]]), None),
    }


def test_a_site_comes_once_however_often_it_shows_the_invitation(book: Book) -> None:
    _, secret = book.issue()
    assert book.invitations.redeem(secret, SITES[0])
    book.now_s += 3600  # it has ended for others
    assert not book.invitations.redeem(secret, SITES[0])
    with pytest.raises(BadInvitation, match="has ended"):
        book.invitations.redeem(secret, SITES[1])


def test_one_that_is_used_up_taken_back_or_not_known(book: Book) -> None:
    number, secret = book.issue()
    book.invitations.redeem(secret, SITES[0])
    with pytest.raises(BadInvitation, match="used up"):
        book.invitations.redeem(secret, SITES[1])
    revoked = book.invitations.revoke(number)
    assert revoked is not None
    assert (revoked.revoked_s, revoked.sites) == (BEGIN_S, (SITES[0],))
    for site in SITES[:2]:
        with pytest.raises(BadInvitation, match="took the invitation back"):
            book.invitations.redeem(secret, site)
    assert book.invitations.publishers() == {}
    with pytest.raises(BadInvitation, match="does not know"):
        book.invitations.redeem(bytes(INVITATION_SECRET_BYTES), SITES[0])
    assert book.invitations.revoke(99) is None


def test_what_was_withdrawn_leaves_room_for_another(book: Book) -> None:
    _, secret = book.issue()
    book.invitations.redeem(secret, SITES[0])
    book.invitations.withdraw(SITES[0])
    assert book.invitations.redeem(secret, SITES[1])


def test_a_site_stays_with_its_invitation_until_that_is_taken_back(book: Book) -> None:
    first, secret = book.issue()
    number, other = book.issue(quota_bytes=9)
    book.invitations.redeem(secret, SITES[0])
    assert not book.invitations.redeem(other, SITES[0])  # by somebody who has its public release
    book.invitations.revoke(number)
    assert book.invitations.publishers()[SITES[0]].quota_bytes != 9
    book.invitations.revoke(first)
    assert SITES[0] not in book.invitations.publishers()
    _, third = book.issue(quota_bytes=9)
    assert book.invitations.redeem(third, SITES[0])
    assert book.invitations.publishers()[SITES[0]].quota_bytes == 9


def test_they_are_there_after_a_restart_and_the_secret_is_nowhere(book: Book) -> None:
    _, secret = book.issue()
    book.invitations.redeem(secret, SITES[0])
    before = book.invitations.show()
    book.invitations.close()
    assert all(secret not in path.read_bytes() for path in book.path.parent.iterdir())
    assert book.path.stat().st_mode & 0o777 == 0o600
    book.open()
    assert book.invitations.show() == before
    assert [(each.note, each.sites) for each in before] == [("Ann", (SITES[0],))]


def test_there_are_only_so_many(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INVITATIONS_MAX", 2)
    used, secret = book.issue()
    book.invitations.redeem(secret, SITES[0])
    book.issue()
    with pytest.raises(InvitationsFailed):
        book.issue()
    book.now_s += 60  # both have ended; the one with a site stays
    number, _ = book.issue()
    assert [each.number for each in book.invitations.show()] == [number, used]


def test_an_invitation_says_whose_it_is() -> None:
    invitation = Invitation.to(NODE, bytes(range(16)))
    text = str(invitation)
    assert text.startswith("invite-a")
    assert len(text) == 47
    assert parse_invitation(text) == invitation
    assert parse_invitation(f"  {text.upper()}\n") == invitation
    assert invitation.is_of(NODE)
    assert not invitation.is_of(OTHER_NODE)


@given(st.binary(min_size=NODE_BYTES, max_size=NODE_BYTES), st.binary(min_size=16, max_size=16))
def test_an_invitation_comes_back(node: bytes, secret: bytes) -> None:
    invitation = Invitation(node, secret)
    assert parse_invitation(str(invitation)) == invitation


@given(st.text(max_size=60) | st.text("abcdefgh234567", max_size=60).map(PREFIX.__add__))
def test_any_text_is_an_invitation_or_refused(text: str) -> None:
    try:
        found = parse_invitation(text)
    except DecodeError:
        return
    assert str(found) == text.strip().lower()
