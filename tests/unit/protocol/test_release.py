from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol import canonical
from protocol.cid import DAG_PB, RAW, Cid
from protocol.errors import BadSignature, DecodeError, Malformed, OverLimit, StaleRelease, WrongSite
from protocol.limits import (
    BAND_MAX_HOSTS,
    BLOCK_MAX_BYTES,
    CREATED_MAX_S,
    DOMAINS_MAX,
    HOST_ADDRESS_MAX_CHARS,
    HOSTS_NAMED_MAX,
    RELEASE_MAX_BYTES,
    SEQ_MAX,
)
from protocol.release import Band, Release, SignedRelease, check_may_hold, check_successor, sign_release
from protocol.site_id import SiteId

KEY = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(b"\x08" * 32)
SITE = SiteId.of(KEY)
ROOT = Cid.of(DAG_PB, b"root")
FIRST = Release(SITE, 1, None, ROOT, 1000, 3, Band(2, 5), ("example.com",), 1_800_000_000, ended=False)


def signed(seq: int, **changes: Any) -> SignedRelease:
    return sign_release(replace(FIRST, seq=seq, **changes), KEY)


def end() -> SignedRelease:
    return sign_release(Release.end_of(SITE, prev=signed(1).cid, created_s=1), KEY)


def test_round_trip() -> None:
    release = sign_release(FIRST, KEY)
    again = SignedRelease.decode(release.encode())
    assert again == release
    assert (again.site, again.seq, again.release) == (SITE, 1, FIRST)
    assert type(again.site) is SiteId
    assert type(again.release.root) is Cid
    assert again.cid == Cid.of(RAW, release.encode())


def test_nothing_long_in_the_repr() -> None:
    assert "payload" not in repr(sign_release(FIRST, KEY))


def test_the_end() -> None:
    ended = end()
    assert ended.release.ended
    assert ended.seq == SEQ_MAX
    assert ended.release.root is None
    assert SignedRelease.decode(ended.encode()) == ended


def test_only_the_sites_key_signs() -> None:
    with pytest.raises(WrongSite):
        sign_release(FIRST, OTHER_KEY)


def test_a_release_of_another_site() -> None:
    raw = sign_release(FIRST, KEY).encode()
    assert SignedRelease.decode(raw, site=SITE)
    with pytest.raises(WrongSite):
        SignedRelease.decode(raw, site=SiteId.of(OTHER_KEY))


def test_every_bit_counts() -> None:
    raw = bytearray(sign_release(FIRST, KEY).encode())
    for position in range(len(raw)):
        for bit in range(8):
            raw[position] ^= 1 << bit
            with pytest.raises(DecodeError):
                SignedRelease.decode(bytes(raw))
            raw[position] ^= 1 << bit
    SignedRelease.decode(bytes(raw))


def test_the_largest_release_fits() -> None:
    domains = tuple(
        f"{letter}." + "a" * 63 + "." + "b" * 63 + "." + "c" * 63 + "." + "d" * 59 for letter in "abcdefghijkl"
    )
    assert (len(domains), len(domains[0])) == (DOMAINS_MAX, 253)
    release = Release(
        site=SITE,
        seq=SEQ_MAX - 1,
        prev=Cid.of(RAW, b""),
        root=ROOT,
        size_bytes=2**63 - 1,
        block_count=2**63 - 1,
        band=Band(BAND_MAX_HOSTS, BAND_MAX_HOSTS),
        domains=domains,
        created_s=CREATED_MAX_S,
        ended=False,
        hosts=tuple(f"/dns4/{letter * (HOST_ADDRESS_MAX_CHARS - 12)}/p2p/Q" for letter in "abcd"),
    )
    assert {len(address) for address in release.hosts} == {HOST_ADDRESS_MAX_CHARS}
    assert len(release.hosts) == HOSTS_NAMED_MAX
    raw = sign_release(release, KEY).encode()
    assert len(raw) <= RELEASE_MAX_BYTES
    assert SignedRelease.decode(raw).release == release


@pytest.mark.parametrize(
    ("size_bytes", "block_count"),
    [(0, 1), (1, 1), (1, 2), (BLOCK_MAX_BYTES, 1), (BLOCK_MAX_BYTES + 1, 2), (10, 11)],
)
def test_sizes_that_can_be(size_bytes: int, block_count: int) -> None:
    replace(FIRST, size_bytes=size_bytes, block_count=block_count)


@pytest.mark.parametrize(("size_bytes", "block_count"), [(0, 0), (0, 2), (1, 3), (BLOCK_MAX_BYTES + 1, 1)])
def test_sizes_that_cannot_be(size_bytes: int, block_count: int) -> None:
    with pytest.raises(Malformed):
        replace(FIRST, size_bytes=size_bytes, block_count=block_count)


