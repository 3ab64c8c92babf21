"""26,000 reports: taken in one by one, joined into cases, listed, and decided in bulk, with log entries and rules.

Run: .venv/bin/python -m bench.reports [COUNT]
"""

from __future__ import annotations

import random
import resource
import sys
import tempfile
import time
from pathlib import Path

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from config import Config
from node.casework.book import Case, ReportBook
from node.casework.desk import Desk
from node.casework.model import CATEGORIES, Report
from node.decisions.log import DecisionLog
from node.notices.book import NoticeBook
from node.notices.office import NoticeOffice, Terms
from node.policy_loader import PolicyLoader
from node.store.disk import open_store
from protocol.site_id import SiteId

SUBJECTS = 4000


def memory_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


class NoHosts:
    """Nothing is hosted here."""

    async def drop(self, sites: list[SiteId]) -> int:
        return 0

    def offer(self, site: SiteId) -> None:
        pass


def _open_cases(book: ReportBook) -> list[Case]:
    found: list[Case] = []
    while page := book.cases(offset=len(found)):
        found += page
    return found


async def measure(count: int, folder: Path) -> None:
    rng = random.Random(6)
    sites = [SiteId.of(Ed25519PrivateKey.from_private_bytes(rng.randbytes(32))) for _ in range(SUBJECTS)]
    names = list(CATEGORIES)
    weights = [1 / (number + 1) for number in range(SUBJECTS)]
    subjects = rng.choices(sites, weights, k=count)
    reports = [Report(f"/ipns/{s}", f"/ipns/{s}/x", rng.choice(names), "why " * 20, "me@example.org") for s in subjects]
    store = open_store(folder / "store", quota_bytes=1024**3, cache_bytes=1024**2)
    key = Ed25519PrivateKey.generate()
    log = DecisionLog(folder / "decisions.db", key, now_s=lambda: int(time.time()))
    policies = PolicyLoader(Config(data_dir=folder), store, log)
    book = ReportBook(folder / "reports.db", now_s=lambda: int(time.time()))
    office = NoticeOffice(NoticeBook(folder / "notices.db"), store, policies, log, NoHosts(), key, Terms())
    desk = Desk(book, office, log)
    before_mb = memory_mb()
    took = []
    for report in reports:
        began_s = time.perf_counter()
        book.add([report])
        took.append(time.perf_counter() - began_s)
    took.sort()
    print(f"take in one by one: {count / sum(took):,.0f}/s, p50 {took[count // 2] * 1e3:.2f} ms, "
          f"p99 {took[count * 99 // 100] * 1e3:.2f} ms")  # fmt: skip
    began_s = time.perf_counter()
    page = book.cases(limit=100)
    print(f"list the 100 most urgent of {book.backlog().open}: {(time.perf_counter() - began_s) * 1e3:.1f} ms")
    began_s = time.perf_counter()
    await desk.decide(str(page[0].id), verdict="refuse", reason="one", note="", secret=False)
    print(f"decide one: {(time.perf_counter() - began_s) * 1e3:.0f} ms")
    waiting = [case.id for case in _open_cases(book)]
    some = ",".join(map(str, waiting[: len(waiting) // 2]))
    began_s = time.perf_counter()
    done = await desk.decide(some, verdict="quarantine", reason="many", note="", secret=False)
    spent_s = time.perf_counter() - began_s
    print(f"refuse {done['decided']} cases: {spent_s:.1f} s, {spent_s / done['decided'] * 1e3:.2f} ms each")
    began_s = time.perf_counter()
    done = await desk.decide(f"1-{max(waiting)}", verdict="dismiss", reason="no", note="", secret=False)
    print(f"dismiss {done['decided']} cases: {time.perf_counter() - began_s:.2f} s")
    print(f"log: {log.reader.size()} entries; memory {before_mb} -> {memory_mb()} MB; "
          f"reports.db {(folder / 'reports.db').stat().st_size / 1e6:.1f} MB")  # fmt: skip
    store.close()


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 26_000
    with tempfile.TemporaryDirectory() as folder:
        trio.run(measure, count, Path(folder))


if __name__ == "__main__":
    main()
