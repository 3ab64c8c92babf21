"""The daemon's own part of `fednode doctor`: each check says what is wrong and what to do."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from node.net.port import NetHealth
from node.policy.blocklists import ListStatus
from node.store.port import ScrubState, Usage
from node.upkeep import SCRUB_PERIOD_S

Json = dict[str, Any]

NEARLY_FULL = 0.9
DISK_RESERVE_BYTES = 512 * 1024**2


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
            "peers",
            peers > 0 or bootstrap == 0,
            f"{peers} peers connected",
            "check the addresses in [network] bootstrap, or try `fednode peers --connect ADDRESS`",
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
            f"{len(lists)} lists" + "".join(f"; {status.path}: {status.error}" for status in bad_lists),
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
            f"{usage.corrupt_blocks} damaged blocks",
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
    return f"all blocks were last read {days} days ago, {scrub.last_damaged} were damaged"


def _check(name: str, ok: bool, message: str, hint: str) -> Json:
    return {"name": name, "ok": ok, "message": message, "hint": None if ok else hint}


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1024**3:.1f} GiB" if size_bytes >= 1024**3 else f"{size_bytes / 1024**2:.1f} MiB"
