"""The store on disk and its twin do the same, whatever is done to them, and index and packs agree throughout."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from node.store.port import Hold, HoldInfo, Origin, RuleRow, Store
from protocol.errors import FednodeError
from protocol.limits import SEQ_MAX
from protocol.release import SignedRelease
from tests.conformance.store_check import problems
from tests.conformance.store_kit import Bench, Publisher, blocks, scratch

POOL = list((blocks(1, 6, 200) | blocks(2, 3, 1500) | blocks(3, 1, 0)).items())
NAMES = [cid for cid, _ in POOL]
PUBLISHERS = [Publisher(seed) for seed in (1, 2)]

some_blocks = st.lists(st.integers(0, len(POOL) - 1), max_size=5)
a_release = st.tuples(
    st.sampled_from(PUBLISHERS),
    st.sampled_from([1, 1, 1, 2, 0, -1]),
    st.lists(st.integers(0, len(POOL) - 1), min_size=1, max_size=6, unique=True),
)
Wish = tuple[Publisher, int, list[int]]
"""Whose release, how much its sequence number is above the latest, which blocks."""


def outcome(call: Callable[[], object]) -> object:
    """What a call gives, or the kind of error that it raises."""
    try:
        return call()
    except (FednodeError, ValueError) as error:
        return type(error)


class Twins(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.cleanup = contextlib.ExitStack()
        path = self.cleanup.enter_context(scratch())
        self.disk = Bench("disk", path / "store", quota_bytes=9000, cache_bytes=2000)
        self.memory = Bench("memory", path, quota_bytes=9000, cache_bytes=2000)
        self.holds: list[tuple[Hold, Hold]] = []
        self.latest = dict.fromkeys((publisher.site for publisher in PUBLISHERS), 0)

    def teardown(self) -> None:
        self.disk.reopen()
        self.disk.close()
        found = problems(self.disk.directory)
        self.cleanup.close()
        assert found == []

    def both(self, call: Callable[[Store], object]) -> None:
        assert outcome(lambda: call(self.disk.store)) == outcome(lambda: call(self.memory.store))

    def both_with_hold(self, number: int, call: Callable[[Store, Hold], object]) -> None:
        on_disk, in_memory = self.holds[number % len(self.holds)]
        assert outcome(lambda: call(self.disk.store, on_disk)) == outcome(lambda: call(self.memory.store, in_memory))

    def signed_release(self, wish: Wish) -> SignedRelease:
        publisher, step, numbers = wish
        seq = max(1, self.latest[publisher.site] + step)
        self.latest[publisher.site] = max(seq, self.latest[publisher.site])
        return publisher.release(dict(POOL[number] for number in numbers), seq=seq)

    @rule(wish=a_release)
    def begin(self, wish: Wish) -> None:
        signed = self.signed_release(wish)
        one = outcome(lambda: self.disk.store.begin_hold(signed))
        two = outcome(lambda: self.memory.store.begin_hold(signed))
        if isinstance(one, Hold) and isinstance(two, Hold):
            self.holds.append((one, two))
        else:
            assert one == two

    @precondition(lambda self: self.holds)
    @rule(number=st.integers(0, 50), which=some_blocks)
    def put(self, number: int, which: list[int]) -> None:
        batch = [POOL[each] for each in which]
        self.both_with_hold(number, lambda store, hold: store.put_blocks(hold, batch))

    @precondition(lambda self: self.holds)
    @rule(number=st.integers(0, 50), which=some_blocks)
    def link(self, number: int, which: list[int]) -> None:
        cids = [NAMES[each] for each in which]
        self.both_with_hold(number, lambda store, hold: store.link_blocks(hold, cids))

    @precondition(lambda self: self.holds)
    @rule(number=st.integers(0, 50), origin=st.sampled_from(Origin))
    def finish(self, number: int, origin: Origin) -> None:
        self.both_with_hold(number, lambda store, hold: store.finish_hold(hold, origin=origin))

    @rule(wish=a_release)
    def publish(self, wish: Wish) -> None:
        """All steps at once, as finishing is rare otherwise."""
        signed = self.signed_release(wish)
        batch = [POOL[number] for number in wish[2]]

        def call(store: Store) -> object:
            hold = store.begin_hold(signed)
            missing = store.link_blocks(hold, [cid for cid, _ in batch])
            store.put_blocks(hold, [item for item in batch if item[0] in missing])
            store.finish_hold(hold, origin=Origin.PUBLISHED)
            return None

        self.both(call)

    @precondition(lambda self: self.holds)
    @rule(number=st.integers(0, 50))
    def abort(self, number: int) -> None:
        self.both_with_hold(number, lambda store, hold: store.abort_hold(hold))

    @rule(wish=a_release)
    def set_head(self, wish: Wish) -> None:
        signed = self.signed_release(wish)
        self.both(lambda store: store.set_head(signed))

    @rule(publisher=st.sampled_from(PUBLISHERS), sure=st.integers(0, 6))
    def end(self, publisher: Publisher, sure: int) -> None:
        if sure == 0:
            self.both(lambda store: store.end_site(publisher.end()))

    @rule(publisher=st.sampled_from(PUBLISHERS))
    def drop(self, publisher: Publisher) -> None:
        self.both(lambda store: store.drop_site(publisher.site))

    @rule(which=some_blocks)
    def cache(self, which: list[int]) -> None:
        self.both(lambda store: store.cache_blocks([POOL[each] for each in which]))

    @rule(which=some_blocks)
    def touch(self, which: list[int]) -> None:
        self.both(lambda store: store.touch_cached([NAMES[each] for each in which]))

    @rule(number=st.integers(0, len(NAMES) - 1))
    def spoil(self, number: int) -> None:
        self.both(lambda store: store.mark_corrupt(NAMES[number]))

    @rule(name=st.sampled_from(["/ipns/a", "/ipns/b"]), add=st.booleans())
    def change_rules(self, name: str, *, add: bool) -> None:
        row = RuleRow(name, "refuse", "policy", "", 0)
        self.both(lambda store: store.add_rules([row]) if add else store.remove_rule(name))

    @rule()
    def reopen(self) -> None:
        self.disk.reopen()

    @invariant()
    def alike(self) -> None:
        self.both(lambda store: store.usage())
        self.both(lambda store: store.sites())
        self.both(lambda store: store.has_blocks(NAMES))
        self.both(lambda store: [outcome(partial(store.get_block, cid)) for cid in NAMES])
        self.both(lambda store: [store.is_linked(cid) for cid in NAMES])
        self.both(lambda store: [store.blocks_of(publisher.site, NAMES) for publisher in PUBLISHERS])
        self.both(lambda store: store.rules())
        self.both(lambda store: [_without_id(info) for info in store.holds()])

    @invariant()
    def bounded(self) -> None:
        usage = self.disk.store.usage()
        assert usage.used_bytes + usage.index_bytes + usage.reserved_bytes <= usage.quota_bytes
        assert usage.cache_bytes <= usage.cache_quota_bytes
        for record in self.disk.store.sites():
            assert record.ended == (record.head.seq == SEQ_MAX)


def _without_id(info: HoldInfo[Hold]) -> object:
    return (info.hold.signed, info.finished, info.done_blocks, info.done_bytes, info.new_blocks, info.new_bytes)


TestTwins = Twins.TestCase
TestTwins.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
