"""From the death of a host until every site has enough hosts again, and the bytes moved for it.

    ./dev bench repair [--sites 1 100 1000] [--page 2000] [--grace 60]

Four real daemons on loopback, sites that ask for three hosts. One daemon is killed that was no site's publisher; the
three that are left must then all host all sites. The least that any design must move is each missing copy once: its
blocks and its signed release. Moved is all that the daemons sent each other meanwhile: audits, comparisons, the DHT and
packet headers too. The grace period is a choice: a reboot shall move nothing.

As root it runs in a network namespace of its own, so that the bytes are those of the daemons alone; else all traffic on
loopback is counted.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.idle import publish
from protocol.cid import RAW, Cid
from protocol.release import Band, Release, SignedRelease, sign_release
from protocol.site_id import SiteId
from tests.integration.daemons import Daemon, eventually, federation
from tests.integration.own_network import leave_network, moved_bytes

NODES = 4
HOSTS = 3
SETTLE_S = 40.0
LOOK_S = 0.5
DEADLINE_S = 3600.0
# One publisher after another would wait for the disk each time; the daemon writes several together.
PUBLISHERS = 4
# While three others fetch all of it, on the same disk and processors.
PUBLISH_S = 120.0


@dataclass(frozen=True, slots=True)
class Result:
    """first_s, done_s: since the death. missing: copies that had to be made."""

    sites: int
    missing: int
    first_s: float
    done_s: float
    moved_bytes: int
    least_bytes: int


def releases(count: int, page_bytes: int) -> list[tuple[SignedRelease, bytes]]:
    """Sites of one page each, that nothing can compress or share."""
    found = []
    for _ in range(count):
        key, page = Ed25519PrivateKey.generate(), os.urandom(page_bytes)
        release = Release(
            site=SiteId.of(key),
            seq=1,
            prev=None,
            root=Cid.of(RAW, page),
            size_bytes=len(page),
            block_count=1,
            band=Band(HOSTS, HOSTS),
            domains=(),
            created_s=int(time.time()),
            ended=False,
        )
        found.append((sign_release(release, key), page))
    return found


def hosted(daemons: list[Daemon]) -> list[int]:
    return [int(daemon.status()["sites"]["hosted"]) for daemon in daemons]


def know_each_other(daemons: list[Daemon]) -> None:
    """Or a site is offered to all: while few members are known, all of them are first in its order."""
    for daemon in daemons:
        with daemon.admin() as client:
            known = client.members()
        assert len(known) == len(daemons), f"{daemon.name} knows {len(known)} members"


def wait_settled(daemons: list[Daemon], sites: int) -> None:
    """Until there are enough copies and nothing has changed for a while."""
    quiet_since_s, before = time.monotonic(), [0]
    while time.monotonic() < quiet_since_s + SETTLE_S:
        now = hosted(daemons)
        if now != before or sum(now) < HOSTS * sites:
            quiet_since_s, before = time.monotonic(), now
        time.sleep(LOOK_S)


def measure(count: int, page_bytes: int, grace_s: int) -> Result:
    started_s, made = time.monotonic(), releases(count, page_bytes)
    with federation(NODES, hosting_grace_s=str(grace_s), log_level="error") as daemons:
        eventually(lambda: know_each_other(daemons), 60.0)
        tell(started_s, f"{NODES} daemons run and know each other")
        trio.run(publish_all, daemons[0], made)
        tell(started_s, f"{count} sites published")
        wait_settled(daemons, count)
        tell(started_s, f"settled: {hosted(daemons)} copies; one is killed")
        victim = max(daemons[1:], key=lambda daemon: hosted([daemon]))
        left = [daemon for daemon in daemons if daemon is not victim]
        had = hosted(left)
        missing = len(left) * count - sum(had)
        before, began_s, first_s = moved_bytes(), time.monotonic(), 0.0
        victim.kill()
        while sum(now := hosted(left)) < len(left) * count:
            if not first_s and now != had:
                first_s = time.monotonic() - began_s
            if time.monotonic() > began_s + DEADLINE_S:
                raise TimeoutError(f"{now} of {count} sites after {DEADLINE_S:g} s")
            time.sleep(LOOK_S)
        done_s = time.monotonic() - began_s
        moved = moved_bytes() - before
    envelope_bytes = len(made[0][0].encode())
    least = missing * (page_bytes + envelope_bytes)
    return Result(count, missing, first_s or done_s, done_s, moved, least)


async def publish_all(daemon: Daemon, made: list[tuple[SignedRelease, bytes]]) -> None:
    waiting = iter(made)

    async def publish_some() -> None:
        for signed, page in waiting:
            await publish(daemon, signed, page, idle_s=PUBLISH_S)

    async with trio.open_nursery() as nursery:
        for _ in range(PUBLISHERS):
            nursery.start_soon(publish_some)


def tell(began_s: float, what: str) -> None:
    print(f"  {time.monotonic() - began_s:6.0f} s  {what}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sites", type=int, nargs="+", default=[1, 100, 1000])
    parser.add_argument("--page", type=int, default=2000, help="bytes of each site")
    parser.add_argument("--grace", type=int, default=60, help="hosting.grace_s")
    args = parser.parse_args()
    if not leave_network():
        print("not root: all traffic on loopback is counted", file=sys.stderr)
    print(f"{NODES} daemons, {HOSTS} hosts a site, sites of {args.page} bytes, grace period {args.grace} s")
    print("  sites  copies lost  first new copy    all back      moved      least  moved/least")
    for count in args.sites:
        found = measure(count, args.page, args.grace)
        times = found.moved_bytes / found.least_bytes if found.least_bytes else 0.0
        print(
            f"{found.sites:7}  {found.missing:11}  {found.first_s:12.1f} s  {found.done_s:8.1f} s"
            f"  {found.moved_bytes / 1e3:7.0f} KB  {found.least_bytes / 1e3:6.0f} KB  {times:11.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
