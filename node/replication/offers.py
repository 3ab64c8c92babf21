"""What other hosts offered of a site that readers ask for, the newest release that can be had first."""

from __future__ import annotations

from dataclasses import dataclass, field

import trio

from node.net.port import PeerId
from protocol.release import SignedRelease

# Of one site: hosts that differ by more releases are hopelessly behind.
RELEASES_MAX = 4
# Of one release: those that said so last. More than are asked by one look for hosts.
HOSTS_MAX = 64
# How long a release is passed over of which a reader lacked a part, before it is tried again.
PASSED_OVER_S = 30.0


@dataclass(slots=True)
class Offers:
    """Of one site. `looked_at_s`: when hosts were asked last. `sought_seq`: a number that was known then.

    Times are of trio's clock.
    """

    looked_at_s: float = float("-inf")
    looked_widely_at_s: float = float("-inf")
    sought_seq: int = 0
    lock: trio.Lock = field(default_factory=trio.Lock)
    _by_release: list[tuple[SignedRelease, dict[PeerId, float]]] = field(default_factory=list)
    """With its hosts, and when the look before the one at which they said so had ended."""
    _passed_over: dict[int, float] = field(default_factory=dict)

    @property
    def newest(self) -> SignedRelease | None:
        """Whether it can be had or not."""
        return self._by_release[0][0] if self._by_release else None

    def best(self, now_s: float) -> SignedRelease | None:
        """The newest that is not passed over at the moment; if all are, the newest of all."""
        wanted = (signed for signed, _ in self._by_release if self._passed_over.get(signed.seq, now_s) <= now_s)
        return next(wanted, self.newest)

    def instead_of(self, seq: int) -> SignedRelease | None:
        """The newest with a lower number, or the site's end."""
        older = (signed for signed, _ in self._by_release if signed.seq < seq or signed.release.ended)
        return next(older, None)

    def pass_over(self, seq: int, now_s: float) -> None:
        """The release of that number cannot be had, for a while."""
        known = {signed.seq for signed, _ in self._by_release} | {seq}
        self._passed_over[seq] = now_s + PASSED_OVER_S
        self._passed_over = {each: until_s for each, until_s in self._passed_over.items() if each in known}

    def hosts_of(self, release: SignedRelease) -> list[PeerId]:
        """Who offered it: those of the last look come first, and of one look those that answered first."""
        hosts = next((hosts for signed, hosts in self._by_release if signed == release), {})
        return sorted(hosts, key=hosts.__getitem__, reverse=True)

    def take(self, peer: PeerId, offered: SignedRelease) -> None:
        """A host's answer. Of two releases of one number only the one of higher rank counts (release.md, 5)."""
        for signed, hosts in self._by_release:
            if signed == offered:
                hosts.pop(peer, None)
                hosts[peer] = self.looked_at_s
                if len(hosts) > HOSTS_MAX:
                    del hosts[next(iter(hosts))]
                return
            if signed.contradicts(offered) and signed.rank > offered.rank:
                return
        rest = [each for each in self._by_release if not each[0].contradicts(offered)]
        rest.append((offered, {peer: self.looked_at_s}))
        rest.sort(key=lambda each: each[0].rank, reverse=True)
        self._by_release = rest[:RELEASES_MAX]
