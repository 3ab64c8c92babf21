"""Sums over numbered entries, so that two nodes find what differs without naming what is equal.

docs/spec/membership.md, 9. An entry is a key (a site or a node), a number (a sequence, or a time) and a tag that tells
apart what has one number. Keys are dealt into buckets by their hash; equal sums mean equal buckets.
"""

from collections.abc import Collection, Iterable
from hashlib import sha256
from typing import Final, NamedTuple

from protocol.errors import Malformed, OverLimit
from protocol.limits import SUMMARY_BUCKETS_MAX
from protocol.site_id import SiteId

SUM_BYTES: Final = 8
TAG_BYTES: Final = 8
BUCKETS_MIN: Final = 16
ENTRIES_PER_BUCKET: Final = 8

_BUCKET_DOMAIN: Final = b"fednode/summary-bucket/1\0"
_SUM_DOMAIN: Final = b"fednode/summary/1\0"


class Entry(NamedTuple):
    """tag: `TAG_BYTES` bytes; the first of the release's signature, or zeros where a number stands for one thing."""

    key: SiteId
    number: int
    tag: bytes = bytes(TAG_BYTES)


def buckets_for(entries: int) -> int:
    """How many buckets are best for so many entries: a power of two."""
    wanted = max(BUCKETS_MIN, entries // ENTRIES_PER_BUCKET)
    return min(SUMMARY_BUCKETS_MAX, 1 << (wanted - 1).bit_length())


def bucket_of(key: SiteId, buckets: int) -> int:
    return int.from_bytes(sha256(_BUCKET_DOMAIN + key).digest()[:4], "big") % buckets


def dealt(entries: Iterable[Entry], buckets: int) -> list[list[Entry]]:
    """The entries of each bucket, by key."""
    found: list[list[Entry]] = [[] for _ in range(buckets)]
    for entry in sorted(entries):
        found[bucket_of(entry.key, buckets)].append(entry)
    return found


def sums_of(buckets: Collection[list[Entry]]) -> bytes:
    """One sum for each bucket: the first 8 bytes of SHA-256 over its entries; zeros for an empty one."""
    return b"".join(_sum_of(entries) if entries else bytes(SUM_BYTES) for entries in buckets)


def _sum_of(entries: list[Entry]) -> bytes:
    parts = (entry.key + entry.number.to_bytes(8, "big") + entry.tag for entry in entries)
    return sha256(_SUM_DOMAIN + b"".join(parts)).digest()[:SUM_BYTES]


def check_sums(sums: bytes) -> int:
    """How many buckets there are sums of. Raises OverLimit, or Malformed unless it is a power of two in bounds."""
    buckets, rest = divmod(len(sums), SUM_BYTES)
    if buckets > SUMMARY_BUCKETS_MAX:
        raise OverLimit(f"{buckets} buckets, at most {SUMMARY_BUCKETS_MAX}")
    if rest or buckets < BUCKETS_MIN or buckets & (buckets - 1):
        raise Malformed("not the sums of a power of two of buckets")
    return buckets


def differing(ours: bytes, theirs: bytes) -> list[int]:
    """The numbers of the buckets whose sums are not the same; both have as many."""
    return [
        start // SUM_BYTES
        for start in range(0, len(ours), SUM_BYTES)
        if ours[start : start + SUM_BYTES] != theirs[start : start + SUM_BYTES]
    ]