@pytest.mark.parametrize("domain", ["a.b", "xn--zrich-kva.example", "1.example", "a-b.c-d.e", "4.3.2.1.in-addr.arpa"])
def test_names_that_are_domains(domain: str) -> None:
    assert replace(FIRST, domains=(domain,)).domains == (domain,)


@pytest.mark.parametrize(
    "domain", ["", ".", "a", "a.", ".a", "a..b", "-a.b", "a-.b", "a.b-", "a_b.c", "a.1", "a b.c", "a.b\n"]
)
def test_names_that_are_no_domains(domain: str) -> None:
    with pytest.raises(Malformed):
        replace(FIRST, domains=(domain,))


@pytest.mark.parametrize("host", ["/ip4/192.0.2.1/tcp/1/p2p/12D3KooW", "/dns4/a.b/p2p/Qm", "/p2p-circuit/p2p/k2k4"])
def test_addresses_that_a_release_may_name(host: str) -> None:
    assert SignedRelease.decode(sign_release(replace(FIRST, hosts=(host,)), KEY).encode()).release.hosts == (host,)


@pytest.mark.parametrize(
    "host", ["", "/", "/p2p/Qm", "a/p2p/Qm", "/ip4//p2p/Qm", "/a b/p2p/Qm", "/a/p2p/Qm/tcp/1", "/a/p2p/"]
)
def test_addresses_that_no_release_names(host: str) -> None:
    with pytest.raises(Malformed):
        replace(FIRST, hosts=(host,))


def test_a_release_that_names_no_host_has_the_bytes_of_one_that_could_not() -> None:
    assert b"hosts" not in FIRST.encode()


def test_a_band() -> None:
    assert Band(1, BAND_MAX_HOSTS)
    for low, high in ((0, 1), (2, 1)):
        with pytest.raises(Malformed):
            Band(low, high)
    with pytest.raises(OverLimit):
        Band(1, BAND_MAX_HOSTS + 1)


def test_successors() -> None:
    check_successor(None, signed(5))
    check_successor(signed(1), signed(2))
    check_successor(signed(1), signed(100))
    check_successor(signed(7), signed(7))


@pytest.mark.parametrize(("known", "new"), [(2, 1), (SEQ_MAX - 1, 1)])
def test_a_lower_sequence_is_stale(known: int, new: int) -> None:
    with pytest.raises(StaleRelease):
        check_successor(signed(known), signed(new))


def fork(seq: int) -> tuple[SignedRelease, SignedRelease]:
    """Two releases of one sequence, the one that counts last."""
    low, high = sorted((signed(seq), signed(seq, created_s=0)), key=lambda one: one.rank)
    return low, high


def test_of_two_releases_of_one_sequence_one_counts_everywhere() -> None:
    low, high = fork(7)
    check_successor(low, high)
    with pytest.raises(StaleRelease):
        check_successor(high, low)
    assert low.contradicts(high)
    assert high.contradicts(low)
    assert not low.contradicts(low)
    assert not low.contradicts(signed(8))
    assert not low.contradicts(None)


def test_another_sites_release_is_no_successor() -> None:
    other = sign_release(replace(FIRST, site=SiteId.of(OTHER_KEY), seq=2), OTHER_KEY)
    with pytest.raises(WrongSite):
        check_successor(signed(1), other)


def test_the_end_comes_after_all_and_before_none() -> None:
    check_successor(signed(SEQ_MAX - 1), end())
    check_successor(end(), end())
    for seq in (1, 2, SEQ_MAX - 1):
        with pytest.raises(StaleRelease):
            check_successor(end(), signed(seq))


def test_the_highest_sequence_is_for_the_end_alone() -> None:
    with pytest.raises(OverLimit):
        signed(SEQ_MAX)
    with pytest.raises(Malformed):
        replace(end().release, seq=2)


def test_a_signature_over_another_release_of_the_same_site() -> None:
    one, two = signed(1), signed(2)
    with pytest.raises(BadSignature):
        SignedRelease.decode(canonical.pack([1, two.payload, one.signature, two.ipns_record]))


@pytest.mark.parametrize("held", [None, 3, 5])
def test_what_is_newer_than_the_held_release_may_be_held_below_the_head(held: int | None) -> None:
    known = signed(held) if held else None
    for new in (5, 6, 9, 12):
        check_may_hold(signed(9), known, signed(new))


def test_what_is_of_lower_rank_than_the_held_release_may_not_be_held() -> None:
    low, high = fork(5)
    for new in (signed(4), low):
        with pytest.raises(StaleRelease):
            check_may_hold(signed(9), high, new)
    check_may_hold(signed(9), low, high)
    with pytest.raises(StaleRelease):
        check_may_hold(end(), None, signed(9))
