"""How many releases of the index stay decoded."""

import tracemalloc
from collections.abc import Iterator
from itertools import count

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.store import sites
from node.store.release_cache import ReleaseCache
from protocol.cid import RAW, Cid
from protocol.limits import DOMAINS_MAX, RELEASE_MAX_BYTES
from protocol.release import Band, Release, SignedRelease, sign_release
from protocol.site_id import SiteId

KEY = Ed25519PrivateKey.generate()
MIB = 1024**2
ROOM_BYTES = 64 * 1024
CONTENT = Cid.of(RAW, b"content")


def releases(domains: int) -> Iterator[bytes]:
    """Ever other ones, as the index has them; with all the domains that one may wish for they are large."""
    names = sorted(".".join(letter * 60 for letter in f"{number:x}abc") for number in range(domains))
    for seq in count(1):
        release = Release(SiteId.of(KEY), seq, None, CONTENT, 7, 1, Band(1, 2), tuple(names), 1_800_000_000, False)
        yield sign_release(release, KEY).encode()


@pytest.mark.parametrize("domains", [0, DOMAINS_MAX])
def test_decoded_releases_take_at_most_four_times_their_bound(domains: int) -> None:
    made = releases(domains)
    raw = [next(made) for _ in range(3 * ROOM_BYTES // len(next(made)))]
    cache = ReleaseCache(ROOM_BYTES)
    tracemalloc.start()
    try:
        for each in raw:
            cache.put(bytes(bytearray(each)), SignedRelease.decode(each))
            assert cache.size_bytes <= ROOM_BYTES
        assert tracemalloc.get_traced_memory()[0] < 4 * ROOM_BYTES
    finally:
        tracemalloc.stop()
    assert cache.size_bytes > ROOM_BYTES - RELEASE_MAX_BYTES


def test_the_bound_leaves_a_small_machine_room_and_holds_ten_thousand_releases() -> None:
    assert 4 * sites.RELEASES_CACHED_BYTES <= 64 * MIB
    assert 10_000 * len(next(releases(0))) <= sites.RELEASES_CACHED_BYTES // 2


def test_what_is_read_in_turn_and_does_not_fit_is_found_in_part() -> None:
    made = releases(0)
    raw = [next(made) for _ in range(60)]
    decoded = {each: SignedRelease.decode(each) for each in raw}
    cache = ReleaseCache(sum(map(len, raw)) * 4 // 5)
    found = 0
    for _ in range(50):
        for each in raw:
            known = cache.get(each)
            assert known in (None, decoded[each])
            found += known is not None
            cache.put(each, decoded[each])
    assert found > 50 * len(raw) // 4


def test_a_release_is_decoded_once() -> None:
    raw = next(releases(0))
    assert sites.decode_release(raw) is sites.decode_release(bytes(bytearray(raw)))
