"""What `fednode doctor` can check without the daemon: settings, files, ports, disk, clock."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from config import Config, Paths
from config.addresses import parse_host_port
from config.load import keys_dir
from config.sizes import human_size

# No clock that is right shows less: this code was written then.
CLOCK_MIN_S = 1_795_000_000  # 2026-11-18
CLOCK_LEAP_S = 86_400
OPEN_FILES_MIN = 1024


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `hint` says what to do when it is not ok."""

    name: str
    ok: bool
    message: str
    hint: str | None = None


def local_checks(config: Config, *, running: bool) -> list[Check]:
    """All checks, passed ones too; `running`: whether the daemon holds the ports."""
    paths = Paths(config.data_dir)
    return [
        _data_dir(paths),
        *_private_files(paths),
        *([] if running else _ports(config)),
        _disk(config, paths),
        _open_files(),
        _clock(paths),
        *_exposure(config),
    ]


def _data_dir(paths: Paths) -> Check:
    folder = paths.data_dir
    if not folder.exists():
        parent = next(parent for parent in folder.parents if parent.exists())
        ok = os.access(parent, os.W_OK | os.X_OK)
        return Check("data dir", ok, f"{folder} is not there yet", None if ok else f"{parent} cannot be written to")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return Check("data dir", False, f"no permission to use {folder}", "run this as the user that runs the node")
    if stat.S_IMODE(folder.stat().st_mode) & 0o077:
        return Check("data dir", False, f"others can enter {folder}", f"chmod 700 {folder}")
    return Check("data dir", True, str(folder))


def _private_files(paths: Paths) -> Iterator[Check]:
    """The node key and the publisher's keys: there, and nobody else's to read."""
    found = [paths.node_key, *sorted(keys_dir().glob("*.pem"))]
    for path in found:
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except FileNotFoundError:
            yield Check("node key", True, f"{path} is made at the first start")
        except OSError as error:
            yield Check("key", False, f"cannot look at {path}: {error.strerror}", "run this as the user that owns it")
        else:
            yield _mode_check("node key" if path == paths.node_key else "site key", path, mode)


def _mode_check(name: str, path: Path, mode: int) -> Check:
    if mode & 0o077:
        return Check(name, False, f"others can read {path} (mode {mode:04o})", f"chmod 600 {path}")
    return Check(name, True, str(path))


def _ports(config: Config) -> Iterator[Check]:
    for text in config.gateway.listen:
        yield _port("gateway", *parse_host_port(text))
    for text in config.network.listen:
        _, _, host, _, port = text.split("/")
        yield _port("libp2p", host, int(port))


def _port(what: str, host: str, port: int) -> Check:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((host, port))
    except PermissionError:
        return Check(f"{what} port", False, f"no permission to listen on {place}", "choose a port from 1024 up")
    except OSError as error:
        hint = "another program uses it; choose another port, or stop that program"
        return Check(f"{what} port", False, f"cannot listen on {place}: {error.strerror}", hint)
    return Check(f"{what} port", True, f"{place} is free")


def _disk(config: Config, paths: Paths) -> Check:
    folder = next(folder for folder in (paths.data_dir, *paths.data_dir.parents) if folder.exists())
    free_bytes = shutil.disk_usage(folder).free
    used_bytes = _size_of(paths.store_dir / "packs")
    room_bytes = max(0, config.hosting.quota_bytes + config.gateway.cache_bytes - used_bytes)
    message = f"{human_size(free_bytes)} free, quota and cache may take {human_size(room_bytes)} more"
    if free_bytes >= room_bytes:
        return Check("disk space", True, message)
    return Check("disk space", False, message, "free some space, or lower hosting.quota_bytes or gateway.cache_bytes")


def _size_of(folder: Path) -> int:
    """Bytes on disk: packs have holes."""
    try:
        return sum(entry.stat().st_blocks * 512 for entry in folder.iterdir())
    except OSError:
        return 0


def _open_files() -> Check:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    ok = soft == resource.RLIM_INFINITY or soft >= OPEN_FILES_MIN
    return Check("open files", ok, f"limit {soft}", None if ok else f"raise it: ulimit -n {OPEN_FILES_MIN * 4}")


def _clock(paths: Paths) -> Check:
    now_s = time.time()
    shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now_s))
    hint = "set the clock, and keep it right with NTP (timedatectl set-ntp true)"
    if now_s < CLOCK_MIN_S:
        return Check("clock", False, f"it is {shown}, which cannot be", hint)
    newest_s = max((_changed_s(path) for path in (paths.store_dir / "store.db", paths.node_key)), default=0.0)
    if newest_s > now_s + CLOCK_LEAP_S:
        return Check("clock", False, f"it is {shown}, and files of the node are from the future", hint)
    return Check("clock", True, shown)


def _changed_s(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _exposure(config: Config) -> Iterator[Check]:
    """What is open to the network works for readers only with a name of its own."""
    from cli.start import open_addresses

    opened = open_addresses(config)
    if any(what == "gateway" for what, _ in opened) and config.gateway.domains == ("localhost",):
        yield Check(
            "domains",
            False,
            "the gateway is open to the network, and its only name is localhost",
            "set gateway.domains to a name with a wildcard DNS record (*.ipns.NAME) that points here",
        )
