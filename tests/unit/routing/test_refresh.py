"""Names that the operator wants, looked for again before their records are stale."""

from __future__ import annotations

import pytest
import trio

from node.policy.decide import Policy
from node.policy.model import Hosting, Rule
from node.replication.driver import Replicator
from node.replication.gate import Gate
from node.routing import refresh
from node.routing.names import fresh_for_s
from node.routing.refresh import AGAIN_S, AT_A_TIME, VAIN_S, NameRefresh
from protocol.denylist import NamePath
from protocol.ipns import IpnsRecord
from tests.unit.routing.test_names import Bed, Name, bed

HOUR_S = 3600


def refresh_of(here: Bed, *rules: Rule) -> NameRefresh:
    context = Replicator(here.store, here.network, Gate(Policy(rules, Hosting("none")))).context
    return NameRefresh(context, here.names, now_s=lambda: here.now_s)


def sequence(here: Bed, name: Name) -> int:
    row = here.store.name(name.multihash)
    assert row is not None
    return IpnsRecord.decode(row.record).sequence


@pytest.mark.parametrize(
    ("ttl_s", "valid_s", "not_yet_s", "due_s"),
    [
        (10 * HOUR_S, 999 * HOUR_S, 7 * HOUR_S, 9.6 * HOUR_S),
        (1000 * HOUR_S, 999 * HOUR_S, 19 * HOUR_S, 23 * HOUR_S),  # a day is the most that is believed
        (20 * HOUR_S, 5 * HOUR_S, 3 * HOUR_S, 4.1 * HOUR_S),  # the end comes first
        (60, 999 * HOUR_S, AGAIN_S - 10, AGAIN_S + 10),
    ],
)
async def test_a_name_is_looked_for_when_it_is_due(ttl_s: int, valid_s: int, not_yet_s: float, due_s: float) -> None:
    kept, seen = Name(), Name()
    async with bed() as here:
        for name in (kept, seen):
            here.store.save_name(name.multihash, name.record(ttl_s=ttl_s, valid_s=valid_s), kept=name is kept)
            await here.other.put_ipns(name.multihash, name.record(seq=2, valid_s=999 * HOUR_S))
        again = refresh_of(here)
        began_s = here.now_s
        here.now_s = began_s + not_yet_s
        await again.refresh_due()
        assert sequence(here, kept) == 1
        here.now_s = began_s + due_s
        await again.refresh_due()
        assert (sequence(here, kept), sequence(here, seen)) == (2, 1)
        assert [row.name for row in here.store.names(kept_only=True)] == [kept.multihash]


async def test_many_names_do_not_hold_the_loop_up(monkeypatch: pytest.MonkeyPatch) -> None:
    on_the_loop = 0

    def counted(record: IpnsRecord, now_s: float) -> int:
        nonlocal on_the_loop
        on_the_loop += trio.lowlevel.in_trio_run()
        return fresh_for_s(record, now_s)

    monkeypatch.setattr(refresh, "fresh_for_s", counted)
    names = [Name() for _ in range(3 * AT_A_TIME)]
    async with bed() as here:
        for name in names:
            here.store.save_name(name.multihash, name.record(), kept=True)
            await here.other.put_ipns(name.multihash, name.record(seq=2))
        here.now_s += HOUR_S
        refused = [Rule(NamePath(each.site, "", False), "refuse", "policy", "no", 1) for each in names[: 2 * AT_A_TIME]]
        await refresh_of(here, *refused).refresh_due()
        assert [sequence(here, each) for each in names] == [1] * 2 * AT_A_TIME + [2] * AT_A_TIME
        assert on_the_loop == 0


async def test_what_is_not_found_is_tried_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    name = Name()
    asked: list[bytes] = []
    async with bed() as here:
        here.store.save_name(name.multihash, name.record(), kept=True)
        again = refresh_of(here)
        found = here.names.refresh

        async def count(multihash: bytes) -> bool:
            asked.append(multihash)
            return await found(multihash)

        monkeypatch.setattr(here.names, "refresh", count)
        here.now_s += 2 * HOUR_S  # it has expired meanwhile
        for wait_s, times in ((0, 1), (VAIN_S - 10, 1), (20, 2)):
            here.now_s += wait_s
            await again.refresh_due()
            assert len(asked) == times


async def test_few_at_a_time_and_none_that_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [Name() for _ in range(AT_A_TIME + 2)]
    asked: list[bytes] = []

    async def count(multihash: bytes) -> bool:
        asked.append(multihash)
        return True

    async with bed() as here:
        for name in names:
            here.store.save_name(name.multihash, name.record(), kept=True)
        again = refresh_of(here, Rule(NamePath(names[0].site, "", False), "refuse", "policy", "no", 1))
        monkeypatch.setattr(here.names, "refresh", count)
        here.now_s += refresh.VAIN_S
        await again.refresh_due()
        assert len(asked) == AT_A_TIME
        await again.refresh_due()
        assert sorted(asked) == sorted(name.multihash for name in names[1:])
