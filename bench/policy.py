"""Lists of a thousand to a million double-hashed rules: time to compile and to open, memory, and cost of a decision.

./dev bench policy
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from bench.federation import rss_mb
from node.policy.decide import Policy
from node.policy.list_files import ListFiles, Subscription, Version
from node.policy.model import Act, Subject
from protocol.cid import RAW, Cid
from protocol.deny_index import build
from protocol.multibase import encode_bare
from protocol.site_id import SiteId

SIZES = (10**3, 10**4, 10**5, 10**6)
DECISIONS = 5000


def lines(count: int) -> bytes:
    """Half of each generation."""
    new = (b"//" + encode_bare("base58btc", b"\x12\x20" + os.urandom(32)).encode() for _ in range(count // 2))
    old = (b"//" + os.urandom(32).hex().encode() for _ in range(count - count // 2))
    return b"\n".join([*new, *old])


def main() -> None:
    print("rules     compile s  open ms  reload ms  decision us  table MB  RSS MB")
    for count in SIZES:
        raw = lines(count)
        begin = time.perf_counter()
        built = build(raw, now_s=1)
        compile_s = time.perf_counter() - begin
        with tempfile.TemporaryDirectory() as folder:
            files = ListFiles(Path(folder))
            digest = files.save_version(raw, built.table)
            files.save_catalog([Subscription("l", "/l", current=Version(digest, count))])
            begin = time.perf_counter()
            policy = Policy(lists=files.active())
            open_ms = (time.perf_counter() - begin) * 1000
            begin = time.perf_counter()
            files.active()  # what a change of another rule costs a worker
            reload_ms = (time.perf_counter() - begin) * 1000
            cids = [Cid.of(RAW, number.to_bytes(4, "big")) for number in range(DECISIONS)]
            subjects = [Subject(SiteId(bytes(32)), cids[0], "a/b", (cid,)) for cid in cids]
            begin = time.perf_counter()
            for subject in subjects:
                policy.decide(Act.HTTP_SERVE, subject)
            decide_us = (time.perf_counter() - begin) / DECISIONS * 1e6
            table_mb = len(built.table) / 1e6
            print(f"{count:<9} {compile_s:>9.2f} {open_ms:>8.2f} {reload_ms:>10.2f} {decide_us:>12.1f} {table_mb:>9.1f}"
                  f" {rss_mb(os.getpid(), 'VmRSS'):>7}")  # fmt: skip


if __name__ == "__main__":
    main()
