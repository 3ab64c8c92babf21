"""When a host of a site with too many goes: with fresh proofs of those that stay, however often it hosted it."""

from node.core import effects as fx
from node.core.copies import GRACE_S, Copies
from node.core.letting_go import ASK_AGAIN_S, FRESH_S, LettingGo
from node.core.placement import Member, Orders
from protocol.site_id import SiteId

SITE = SiteId(b"\7" * 32)
HOSTS = [SiteId(number.to_bytes(32, "big")) for number in range(1, 5)]


def town() -> tuple[LettingGo, Copies, list[SiteId]]:
    """The last of four hosts in the site's order, the copies of the others, and these."""
    orders, copies = Orders(), Copies()
    for node in HOSTS:
        orders.set(Member(node, 1))
    *others, me = [member.node for member in orders.first(SITE, 4)]
    return LettingGo(me, orders, copies), copies, others


def host(copies: Copies, others: list[SiteId], now_s: float) -> None:
    copies.watch(SITE)
    for node in others:
        copies.stated(now_s, SITE, node)


def test_the_last_goes_once_the_first_have_proved_it() -> None:
    letting_go, copies, others = town()
    host(copies, others, 0.0)
    assert letting_go.look(0.0, SITE, others, 3) == []
    asked = letting_go.look(GRACE_S, SITE, others, 3)
    assert asked == [fx.Audit(node, (SITE,)) for node in others]
    assert letting_go.look(GRACE_S + 1, SITE, others, 3) == []
    for node in others:
        copies.proved(GRACE_S + 2, SITE, node)
    assert letting_go.look(GRACE_S + 3, SITE, others, 3) == [fx.LetGo(SITE)]


def test_one_of_the_first_stays() -> None:
    letting_go, copies, others = town()
    host(copies, others, 0.0)
    assert letting_go.look(0.0, SITE, others[:2], 3) == []
    assert letting_go.look(2 * GRACE_S, SITE, others[:2], 3) == []


def test_what_was_asked_before_it_went_is_asked_again_when_it_is_back() -> None:
    letting_go, copies, others = town()
    host(copies, others, 0.0)
    letting_go.look(0.0, SITE, others, 3)
    letting_go.look(GRACE_S, SITE, others, 3)
    for node in others:
        copies.proved(GRACE_S, SITE, node)
    assert letting_go.look(GRACE_S, SITE, others, 3) == [fx.LetGo(SITE)]
    copies.unwatch(SITE)
    host(copies, others, GRACE_S + 1)
    letting_go.look(GRACE_S + 1, SITE, others, 3, wait_s=0.0)
    asked = letting_go.look(GRACE_S + ASK_AGAIN_S, SITE, others, 3, wait_s=0.0)
    assert ASK_AGAIN_S < FRESH_S
    assert asked == [fx.Audit(node, (SITE,)) for node in others]
