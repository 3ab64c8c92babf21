"""Statements are as far apart as all members can bear; news goes to a few, and not back."""

import random

from hypothesis import given
from hypothesis import strategies as st

from node.core.gossip import NEWS_MAX, RENEW_S, SOON_S, SPREAD_PEERS, STATEMENTS_A_S, News, Restating, apart_s
from protocol.limits import STATEMENT_VALID_S
from protocol.site_id import SiteId

NODES = [SiteId(bytes([number]) * 32) for number in range(5)]


def restating() -> Restating:
    found = Restating(random.Random(1))
    found.made(0.0)
    return found


@given(st.integers(1, 20_000))
def test_all_members_together_make_so_many_statements_and_no_more(members: int) -> None:
    assert members / apart_s(members) <= STATEMENTS_A_S * 1.001
    assert apart_s(members) >= SOON_S
    assert apart_s(20_000) < 3600  # so that a site that came here is known within the grace period


def test_other_sites_wait_until_the_last_statement_is_long_ago_and_an_address_does_not() -> None:
    state = restating()
    assert not state.due(10.0, 5000, urgent=True, changed=True)
    assert state.due(SOON_S, 5000, urgent=True, changed=True)
    assert not state.due(100.0, 5000, urgent=False, changed=True)
    assert state.due(500.0, 5000, urgent=False, changed=True)
    assert state.due(SOON_S, 50, urgent=False, changed=True)


def test_what_has_not_changed_is_stated_again_before_it_is_no_longer_valid() -> None:
    state = restating()
    assert not state.due(RENEW_S * 0.7, 100, urgent=False, changed=False)
    assert state.due(RENEW_S, 100, urgent=False, changed=False)
    assert 2 * RENEW_S < STATEMENT_VALID_S


def test_news_goes_to_a_few_peers_once_and_not_to_whom_it_came_from() -> None:
    news = News(random.Random(1))
    news.note(NODES[0], None)
    news.note(NODES[1], "a")
    told = news.take([str(number) for number in range(10)])
    assert len(told) == SPREAD_PEERS
    assert all(nodes == NODES[:2] for nodes in told.values())
    assert news.take(["a"]) == {}
    news.note(NODES[1], "a")
    assert news.take(["a"]) == {}


def test_news_is_bounded() -> None:
    news = News(random.Random(1))
    for number in range(NEWS_MAX + 10):
        news.note(SiteId(number.to_bytes(32, "big")), None)
    (nodes,) = news.take(["a"]).values()
    assert len(nodes) == NEWS_MAX
    assert SiteId(bytes(32)) not in nodes
