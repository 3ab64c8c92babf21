"""What `node.store.port` promises of quota, cache and damaged blocks, on disk and in the in-memory twin."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from node.store.errors import BlockCorrupt, HoldIncomplete, QuotaExceeded
from node.store.layout import cost
from node.store.port import Origin, Store
from protocol.cid import RAW, Cid
from tests.conformance.store_kit import CACHE, QUOTA, Bench, Publisher, block, blocks, publish, readable

# --- quota -------------------------------------------------------------------------------------------------


def test_a_site_that_cannot_fit_is_refused_at_once(store: Store) -> None:
    content = blocks(1, 1)
    with pytest.raises(QuotaExceeded) as caught:
        store.begin_hold(Publisher(1).release(content, size_bytes=QUOTA))
    assert caught.value.free_bytes == QUOTA
    assert caught.value.needed_bytes == QUOTA + cost(1, 0)
    assert caught.value.hint
    assert store.holds() == []


def test_open_holds_reserve_what_they_may_still_add(store: Store) -> None:
    content = blocks(1, 4)
    hold = store.begin_hold(Publisher(1).release(content))
    assert store.usage().reserved_bytes == cost(4, 1200)
    store.put_blocks(hold, list(content.items())[:3])
    usage = store.usage()
    assert (usage.used_bytes, usage.index_bytes, usage.reserved_bytes) == (900, cost(3, 0), cost(1, 300))
    assert usage.free_bytes == QUOTA - cost(4, 1200)
    two = store.begin_hold(Publisher(2).release(content))
    assert store.usage().reserved_bytes == cost(5, 1500)
    store.link_blocks(two, list(content))
    assert store.usage().reserved_bytes == cost(2, 600)
    store.abort_hold(hold)
    store.abort_hold(two)
    assert store.usage().free_bytes == QUOTA


def test_two_holds_cannot_reserve_the_same_room(store: Store) -> None:
    size = 2 * QUOTA // 3
    content = blocks(1, 1)
    store.begin_hold(Publisher(1).release(content, size_bytes=size))
    with pytest.raises(QuotaExceeded):
        store.begin_hold(Publisher(2).release(content, size_bytes=size))


def test_an_update_reserves_only_what_it_grows_by(store: Store) -> None:
    publisher = Publisher(1)
    size = 2 * QUOTA // 3 // 10
    old = blocks(1, 10, size)
    publish(store, publisher.release(old), old)
    small = dict(list(old.items())[1:]) | blocks(2, 1, size)
    publish(store, publisher.release(small), small)
    assert readable(store, small)
    whole = blocks(3, 10, size)
    hold = store.begin_hold(publisher.release(whole))
    with pytest.raises(QuotaExceeded):
        store.put_blocks(hold, list(whole.items()))
    assert store.hold_info(hold).done_blocks == 0
    assert store.has_blocks(whole) == set()
    assert readable(store, small)
    store.abort_hold(hold)
    assert store.usage().used_bytes == 10 * size


def test_the_quota_can_be_used_up_exactly(store: Store) -> None:
    content = dict([block(bytes(QUOTA - cost(1, 0)))])
    publish(store, Publisher(1).release(content), content)
    assert store.usage().free_bytes == 0
    with pytest.raises(QuotaExceeded):
        store.begin_hold(Publisher(2).release(dict([block(b"")])))


# --- cache -------------------------------------------------------------------------------------------------


def test_the_cache_forgets_what_was_used_longest_ago(bench: Bench) -> None:
    content = blocks(1, 10, CACHE // 10)
    names = list(content)
    bench.store.cache_blocks(list(content.items()))
    assert bench.store.usage().cache_bytes == CACHE
    bench.store.touch_cached(names[:3])
    bench.store.cache_blocks([(names[3], content[names[3]])])
    bench.reopen()
    more = blocks(2, 5, CACHE // 10)
    for cid, data in more.items():
        bench.store.cache_blocks([(cid, data)])
    assert bench.store.has_blocks(content) == {*names[:4], names[9]}
    assert readable(bench.store, more)
    assert bench.store.usage().cache_bytes == CACHE
    assert bench.store.usage().used_bytes == 0


def test_the_cache_takes_nothing_beyond_its_cap(store: Store) -> None:
    kept, too_large = blocks(1, 1), blocks(2, 1, CACHE + 1)
    store.cache_blocks(list(kept.items()))
    store.cache_blocks(list(too_large.items()))
    assert store.usage().cache_bytes <= CACHE
    assert store.has_blocks(too_large) == set()


def test_a_cached_block_that_a_site_takes_counts_for_the_site(store: Store) -> None:
    content = blocks(1, 2)
    store.cache_blocks(list(content.items()))
    assert not any(store.is_linked(cid) for cid in content)
    signed = Publisher(1).release(content)
    hold = store.begin_hold(signed)
    assert store.link_blocks(hold, list(content)[:1]) == []
    assert store.put_blocks(hold, list(content.items())) == 0
    usage = store.usage()
    assert (usage.used_bytes, usage.cache_bytes, usage.blocks, usage.reserved_bytes) == (600, 0, 2, 0)
    store.finish_hold(hold, origin=Origin.PUBLISHED)
    store.cache_blocks(list(content.items()))
    assert store.usage().cache_bytes == 0
    store.cache_blocks(list(blocks(2, 30, CACHE // 10).items()))
    assert readable(store, content)


# --- damage ------------------------------------------------------------------------------------------------


def test_a_damaged_block_is_never_given_and_heals_by_putting_it_again(bench: Bench) -> None:
    store = bench.store
    content = blocks(1, 3)
    signed = Publisher(1).release(content)
    publish(store, signed, content)
    bad = list(content)[1]
    assert store.is_linked(bad)
    bench.damage(bad)
    for _ in range(2):
        with pytest.raises(BlockCorrupt):
            store.get_block(bad)
    assert store.usage().corrupt_blocks == 1
    assert store.has_blocks(content) == store.blocks_of(signed.site, content) == set(content) - {bad}
    assert not any(store.is_linked(cid) for cid in content)
    hold = store.begin_hold(signed)
    assert store.link_blocks(hold, list(content)) == [bad]
    assert store.put_blocks(hold, [(bad, content[bad])]) == 0
    assert readable(store, content)
    assert store.is_linked(bad)
    assert (store.usage().corrupt_blocks, store.usage().used_bytes) == (0, 900)


def test_the_cache_heals_blocks_of_sites(bench: Bench) -> None:
    content = blocks(1, 2)
    publish(bench.store, Publisher(1).release(content), content)
    bench.store.cache_blocks(list(blocks(2, 1).items()))
    for bad in (*content, *blocks(2, 1)):
        bench.damage(bad)
        with pytest.raises(BlockCorrupt):
            bench.store.get_block(bad)
        bench.store.cache_blocks([(bad, (content | blocks(2, 1))[bad])])
        assert bench.store.get_block(bad)
    assert bench.store.usage().cache_bytes == 300
    assert bench.store.usage().corrupt_blocks == 0


def test_a_hold_with_a_damaged_block_cannot_be_finished(bench: Bench) -> None:
    store = bench.store
    content = blocks(1, 2)
    hold = store.begin_hold(Publisher(1).release(content))
    store.put_blocks(hold, list(content.items()))
    bad = next(iter(content))
    store.mark_corrupt(bad)
    store.mark_corrupt(Cid.of(RAW, b"unknown"))
    with pytest.raises(HoldIncomplete):
        store.finish_hold(hold, origin=Origin.PUBLISHED)
    store.put_blocks(hold, [(bad, content[bad])])
    store.finish_hold(hold, origin=Origin.PUBLISHED)
    assert readable(store, content)


def test_a_damaged_block_goes_with_its_site(bench: Bench) -> None:
    content = blocks(1, 2)
    signed = Publisher(1).release(content)
    publish(bench.store, signed, content)
    bench.store.mark_corrupt(next(iter(content)))
    bench.store.drop_site(signed.site)
    assert bench.store.usage().blocks == bench.store.usage().corrupt_blocks == 0
    publish(bench.store, signed, content)
    assert readable(bench.store, content)


# --- threads -----------------------------------------------------------------------------------------------


def test_many_threads_at_once(store: Store) -> None:
    shared = blocks(0, 10)

    def work(seed: int) -> None:
        publisher = Publisher(seed)
        for version in range(3):
            content = shared | blocks(seed * 10 + version, 10)
            publish(store, publisher.release(content), content)
            assert readable(store, content)
        if seed % 2:
            store.drop_site(publisher.site)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(1, 5)))
    assert store.usage().blocks == 30
    assert store.usage().used_bytes == 9000
