"""What `node.store.port` promises, on disk and in the in-memory twin."""

from __future__ import annotations

import pytest

from node.store.errors import BlockMissing, HoldGone, HoldIncomplete
from node.store.port import Origin, Store
from protocol.cid import RAW, Cid
from protocol.errors import HashMismatch, OverLimit, StaleRelease, UnsupportedHash
from protocol.limits import FOREIGN_BLOCK_MAX_BYTES
from protocol.release import SignedRelease
from tests.conformance.store_kit import Bench, Publisher, block, blocks, publish, readable

# --- publishing --------------------------------------------------------------------------------------------


def test_a_finished_site_is_served(bench: Bench) -> None:
    content = blocks(1, 20)
    signed = Publisher(1).release(content)
    publish(bench.store, signed, content)
    for _ in range(2):
        record = bench.store.site(signed.site)
        assert record is not None
        assert (record.head, record.held, record.origin) == (signed, signed, Origin.PUBLISHED)
        assert (record.ended, record.held_bytes, record.updated_s) == (False, 6000, 1_700_000_000)
        assert bench.store.sites() == [record]
        assert readable(bench.store, content)
        bench.reopen()


def test_an_open_hold_is_not_served_and_can_be_resumed(bench: Bench) -> None:
    content = blocks(1, 10)
    signed = Publisher(1).release(content)
    hold = bench.store.begin_hold(signed)
    first = dict(list(content.items())[:4])
    assert bench.store.put_blocks(hold, list(first.items())) == 1200
    assert bench.store.site(signed.site) is None
    bench.reopen()
    (info,) = bench.store.holds()
    assert (info.hold, info.finished, info.done_blocks, info.done_bytes) == (hold, False, 4, 1200)
    assert (info.new_blocks, info.new_bytes, info.started_s) == (4, 1200, 1_700_000_000)
    assert bench.store.begin_hold(signed) == hold
    missing = bench.store.link_blocks(hold, [*content, *content])
    assert missing == list(content)[4:]
    bench.store.put_blocks(hold, [(cid, content[cid]) for cid in missing])
    bench.store.finish_hold(hold, origin=Origin.REPLICATED)
    record = bench.store.site(signed.site)
    assert record is not None
    assert record.origin is Origin.REPLICATED
    assert bench.store.holds() == []
    assert bench.store.hold_info(hold).finished


def test_finishing_again_changes_nothing(store: Store) -> None:
    content = blocks(1, 3)
    signed = Publisher(1).release(content)
    publish(store, signed, content)
    before = store.usage()
    hold = store.begin_hold(signed)
    assert store.link_blocks(hold, list(content)) == []
    assert store.put_blocks(hold, list(content.items())) == 0
    store.finish_hold(hold, origin=Origin.REPLICATED)
    record = store.site(signed.site)
    assert record is not None
    assert record.origin is Origin.PUBLISHED
    assert store.usage() == before


def test_an_update_keeps_what_is_shared_and_frees_the_rest(bench: Bench) -> None:
    publisher = Publisher(1)
    old, new = blocks(1, 10), blocks(2, 3)
    shared = dict(list(old.items())[:6])
    publish(bench.store, publisher.release(old), old)
    content = shared | new
    signed = publisher.release(content)
    hold = bench.store.begin_hold(signed)
    assert bench.store.link_blocks(hold, list(content)) == list(new)
    assert bench.store.put_blocks(hold, list(content.items())) == 900
    assert bench.store.has_blocks(old) == set(old)
    assert bench.store.sites_of(next(iter(new)), limit=9) == []
    bench.store.finish_hold(hold, origin=Origin.PUBLISHED)
    for _ in range(2):
        assert bench.store.has_blocks(old | new) == set(content)
        assert bench.store.blocks_of(publisher.site, old | new) == set(content)
        assert bench.store.usage().used_bytes == 2700
        with pytest.raises(BlockMissing):
            bench.store.get_block(list(old)[-1])
        bench.reopen()


