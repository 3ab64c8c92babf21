"""The block store against a file per block, SQLite blobs, LMDB, and raw sequential writes to one file.

    ./dev bench store [--dir DIR] [--scale 1.0] [--rounds 1] [--grow 1000000]

All are measured by turns in one run on one disk and printed as ratios to a raw write: absolute numbers differ from
machine to machine, and from second to second where others use it too, so CPU time for a block stands beside them.
Batches that are durable one by one are compared with a raw write that is synced as often. The store hashes what it
takes and what it gives; the others do neither, except the raw write that says so. Without --dir a folder below the
current one is used, since /tmp may be memory. --grow also measures writes, reads and starts from 10^4 blocks up.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import lmdb
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.store.disk import DiskStore, open_store
from node.store.port import Hold, Origin
from protocol.cid import RAW, Cid
from protocol.release import Release, SignedRelease, sign_release
from protocol.site_id import SiteId

KIB = 1024
BATCH = 100
QUOTA_BYTES = 1 << 40
Block = tuple[Cid, bytes]


class Contestant(Protocol):
    """`put` returns when the blocks would survive loss of power; `unmap` leaves no page mapped, which would stay."""

    def put(self, blocks: Sequence[Block]) -> None: ...
    def finish(self) -> None: ...
    def unmap(self) -> None: ...
    def get(self, cid: Cid) -> bytes: ...
    def delete_odd(self, cids: Sequence[Cid]) -> None: ...
    def close(self) -> None: ...


class Packs:
    """fednode's store. Every second block belongs to another site, so that deleting half is dropping a site."""

    def __init__(self, folder: Path, blocks: Sequence[Block]) -> None:
        self._store = open_store(folder, quota_bytes=QUOTA_BYTES)
        self._holds = [self._store.begin_hold(release_of(seed, blocks[seed::2])) for seed in (0, 1)]
        self._count = 0

    def put(self, blocks: Sequence[Block]) -> None:
        self.put_unsynced(blocks)
        self._store.sync()

    def put_unsynced(self, blocks: Sequence[Block]) -> None:
        for seed in (0, 1):
            mine = blocks[(seed - self._count) % 2 :: 2]
            if mine:
                self._store.put_blocks(self._holds[seed], mine)
        self._count += len(blocks)

    def finish(self) -> None:
        for hold in self._holds:
            self._store.finish_hold(hold, origin=Origin.PUBLISHED)

    def unmap(self) -> None:
        """Packs are read, not mapped."""

    def get(self, cid: Cid) -> bytes:
        return self._store.get_block(cid)

    def delete_odd(self, cids: Sequence[Cid]) -> None:
        self._store.drop_site(self._holds[1].site)
        self._store.compact()

    def close(self) -> None:
        self._store.close()


class FilePerBlock:
    def __init__(self, folder: Path, blocks: Sequence[Block]) -> None:
        self._folder = folder
        for name in range(256):
            (folder / f"{name:02x}").mkdir(parents=True)

    def _path(self, cid: Cid) -> Path:
        return self._folder / f"{cid[-1]:02x}" / cid.hex()

    def put(self, blocks: Sequence[Block]) -> None:
        folders = set()
        for cid, data in blocks:
            path = self._path(cid)
            with open(path.with_suffix(".new"), "wb") as file:
                file.write(data)
                file.flush()
                os.fdatasync(file.fileno())
            path.with_suffix(".new").rename(path)
            folders.add(path.parent)
        for folder in folders:
            fd = os.open(folder, os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)

    def finish(self) -> None:
        """All of it is there."""

    def unmap(self) -> None:
        """Nothing is mapped."""

    def get(self, cid: Cid) -> bytes:
        return self._path(cid).read_bytes()

    def delete_odd(self, cids: Sequence[Cid]) -> None:
        for cid in cids[1::2]:
            self._path(cid).unlink()

    def close(self) -> None:
        """Nothing is open."""


