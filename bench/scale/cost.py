"""What one node's core costs with so many members and sites: its real `Keeping`, with all others' answers modelled.

Every member's statement has a real filter, filled as by `sites` sites of its own; the hosts of the node's sites are
drawn at random. The node is stepped every second; statements arrive as often as members come, go and renew.
"""

from __future__ import annotations

import argparse
import gc
import random
import resource
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.scale.churn import CHURNS, HOUR_S
from bench.scale.world import GIB, WALL_S
from node.core import effects as fx
from node.core.keeping import Keeping
from protocol.cid import RAW, Cid
from protocol.release import Band, Release, SignedRelease
from protocol.site_filter import BITS_PER_SITE, PROBES, Probe, SiteFilter
from protocol.site_id import SiteId
from protocol.statement import SignedStatement, Statement, Takes

RENEW_S = 10.5 * HOUR_S
BAND = Band(3, 6)
COPIES = 4


@dataclass(slots=True)
class Other:
    key: SiteId
    sites: list[SiteId] = field(default_factory=list)
    """Those of the observed node that it has too."""
    up: bool = True
    made_s: int = WALL_S


class Watched:
    """One node among modelled ones. Times in `cpu_s` are of this process."""

    def __init__(self, seed: int, members: int, sites: int, churn: str) -> None:
        self.rng = random.Random(seed)
        self.churn = CHURNS[churn]
        self.sites_each = sites
        self.cpu_s: defaultdict[str, float] = defaultdict(float)
        self.calls: Counter[str] = Counter()
        self.others = {key: Other(key) for key in (SiteId(self.rng.randbytes(32)) for _ in range(members))}
        gc.collect()
        before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self.keeping = Keeping(SiteId(self.rng.randbytes(32)), random.Random(seed))
        everybody = list(self.others.values())
        for number in range(sites):
            site = SiteId(self.rng.randbytes(28) + number.to_bytes(4, "big"))
            release = Release(site, 1, None, Cid.of(RAW, site), 10, 1, BAND)
            self.keeping.hosted(SignedRelease(release, b"", bytes(64), b""), kept=False, restored=True)
            for other in self.rng.sample(everybody, min(COPIES - 1, members)):
                other.sites.append(site)
        for other in everybody:
            self.hear(0.0, other)
        self.memory_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib) / 1024

    def statement_of(self, other: Other) -> SignedStatement:
        """With a filter of the right size, and as full as one of so many sites; those shared are in it."""
        size = -(-self.sites_each * BITS_PER_SITE // 8)
        bits = bytearray(size)
        for bit in self.rng.choices(range(8 * size), k=PROBES * max(0, self.sites_each - len(other.sites))):
            bits[bit >> 3] |= 1 << (bit & 7)
        for site in other.sites:
            for bit in Probe(site).positions(8 * size):
                bits[bit >> 3] |= 1 << (bit & 7)
        other.made_s += 1
        statement = Statement(
            other.key, other.made_s, (), Takes.OPEN, 40 * GIB, self.sites_each, SiteFilter.from_bytes(bytes(bits))
        )
        return SignedStatement(statement, bytes(64))

    def hear(self, now_s: float, other: Other) -> None:
        signed = self.statement_of(other)
        began_s = time.process_time()
        self.keeping.heard(now_s, WALL_S, signed, "")
        self.cpu_s["statements"] += time.process_time() - began_s
        self.calls["statements"] += 1

    def run(self, for_s: int) -> None:
        """Members come and go so that as many are up as the churn says."""
        up_s, down_s = _mean_s(self.churn.up_s), _mean_s(self.churn.down_s)
        everybody = list(self.others.values())
        for other in everybody:
            other.up = self.rng.random() < up_s / (up_s + down_s)
        restarts_a_s = len(everybody) / (up_s + down_s)
        news_a_s = restarts_a_s + len(everybody) / RENEW_S
        for now_s in range(1, for_s + 1):
            for _ in range(_drawn(self.rng, news_a_s)):
                self.hear(now_s, self.rng.choice(everybody))
            for _ in range(_drawn(self.rng, restarts_a_s)):
                gone, back = self.rng.sample(everybody, 2)
                if gone.up != back.up:
                    gone.up, back.up = back.up, gone.up
            began_s = time.process_time()
            effects = self.keeping.due(now_s, WALL_S)
            for effect in effects:
                self.answer(now_s, effect)
            self.cpu_s["ticks"] += time.process_time() - began_s

    def answer(self, now_s: float, effect: fx.Effect) -> None:
        match effect:
            case fx.AskToHost(site, node):
                other = self.others[node]
                self.calls["asks"] += 1
                self.calls["asks that found a copy"] += other.up and site in other.sites
                self.keeping.answered(now_s, site, node, "has" if other.up else "silent")
                if other.up and site not in other.sites:
                    other.sites.append(site)
            case fx.Audit(node, sites):
                other = self.others[node]
                proved = [site for site in sites if site in other.sites]
                failed = [site for site in sites if site not in other.sites]
                self.calls["audits"] += 1
                self.calls["sites that only a filter named"] += len(failed) * other.up
                self.keeping.auditing.answered(now_s, node, proved, failed, silent=not other.up)


def run(args: argparse.Namespace) -> dict[str, object]:
    watched = Watched(args.seed, args.members, args.sites, args.churn)
    joined_s = watched.cpu_s["statements"]
    watched.cpu_s.clear()
    watched.calls.clear()
    for_s = int(60 * args.minutes)
    watched.run(for_s)
    counted = sum(1 + len(watched.keeping.copies.counted(for_s, site)) for site in watched.keeping.sites())
    return {
        "join_cpu_s": round(joined_s, 3),
        "cpu_percent": round(100 * sum(watched.cpu_s.values()) / for_s, 3),
        "tick_ms": round(1000 * watched.cpu_s["ticks"] / for_s, 3),
        "statement_ms": round(1000 * watched.cpu_s["statements"] / max(1, watched.calls["statements"]), 3),
        "memory_mib": round(watched.memory_mib, 1),
        "statements_a_s": watched.calls["statements"] / for_s,
        "audits_a_s": watched.calls["audits"] / for_s,
        "asks": watched.calls["asks"],
        "asks_that_found_a_copy": watched.calls["asks that found a copy"],
        "filter_errors_asked": watched.calls["sites that only a filter named"],
        "hosts_counted": round(counted / max(1, args.sites), 2),
        "to_audit": int(watched.keeping.auditing.round_s),
    }


def _mean_s(draw: Callable[[random.Random], float]) -> float:
    rng = random.Random(0)
    return sum(draw(rng) for _ in range(20_000)) / 20_000


def _drawn(rng: random.Random, mean: float) -> int:
    return int(mean) + (rng.random() < mean - int(mean))