def test_a_block_of_two_sites_stays_until_both_are_gone(store: Store) -> None:
    shared, own = blocks(1, 4), blocks(2, 4)
    one, two = Publisher(1), Publisher(2)
    publish(store, one.release(shared), shared)
    publish(store, two.release(shared | own), shared | own)
    assert store.usage().used_bytes == 2400
    both, alone = next(iter(shared)), next(iter(own))
    assert set(store.sites_of(both, limit=9)) == {one.site, two.site}
    assert len(store.sites_of(both, limit=1)) == 1
    assert store.sites_of(alone, limit=9) == [two.site]
    assert store.drop_site(two.site) == 1200
    assert store.has_blocks(shared | own) == set(shared)
    assert store.sites_of(both, limit=9) == [one.site]
    assert store.sites_of(alone, limit=9) == []
    assert store.blocks_of(two.site, shared) == set()
    assert store.drop_site(one.site) == 1200
    assert store.usage().blocks == 0


def test_a_wrong_block_spoils_its_batch(store: Store) -> None:
    content = blocks(1, 4)
    hold = store.begin_hold(Publisher(1).release(content))
    (first, data), (second, _) = list(content.items())[:2]
    with pytest.raises(HashMismatch):
        store.put_blocks(hold, [(first, data), (second, data)])
    with pytest.raises(HashMismatch):
        store.cache_blocks([(first, data), (second, data)])
    with pytest.raises(UnsupportedHash):
        store.put_blocks(hold, [(first, data), (Cid.from_text("bafkqaaa"), b"")])
    with pytest.raises(OverLimit):
        store.put_blocks(hold, [(first, data), block(bytes(FOREIGN_BLOCK_MAX_BYTES + 1))])
    assert store.has_blocks(content) == set()
    assert store.hold_info(hold).done_blocks == 0


def test_a_hold_takes_no_more_than_its_release_states(store: Store) -> None:
    content, other = blocks(1, 4), blocks(2, 1)
    publisher = Publisher(1)
    hold = store.begin_hold(publisher.release(content))
    store.put_blocks(hold, list(content.items())[:3])
    with pytest.raises(OverLimit):
        store.put_blocks(hold, [*list(content.items())[3:], *other.items()])
    assert store.hold_info(hold).done_blocks == 3
    small = store.begin_hold(publisher.release(content, size_bytes=1199))
    with pytest.raises(OverLimit):
        store.put_blocks(small, list(content.items()))
    assert store.link_blocks(small, list(content)) == list(content)[3:]
    store.put_blocks(hold, list(content.items()))
    with pytest.raises(OverLimit):
        store.link_blocks(small, list(content))
    assert store.hold_info(small).done_blocks == 3


def test_a_block_twice_in_a_batch_counts_once(store: Store) -> None:
    content = blocks(1, 2)
    signed = Publisher(1).release(content)
    hold = store.begin_hold(signed)
    assert store.put_blocks(hold, [*content.items(), *content.items()]) == 600
    assert store.put_blocks(hold, list(content.items())) == 0
    store.finish_hold(hold, origin=Origin.PUBLISHED)
    assert store.usage().blocks == 2


def test_empty_batches_and_empty_blocks(store: Store) -> None:
    content = dict([block(b""), block(b"x")])
    signed = Publisher(1).release(content)
    hold = store.begin_hold(signed)
    assert store.put_blocks(hold, []) == 0
    assert store.link_blocks(hold, []) == []
    store.put_blocks(hold, list(content.items()))
    store.finish_hold(hold, origin=Origin.PUBLISHED)
    assert store.get_block(Cid.of(RAW, b"")) == b""
    assert store.has_blocks([]) == set()


def test_an_incomplete_hold_cannot_be_finished(store: Store) -> None:
    content = blocks(1, 3)
    hold = store.begin_hold(Publisher(1).release(content))
    store.put_blocks(hold, list(content.items())[:2])
    with pytest.raises(HoldIncomplete):
        store.finish_hold(hold, origin=Origin.PUBLISHED)
    assert store.site(hold.site) is None
    large = store.begin_hold(Publisher(2).release(content, size_bytes=901))
    store.put_blocks(large, list(content.items()))
    with pytest.raises(HoldIncomplete):
        store.finish_hold(large, origin=Origin.PUBLISHED)