class SqliteBlobs:
    def __init__(self, folder: Path, blocks: Sequence[Block]) -> None:
        folder.mkdir()
        self._connection = sqlite3.connect(folder / "blobs.db", isolation_level=None)
        for pragma in ("journal_mode = WAL", "synchronous = FULL"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.execute("CREATE TABLE blobs (cid BLOB PRIMARY KEY, data BLOB) WITHOUT ROWID")

    def put(self, blocks: Sequence[Block]) -> None:
        self._connection.execute("BEGIN")
        self._connection.executemany("INSERT INTO blobs VALUES (?, ?)", blocks)
        self._connection.execute("COMMIT")

    def finish(self) -> None:
        """All of it is there."""

    def unmap(self) -> None:
        """Nothing is mapped."""

    def get(self, cid: Cid) -> bytes:
        (data,) = self._connection.execute("SELECT data FROM blobs WHERE cid = ?", (cid,)).fetchone()
        return bytes(data)

    def delete_odd(self, cids: Sequence[Cid]) -> None:
        self._connection.execute("BEGIN")
        self._connection.executemany("DELETE FROM blobs WHERE cid = ?", ((cid,) for cid in cids[1::2]))
        self._connection.execute("COMMIT")

    def close(self) -> None:
        self._connection.close()


class Lmdb:
    def __init__(self, folder: Path, blocks: Sequence[Block]) -> None:
        size = sum(len(data) for _, data in blocks)
        self._open: Callable[[], Any] = lambda: lmdb.open(str(folder), map_size=4 * size + (256 << 20))
        self._env: Any = self._open()

    def put(self, blocks: Sequence[Block]) -> None:
        with self._env.begin(write=True) as tx:
            for cid, data in blocks:
                tx.put(bytes(cid), data)

    def finish(self) -> None:
        """All of it is there."""

    def unmap(self) -> None:
        self._env.close()
        self._env = self._open()

    def get(self, cid: Cid) -> bytes:
        with self._env.begin() as tx:
            return bytes(tx.get(bytes(cid)))

    def delete_odd(self, cids: Sequence[Cid]) -> None:
        with self._env.begin(write=True) as tx:
            for cid in cids[1::2]:
                tx.delete(bytes(cid))

    def close(self) -> None:
        self._env.close()


CONTESTANTS: dict[str, Callable[[Path, Sequence[Block]], Contestant]] = {
    "packs": Packs,
    "files": FilePerBlock,
    "sqlite": SqliteBlobs,
    "lmdb": Lmdb,
}


def made(seed: int, count: int, size: int) -> list[Block]:
    source = random.Random(seed)
    datas = (source.randbytes(size) for _ in range(count))
    return [(Cid.of(RAW, data), data) for data in datas]


def release_of(seed: int, blocks: Sequence[Block]) -> SignedRelease:
    key = Ed25519PrivateKey.from_private_bytes(bytes([seed + 1]) * 32)
    total = sum(len(data) for _, data in blocks)
    return sign_release(Release(SiteId.of(key), 1, None, blocks[0][0], total, len(blocks)), key)


class Took(NamedTuple):
    """Seconds of wall, and of CPU of all threads."""

    wall_s: float
    cpu_s: float


def took(call: Callable[[], object]) -> Took:
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    call()
    wall_s, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    return Took(wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def batches_of(blocks: Sequence[Block]) -> list[Sequence[Block]]:
    return [blocks[first : first + BATCH] for first in range(0, len(blocks), BATCH)]


def put_all(contestant: Contestant, batches: Iterable[Sequence[Block]]) -> None:
    for batch in batches:
        contestant.put(batch)


# --- what the disk takes -----------------------------------------------------------------------------------

RAW_END = "raw write, one fsync"
RAW_HASHED = "the same + sha256"
PACKS_END = "packs, one sync"
RAW_BATCHES = "raw write, fsync per 100"


def raw_write(path: Path, batches: Iterable[Sequence[Block]], *, hashed: bool = False, sync_each: bool = False) -> None:
    """One file, written in order by one thread."""
    with open(path, "wb", buffering=0) as file:
        for batch in batches:
            for _, data in batch:
                if hashed:
                    hashlib.sha256(data).digest()
                file.write(data)
            if sync_each:
                os.fdatasync(file.fileno())
        os.fdatasync(file.fileno())


def packs_write(folder: Path, blocks: Sequence[Block]) -> Took:
    """As a publish does: batches, all of them durable at the end."""
    packs = Packs(folder, blocks)

    def run() -> None:
        for batch in batches_of(blocks):
            packs.put_unsynced(batch)
        packs.put([])

    found = took(run)
    packs.close()
    return found


def limits(folder: Path, blocks: Sequence[Block]) -> dict[str, Took]:
    """Raw writes, and the packs beside them. The first file of all, unmeasured, has the kernel find memory for it."""
    batches, path = batches_of(blocks), folder / "raw"
    raw_write(path, batches)
    found = {}
    for name, options in ((RAW_END, {}), (RAW_HASHED, {"hashed": True}), (RAW_BATCHES, {"sync_each": True})):
        path.unlink()
        found[name] = took(lambda options=options: raw_write(path, batches, **options))  # type: ignore[misc]
    path.unlink()
    found[PACKS_END] = packs_write(folder / "one-sync", blocks)
    shutil.rmtree(folder / "one-sync")
    return found


def forget_pages(folder: Path) -> None:
    """So that the next reads come from the disk. Linux does so for pages that are written back."""
    for path in folder.rglob("*"):
        if path.is_file():
            fd = os.open(path, os.O_RDONLY)
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)


def disk_bytes(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file() and path.name != "ballast")


def measure(name: str, folder: Path, blocks: Sequence[Block], each: Sequence[Block]) -> dict[str, Took | float]:
    """Time of each kind of work for a block, and the part of the disk space that deleting half gives back."""
    make = CONTESTANTS[name]
    alone = make(folder / "each", each)
    found: dict[str, Took | float] = {}
    found["durable each"] = per_block(took(lambda: put_all(alone, [[block] for block in each])), len(each))
    alone.close()
    shutil.rmtree(folder / "each")
    cids = [cid for cid, _ in blocks]
    mixed = random.Random(1).sample(cids, len(cids))
    kept = make(folder / "kept", blocks)
    found["batches of 100"] = per_block(took(lambda: put_all(kept, batches_of(blocks))), len(blocks))
    kept.finish()
    for temperature in ("cold", "warm"):
        for order, wanted in (("sequential", cids), ("random", mixed)):
            if temperature == "cold":
                kept.unmap()
                forget_pages(folder / "kept")
            read = took(lambda wanted=wanted: [kept.get(cid) for cid in wanted])  # type: ignore[misc]
            found[f"{order} read, {temperature}"] = per_block(read, len(cids))
    before = disk_bytes(folder / "kept")
    found["delete half"] = per_block(took(lambda: kept.delete_odd(cids)), len(cids) // 2)
    found["space given back"] = 1 - disk_bytes(folder / "kept") / before
    kept.close()
    shutil.rmtree(folder / "kept")
    return found


def per_block(found: Took, count: int) -> Took:
    return Took(found.wall_s / count, found.cpu_s / count)


def median(values: Sequence[Took | float]) -> Took | float:
    pairs = [value for value in values if isinstance(value, Took)]
    if not pairs:
        return statistics.median(value for value in values if isinstance(value, float))
    return Took(statistics.median(pair.wall_s for pair in pairs), statistics.median(pair.cpu_s for pair in pairs))


def medians(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {what: median([row[what] for row in rows]) for what in rows[0]}


def compare(folder: Path, size: int, count: int, each: int, rounds: int) -> dict[str, Any]:
    """Medians for a block, of the contestants by turns; in front of each what the disk takes at that moment."""
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTESTANTS}
    raws = []
    for number in range(rounds):
        blocks = made(number, count, size)
        for name, rows in results.items():
            raws.append({what: per_block(value, count) for what, value in limits(folder, blocks).items()})
            rows.append(measure(name, folder, blocks, blocks[:each]))
    found = {name: medians(rows) for name, rows in results.items()}
    return {"size_bytes": size, "blocks": count, "raw": medians(raws), "results": found}


def show(found: dict[str, Any]) -> None:
    """Blocks a second, the ratio to the raw write (for durable batches: to the one with as many syncs), CPU."""
    size, raw = found["size_bytes"], found["raw"]
    print(f"\n{size // KIB} KiB blocks ({found['blocks']}); 1.00 = {size / raw[RAW_END].wall_s / 1e6:.0f} MB/s")
    for what, value in raw.items():
        print(f"{what:26}{cell(value, raw[RAW_END]):>28}")
    names = list(found["results"])
    print(f"\n{'':24}" + "".join(f"{name:>28}" for name in names))
    for what in found["results"]["packs"]:
        values = [found["results"][name][what] for name in names]
        base = raw[RAW_BATCHES if what == "batches of 100" else RAW_END]
        cells = [f"{value:.0%}" if isinstance(value, float) else cell(value, base) for value in values]
        print(f"{what:24}" + "".join(f"{each:>28}" for each in cells))


def cell(value: Took, base: Took) -> str:
    return f"{1 / value.wall_s:,.0f}/s {base.wall_s / value.wall_s:5.2f} {value.cpu_s * 1e6:5,.0f} µs"


# --- growth ------------------------------------------------------------------------------------------------


def grow(folder: Path, most: int, size: int) -> list[dict[str, float]]:
    """Each step is written by a process that ends without closing; what is measured is the next start, too."""
    rows = []
    count = 0
    for target in [10**exponent for exponent in range(4, 10) if 10**exponent <= most]:
        report = folder / "report"
        child = os.fork()
        if child == 0:
            _grow_to(folder / "grown", count, target, size, report)
        os.waitpid(child, 0)
        count = target
        began = time.perf_counter()
        store = open_store(folder / "grown", quota_bytes=QUOTA_BYTES)
        after_kill_s = time.perf_counter() - began
        wanted = [block[0] for block in made(count - 1000, 1000, size)]
        read = took(lambda store=store, wanted=wanted: [store.get_block(cid) for cid in wanted])  # type: ignore[misc]
        store.close()
        began = time.perf_counter()
        open_store(folder / "grown", quota_bytes=QUOTA_BYTES).close()
        rows.append(
            {
                "blocks": count,
                **json.loads(report.read_text()),
                "read_per_s": 1000 / read.wall_s,
                "start_after_kill_s": after_kill_s,
                "start_and_stop_s": time.perf_counter() - began,
            }
        )
    return rows


def _grow_to(folder: Path, count: int, target: int, size: int, report: Path) -> None:
    try:
        store = open_store(folder, quota_bytes=QUOTA_BYTES)
        hold = _hold_of(store, target, (target - count) * size, count)
        put_s = cpu_s = 0.0
        for first in range(count, target, 1000):
            blocks = made(first, 1000, size)
            put = took(lambda blocks=blocks: [store.put_blocks(hold, batch) for batch in batches_of(blocks)])  # type: ignore[misc]
            put_s, cpu_s = put_s + put.wall_s, cpu_s + put.cpu_s
        store.finish_hold(hold, origin=Origin.PUBLISHED)
        tail = made(target, 1000, size)
        store.put_blocks(_hold_of(store, 0, 1000 * size, target - 1000, spare=True), tail[:500])
        count = target - count
        report.write_text(json.dumps({"put_per_s": count / put_s, "put_cpu_us": 1e6 * cpu_s / count}))
    finally:
        os._exit(0)


def _hold_of(store: DiskStore, target: int, total: int, count: int, *, spare: bool = False) -> Hold:
    key = Ed25519PrivateKey.from_private_bytes((target + spare).to_bytes(32, "big") if target else bytes([9]) * 32)
    number = 1000 if spare else target - count
    seq = 1 if not spare else count + 1
    return store.begin_hold(sign_release(Release(SiteId.of(key), seq, None, Cid.of(RAW, b"x"), total, number), key))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--dir", type=Path, default=Path.cwd(), help="a folder on the disk to measure")
    parser.add_argument("--scale", type=float, default=1.0, help="how many blocks, times the default")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--grow", type=int, metavar="BLOCKS", help="also grow a store up to so many blocks")
    parser.add_argument("--grow-size", type=int, default=100, metavar="BYTES", help="of each block; default 100")
    parser.add_argument("--only-grow", action="store_true")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args(arguments)
    found: dict[str, Any] = {"compared": [], "growth": []}
    with tempfile.TemporaryDirectory(dir=chosen.dir, prefix=".bench-store-") as name:
        folder = Path(name)
        if not chosen.only_grow:
            for size, count, each in ((256 * KIB, 600, 100), (4 * KIB, 10_000, 300)):
                scaled = max(BATCH, int(count * chosen.scale))
                found["compared"].append(compare(folder, size, scaled, min(each, scaled), chosen.rounds))
        if chosen.grow:
            found["growth"] = grow(folder, chosen.grow, chosen.grow_size)
    if chosen.json:
        json.dump(found, sys.stdout, indent=2)
        return
    print(f"load of the last minutes {os.getloadavg()} on {os.cpu_count()} cores")
    for comparison in found["compared"]:
        show(comparison)
    for row in found["growth"]:
        print(
            f"{row['blocks']:>9,} blocks: {row['put_per_s']:,.0f} put/s ({row['put_cpu_us']:.1f} µs of CPU),"
            f" {row['read_per_s']:,.0f} random read/s, start {row['start_after_kill_s']:.2f} s after a kill,"
            f" {row['start_and_stop_s']:.2f} s with stop else"
        )


if __name__ == "__main__":
    main()
