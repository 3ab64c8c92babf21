"""Which statements are taken, and for how long."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.core.members import AHEAD_MAX_S, NETWORK_MEMBERS, Clock, Members
from node.core.networks import PRIVATE, network_of
from protocol.limits import STATEMENT_VALID_S
from protocol.site_filter import SiteFilter
from protocol.site_id import SiteId
from protocol.statement import SignedStatement, Statement, Takes, sign_statement

NOW_S = 1_800_000_000
SITE = SiteId(b"\1" * 32)


def stated(number: int, made_s: int = NOW_S, takes: Takes = Takes.OPEN) -> SignedStatement:
    key = Ed25519PrivateKey.from_private_bytes(number.to_bytes(32, "big"))
    return sign_statement(Statement(SiteId.of(key), made_s, (), takes, 0, 0, SiteFilter()), key)


def test_the_later_statement_counts() -> None:
    members = Members()
    assert members.take(NOW_S, stated(1), "")
    assert not members.take(NOW_S, stated(1), "")
    assert not members.take(NOW_S, stated(1, NOW_S - 1), "")
    assert members.take(NOW_S, stated(1, NOW_S + 1, Takes.NONE), "")
    known = members.get(stated(1).node)
    assert known is not None
    assert not known.willing


@pytest.mark.parametrize("made_s", [NOW_S - STATEMENT_VALID_S, NOW_S + AHEAD_MAX_S + 1, 0, 2**37])
def test_too_old_and_too_new_ones_are_refused(made_s: int) -> None:
    assert not Members().take(NOW_S, stated(1, made_s), "")


def test_what_was_taken_by_a_wrong_clock_does_not_stand_in_the_way_when_it_is_right_again() -> None:
    members, years_s = Members(), 10 * 365 * 86_400
    assert members.take(NOW_S + years_s, stated(1, NOW_S + years_s), "")
    assert members.take(NOW_S, stated(1), "")
    assert not members.take(NOW_S, stated(1, NOW_S + years_s), "")
    assert members.expire(NOW_S + STATEMENT_VALID_S) == [stated(1).node]


def test_a_member_that_is_silent_is_forgotten() -> None:
    members = Members()
    members.take(NOW_S, stated(1), "")
    members.take(NOW_S, stated(2, NOW_S + 10), "")
    assert members.expire(NOW_S + STATEMENT_VALID_S) == [stated(1).node]
    assert [known.signed.node for known in members] == [stated(2).node]
    assert [member.node for member in members.orders.first(SITE, 9)] == [stated(2).node]


def test_only_the_willing_are_in_the_order() -> None:
    members = Members()
    for number, takes in enumerate(Takes, start=1):
        members.take(NOW_S, stated(number, takes=takes), "")
    assert len(members) == len(Takes)
    assert [member.node for member in members.orders.first(SITE, 9)] == [stated(1).node]


def test_one_network_gets_a_share_of_the_places() -> None:
    members = Members()
    taken = sum(members.take(NOW_S, stated(number), "203.0.0.0/16") for number in range(1, 40))
    assert taken == NETWORK_MEMBERS
    assert members.take(NOW_S, stated(50), "198.51.0.0/16")
    assert members.take(NOW_S + 1, stated(1, NOW_S + 1), "203.0.0.0/16")


def clock_of(*shown_s: float) -> Clock:
    """After so many peers said, at 0, what their clocks show."""
    clock = Clock()
    for number, their_wall_s in enumerate(shown_s):
        clock.heard(SiteId(bytes([number]) * 32), 0.0, their_wall_s)
    return clock


def test_a_clock_is_put_right_only_when_most_peers_say_so() -> None:
    assert clock_of(86_400, 86_401).off_s == 0.0
    assert clock_of(86_400, 86_401, 86_402).now_s(100.0) == 86_501.0
    assert clock_of(0, 1, 2, 3, 10**9, 10**9).off_s == 0.0


def test_each_peer_has_one_voice() -> None:
    clock = clock_of(0, 1, 2)
    for _ in range(100):
        clock.heard(SiteId(b"\7" * 32), 0.0, 10**9)
    assert clock.off_s == 0.0


@pytest.mark.parametrize(
    ("addresses", "network"),
    [
        (["/ip4/8.8.4.4/tcp/4101"], "8.8.0.0/16"),
        (["/dns4/a.example/tcp/1", "/ip6/2a01:4f8:1::1/tcp/1"], "2a01:4f8::/32"),
        (["/ip4/127.0.0.1/tcp/1", "/ip4/8.8.4.4/tcp/1"], PRIVATE),
        (["/ip4/nonsense/tcp/1", "/x", ""], PRIVATE),
        ([], PRIVATE),
    ],
)
def test_networks(addresses: list[str], network: str) -> None:
    assert network_of(addresses, among_private=False) == network
    assert network_of(addresses, among_private=True) == ("" if network == PRIVATE else network)