def test_an_aborted_hold_is_gone_with_its_blocks(store: Store) -> None:
    content = blocks(1, 5)
    signed = Publisher(1).release(content)
    hold = store.begin_hold(signed)
    store.put_blocks(hold, list(content.items()))
    store.abort_hold(hold)
    store.abort_hold(hold)
    assert store.usage().blocks == store.usage().reserved_bytes == 0
    for call in (
        lambda: store.put_blocks(hold, list(content.items())),
        lambda: store.link_blocks(hold, list(content)),
        lambda: store.finish_hold(hold, origin=Origin.PUBLISHED),
        lambda: store.hold_info(hold),
    ):
        with pytest.raises(HoldGone):
            call()
    again = store.begin_hold(signed)
    assert again.id != hold.id
    store.put_blocks(again, list(content.items()))
    store.finish_hold(again, origin=Origin.PUBLISHED)
    store.abort_hold(again)
    assert readable(store, content)


def test_a_later_release_overtakes_open_holds(store: Store) -> None:
    publisher = Publisher(1)
    one, two, three = blocks(1, 2), blocks(2, 2), blocks(3, 2)
    first, second, third = (store.begin_hold(publisher.release(each)) for each in (one, two, three))
    store.put_blocks(first, list(one.items()))
    store.put_blocks(second, list(two.items()))
    store.finish_hold(second, origin=Origin.PUBLISHED)
    with pytest.raises(HoldGone):
        store.finish_hold(first, origin=Origin.PUBLISHED)
    assert store.has_blocks(one | two) == set(two)
    assert [info.hold for info in store.holds()] == [third]
    store.put_blocks(third, list(three.items()))
    store.finish_hold(third, origin=Origin.PUBLISHED)
    assert store.has_blocks(two | three) == set(three)


def test_surplus_open_holds_of_a_site_give_way(store: Store) -> None:
    publisher = Publisher(1)
    opened = [store.begin_hold(publisher.release(blocks(seed, 1))) for seed in range(6)]
    assert [info.hold for info in store.holds()] == opened[2:]


# --- sequence ----------------------------------------------------------------------------------------------


def test_a_head_never_goes_back(bench: Bench) -> None:
    publisher = Publisher(1)
    content = blocks(1, 1)
    one = publisher.release(content)
    low, high = fork(publisher)
    assert bench.store.set_head(high)
    assert not bench.store.set_head(high)
    bench.reopen()
    for stale in (one, low):
        with pytest.raises(StaleRelease):
            bench.store.set_head(stale)
    record = bench.store.site(publisher.site)
    assert record is not None
    assert (record.head, record.held, record.origin, record.held_bytes) == (high, None, None, 0)


def fork(publisher: Publisher) -> tuple[SignedRelease, SignedRelease]:
    """Two releases of sequence 2, the one that counts last; of blocks(1, 2) and blocks(2, 2), in either order."""
    both = (publisher.release(blocks(1, 2), seq=2), publisher.release(blocks(2, 2), seq=2))
    low, high = sorted(both, key=lambda signed: signed.rank)
    return low, high


def test_an_older_hold_may_finish_under_a_newer_head(store: Store) -> None:
    publisher = Publisher(1)
    content = blocks(1, 2)
    one, two = publisher.release(content), publisher.release(content)
    old = store.begin_hold(one)
    store.put_blocks(old, list(content.items()))
    store.set_head(two)
    store.finish_hold(old, origin=Origin.REPLICATED)
    record = store.site(publisher.site)
    assert record is not None
    assert (record.head, record.held) == (two, one)


