"""The daemon's own part of `fednode doctor`: each check says what is wrong and what to do."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from config.sizes import human_size
from node.core.announcing import AnnouncingReport
from node.core.keeping import Keeping
from node.monitor import LoopReport
from node.net.port import NetHealth
from node.policy.list_status import ListStatus
from node.store.port import ScrubState, Usage
from node.upkeep import SCRUB_PERIOD_S
from protocol.plain import count
from protocol.release import SignedRelease
from protocol.site_id import SiteId

Json = dict[str, Any]

NEARLY_FULL = 0.9
DISK_RESERVE_BYTES = 512 * 1024**2
# Within the minutes that the monitor looks back: fewer are a busy machine's.
LOOP_STALLS_MAX = 60
ANNOUNCE_LATE_S = 3600.0


def checks(
    *,
    usage: Usage,
    scrub: ScrubState,
    now_s: float,
    health: NetHealth,
    peers: int,
    bootstrap: int,
    lists: Sequence[ListStatus],
    workers: int,
    workers_wanted: int,
    data_dir: Path,
) -> list[Json]:
    """All checks, passed ones too."""
    bad_lists = [status for status in lists if status.error]
    return [
        _check(
            "network",
            health.state == "running",
            f"libp2p is {health.state}, {health.restarts} restarts"
            + (f", last error: {health.last_error}" if health.last_error else ""),
            "if it stays so, look into the log and restart the daemon",
        ),
        _check(
            "twin",
            health.twin_at is None,
            f"another process at {health.twin_at} runs with this node's key: others take the two for one"
            if health.twin_at
            else "no other process was met that runs with this node's key",
            "a data directory was copied: stop one of the two and delete its node.pem; it gets a key at its next start",
        ),
        _check(
            "peers",
            peers > 0 or bootstrap == 0,
            f"{count(peers, 'peer')} connected",
            "check bootstrap and dns_seeds in [network], or try `fednode peers --connect ADDRESS`",
        ),
        *_store_checks(usage, scrub, now_s, data_dir),
        _check(
            "gateway",
            workers >= workers_wanted,
            f"{workers} of {workers_wanted} gateway workers running",
            "look into the log; workers are restarted by themselves",
        ),
        _check(
            "blocklists",
            not bad_lists,
            count(len(lists), "list") + "".join(f"; {status.path}: {status.error}" for status in bad_lists),
            "mend or remove the list; the last good rules stay in force until then",
        ),
    ]


def _store_checks(usage: Usage, scrub: ScrubState, now_s: float, data_dir: Path) -> list[Json]:
    free_bytes = shutil.disk_usage(data_dir).free
    room = usage.free_bytes
    return [
        _check(
            "quota",
            usage.free_bytes >= (1 - NEARLY_FULL) * usage.quota_bytes,
            f"{_size(usage.used_bytes)} of {_size(usage.quota_bytes)} used",
            "raise [hosting] quota_bytes or drop a site; new sites are refused when it is full",
        ),
        _check(
            "disk",
            free_bytes - DISK_RESERVE_BYTES >= min(room, DISK_RESERVE_BYTES),
            f"{_size(free_bytes)} free on the disk of {data_dir}, the quota allows {_size(room)} more",
            "free some space or lower [hosting] quota_bytes",
        ),
        _check(
            "blocks",
            usage.corrupt_blocks == 0,
            count(usage.corrupt_blocks, "damaged block"),
            "they are not served and are fetched again from other hosts; check the disk",
        ),
        _check(
            "scrub",
            not scrub.began_s or now_s - scrub.began_s < 2 * SCRUB_PERIOD_S,
            _scrub_message(scrub, now_s),
            "the disk is slow or the node seldom runs; `fednode store verify` reads everything now",
        ),
    ]


def _scrub_message(scrub: ScrubState, now_s: float) -> str:
    if not scrub.finished_s:
        return "the blocks are being read for the first time"
    days = max(0, int(now_s - scrub.finished_s)) // 86400
    return f"all blocks were last read {count(days, 'day')} ago, damaged: {scrub.last_damaged}"


def member_checks(keeping: Keeping, forked: Sequence[SiteId]) -> list[Json]:
    """Are there hosts enough, is the clock right, and does every publisher's key speak with one voice?"""
    needs, off_s = keeping.repair.needs(), keeping.clock.off_s
    return [
        _check(
            "hosts",
            not needs or len(keeping.members) <= 1,
            f"{len(needs)} hosted sites have fewer hosts than they ask for"
            if needs
            else "every hosted site has the hosts that it asks for",
            "members are asked by themselves; `fednode resilience SITE` says what else helps",
        ),
        _check(
            "clock",
            off_s == 0,
            f"the clock is off by {off_s:.0f} s, say most peers" if off_s else "the clock is that of the peers",
            "set the clock of this machine (NTP); until then it is corrected by what peers say",
        ),
        _check(
            "forks",
            not forked,
            f"two releases of one number were signed for {', '.join(map(str, forked[:3]))}"
            if forked
            else "no site's key signed two releases of one number",
            "its publisher should look for a copy of the key, and publish again; `fednode show SITE` has the proof",
        ),
    ]


def room_check(lacking: Sequence[SignedRelease]) -> Json:
    """Is the newest release of every site here? lacking: those that quota or disk has no room for."""
    named = "; ".join(f"{each.site}: release {each.seq}, {human_size(each.release.size_bytes)}" for each in lacking[:3])
    more = f"; and {len(lacking) - 3} more" if len(lacking) > 3 else ""
    return _check(
        "room",
        not lacking,
        f"no room for the newest release of {count(len(lacking), 'site')}: {named}{more}"
        if lacking
        else "no newer release waits for room",
        "raise hosting.quota_bytes, free disk space, or give up a site (fednode block SITE --now --drop); what was "
        "here before is served meanwhile, and a fetch is tried every minute",
    )


def timely_checks(loop: LoopReport, announcing: AnnouncingReport | None, peers: int) -> list[Json]:
    """Does the daemon do things in time? `announcing` is None for a node that takes no part in the DHT."""
    found = [
        _check(
            "loop",
            loop.recent_stalls <= LOOP_STALLS_MAX,
            f"{loop.stalls} waits of more than 20 ms since the start, the longest {loop.worst_s * 1000:.0f} ms; "
            f"lately {loop.recent_stalls}, {loop.recent_worst_s * 1000:.0f} ms",
            "the machine is too busy, or fednode has a bug: `fednode status --json` tells them apart (worst_cpu_ms)",
        )
    ]
    if announcing is not None:
        found.append(
            _check(
                "announcing",
                announcing.late_s < ANNOUNCE_LATE_S or peers == 0,
                f"{count(announcing.sites, 'site')}, {announcing.waiting:,} wait to be announced in the DHT, "
                f"the first for {announcing.late_s:.0f} s",
                "no other node takes part in the DHT, or there are more sites than this machine can announce in time",
            )
        )
    return found


def _check(name: str, ok: bool, message: str, hint: str) -> Json:
    return {"name": name, "ok": ok, "message": message, "hint": None if ok else hint}


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1024**3:.1f} GiB" if size_bytes >= 1024**3 else f"{size_bytes / 1024**2:.1f} MiB"
