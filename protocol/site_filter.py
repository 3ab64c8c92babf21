"""Bloom filters over site ids: which sites a node states to hold, in a few bits each (docs/spec/membership.md, 3)."""

from collections.abc import Collection
from hashlib import sha256
from typing import Final

from protocol.errors import OverLimit
from protocol.limits import SITE_FILTER_MAX_BYTES
from protocol.site_id import SiteId

# So one of 100,000 sites is found in a filter that it is not in: 10,000 members name 50 sites wrongly to a node of 500.
BITS_PER_SITE: Final = 24
PROBES: Final = 16

_DOMAIN: Final = b"fednode/site-filter/1\0"


class Probe:
    """Where a site's bits are in a filter of any size; worth keeping for a site that is looked up often."""

    __slots__ = ("first", "step")

    def __init__(self, site: SiteId) -> None:
        digest = sha256(_DOMAIN + site).digest()
        self.first = int.from_bytes(digest[:8], "big")
        self.step = int.from_bytes(digest[8:16], "big") | 1

    def positions(self, bits: int) -> list[int]:
        """The numbers of the site's bits in a filter of so many."""
        return [(self.first + index * self.step) % bits for index in range(PROBES)]


class SiteFilter(bytes):
    """The filter as it stands in a statement. May name sites that were not put in, never misses one that was."""

    __slots__ = ()

    @classmethod
    def of(cls, sites: Collection[SiteId]) -> "SiteFilter":
        """Above some 16,000 sites the filter grows no more and errs more often."""
        size = min(-(-len(sites) * BITS_PER_SITE // 8), SITE_FILTER_MAX_BYTES)
        found = bytearray(size)
        for site in sites:
            for position in Probe(site).positions(8 * size):
                found[position >> 3] |= 1 << (position & 7)
        return cls(found)

    @classmethod
    def from_bytes(cls, raw: bytes) -> "SiteFilter":
        """Any bytes are a filter. Raises OverLimit."""
        if len(raw) > SITE_FILTER_MAX_BYTES:
            raise OverLimit(f"a filter of {len(raw)} bytes, at most {SITE_FILTER_MAX_BYTES}")
        return cls(raw)

    def may_hold(self, probe: Probe) -> bool:
        """Whether the site may have been put in."""
        if not self:
            return False
        bits, position = 8 * len(self), probe.first
        for _ in range(PROBES):  # most sites are told by the first two: this is asked for each site and each statement
            bit = position % bits
            if not self[bit >> 3] >> (bit & 7) & 1:
                return False
            position += probe.step
        return True

    @property
    def false_share(self) -> float:
        """Of the sites that were not put in, the share that it names all the same."""
        return (int.from_bytes(self).bit_count() / (8 * len(self))) ** PROBES if self else 0.0
