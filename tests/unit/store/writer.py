"""A process that writes to a store as fast as it can and says what was acknowledged; to be killed at any time."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

from node.store.disk import open_store
from node.store.port import RuleRow
from tests.conformance.store_kit import SMALL, Blocks, Publisher, blocks, publish

SITES = 3


def content_of(site: int, seq: int) -> Blocks:
    """Half of it new with every release, the rest with every eighth."""
    return {**blocks(1000 * site + seq // 8, 12, 900), **blocks(100_000 * site + seq, 12, 900)}


def main(path: Path) -> None:
    store = open_store(path, quota_bytes=10_000_000, limits=SMALL)
    for number in itertools.count():
        site = number % SITES + 1
        publisher = Publisher(site)
        record = store.site(publisher.site)
        seq = record.head.seq + 1 if record else 1
        if seq % 7 == 0:
            store.drop_site(publisher.site)
            say("dropped", site, seq - 1)
        content = content_of(site, seq)
        publish(store, publisher.release(content, seq=seq), content)
        say("held", site, seq)
        store.add_rules([RuleRow(f"/ipns/{site}", "refuse", "policy", str(seq), 0)])
        say("ruled", site, seq)


def say(what: str, site: int, seq: int) -> None:
    sys.stdout.write(f"{what} {site} {seq}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
