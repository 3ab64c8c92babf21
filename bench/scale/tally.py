"""What a run measures."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.release import Band
from protocol.site_id import SiteId


@dataclass(slots=True)
class _Site:
    live: int = 0
    since_s: float = 0.0


class Tally:
    """Counts, and integrals over time of how many live hosts each site has."""

    def __init__(self, band: Band, size_bytes: int) -> None:
        self._band = band
        self._size_bytes = size_bytes
        self._sites: dict[SiteId, _Site] = {}
        self._none_s = self._below_s = self._above_s = 0.0
        self.asks = self.audits = self.statements = self.let_go = self.copies = self.least_copies = 0
        self.lost: set[SiteId] = set()

    def begin(self, site: SiteId) -> None:
        self._sites[site] = _Site()

    def live(self, now_s: float, site: SiteId, change: int) -> None:
        """So many more hosts of the site are up, or fewer."""
        self._add_up(now_s, self._sites[site])
        self._sites[site].live += change

    def live_hosts(self, site: SiteId) -> int:
        return self._sites[site].live

    def too_many(self, site: SiteId) -> bool:
        return self._sites[site].live > self._band.max_hosts

    def copied(self, site: SiteId) -> None:
        self.copies += 1

    def disk_lost(self, now_s: float, site: SiteId, left: int) -> None:
        """A copy is gone for good and so many are left. Below the minimum, every design must make another."""
        if left == 0:
            self.lost.add(site)
        elif left < self._band.min_hosts:
            self.least_copies += 1

    def _add_up(self, now_s: float, site: _Site) -> None:
        span_s = now_s - site.since_s
        site.since_s = now_s
        if site.live == 0:
            self._none_s += span_s
        if site.live < self._band.min_hosts:
            self._below_s += span_s
        if site.live > self._band.max_hosts:
            self._above_s += span_s

    def result(self, now_s: float) -> dict[str, float]:
        """Shares of site-time, and totals. repair_x: bytes moved for repair, in multiples of the least."""
        for site in self._sites.values():
            self._add_up(now_s, site)
        whole_s = now_s * len(self._sites)
        return {
            "no_host": self._none_s / whole_s,
            "below_min": self._below_s / whole_s,
            "above_max": self._above_s / whole_s,
            "lost": len(self.lost),
            "copies": self.copies,
            "least_copies": self.least_copies,
            "repair_bytes": self.copies * self._size_bytes,
            "let_go": self.let_go,
            "asks": self.asks,
            "statements": self.statements,
        }