def test_of_a_fork_the_higher_release_replaces_the_lower_and_never_the_other_way(bench: Bench) -> None:
    publisher = Publisher(1)
    low, high = fork(publisher)
    content = {
        signed.cid: blocks(number, 2)
        for signed in (low, high)
        for number in (1, 2)
        if signed.release.root == next(iter(blocks(number, 2)))
    }
    publish(bench.store, low, content[low.cid])
    publish(bench.store, high, content[high.cid])
    bench.reopen()
    record = bench.store.site(publisher.site)
    assert record is not None
    assert (record.head, record.held) == (high, high)
    with pytest.raises(StaleRelease):
        bench.store.begin_hold(low)


def test_a_release_between_the_held_one_and_the_head_may_be_held_until_the_head_is_here(bench: Bench) -> None:
    publisher = Publisher(1)
    one, two, three = blocks(1, 2), blocks(2, 2), blocks(3, 2)
    first, second, third = (publisher.release(content) for content in (one, two, three))
    publish(bench.store, first, one)
    bench.store.set_head(third)
    opened = bench.store.begin_hold(third)
    bench.store.put_blocks(opened, list(three.items())[:1])
    publish(bench.store, second, two)
    bench.reopen()
    record = bench.store.site(publisher.site)
    assert record is not None
    assert (record.head, record.held) == (third, second)
    assert readable(bench.store, two)
    with pytest.raises(StaleRelease):
        bench.store.begin_hold(first)
    assert bench.store.hold_info(opened).done_blocks == 1
    publish(bench.store, third, three)
    record = bench.store.site(publisher.site)
    assert record is not None
    assert (record.head, record.held) == (third, third)
    assert bench.store.usage().blocks == len(three)


def test_a_dropped_site_keeps_its_head_and_can_come_back(bench: Bench) -> None:
    publisher = Publisher(1)
    content = blocks(1, 2)
    one, two = publisher.release(content), publisher.release(content)
    publish(bench.store, two, content)
    open_hold = bench.store.begin_hold(publisher.release(blocks(2, 2)))
    assert bench.store.drop_site(publisher.site) == 600
    assert bench.store.drop_site(publisher.site) == 0
    assert bench.store.drop_site(Publisher(9).site) == 0
    bench.reopen()
    with pytest.raises(HoldGone):
        bench.store.hold_info(open_hold)
    record = bench.store.site(publisher.site)
    assert record is not None
    assert (record.head, record.held) == (two, None)
    with pytest.raises(StaleRelease):
        bench.store.set_head(one)
    publish(bench.store, one, content)
    record = bench.store.site(publisher.site)
    assert record is not None
    assert (record.head, record.held) == (two, one)
    publish(bench.store, two, content)
    assert readable(bench.store, content)


@pytest.mark.parametrize("through_head", [False, True])
def test_an_ended_site_stays_ended(bench: Bench, *, through_head: bool) -> None:
    publisher = Publisher(1)
    content = blocks(1, 3)
    one, two = publisher.release(content), publisher.release(content)
    publish(bench.store, one, content)
    hold = bench.store.begin_hold(two)
    end = publisher.end()
    if through_head:
        bench.store.set_head(end)
    else:
        bench.store.end_site(end)
    bench.store.end_site(end)
    bench.reopen()
    record = bench.store.site(publisher.site)
    assert record is not None
    assert (record.head, record.held, record.ended, record.held_bytes) == (end, None, True, 0)
    assert bench.store.usage().blocks == 0
    with pytest.raises(HoldGone):
        bench.store.hold_info(hold)
    with pytest.raises(StaleRelease):
        bench.store.begin_hold(two)
    with pytest.raises(ValueError, match="ends its site"):
        bench.store.begin_hold(end)
    with pytest.raises(ValueError, match="does not end"):
        bench.store.end_site(two)


def test_heads_that_were_only_heard_of_are_bounded(bench: Bench) -> None:
    content = blocks(1, 1)
    held = Publisher(100).release(content)
    publish(bench.store, held, content)
    bench.store.drop_site(held.site)
    heard = []
    for seed in range(1, 9):
        bench.now_s += 1
        heard.append(Publisher(seed).release(content))
        bench.store.set_head(heard[-1])
    assert {record.head for record in bench.store.sites()} == {held, *heard[-5:]}
