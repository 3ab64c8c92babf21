"""The block store against a file per block, SQLite blobs, LMDB, and a raw sequential write with one fsync.

    python -m bench.store [--dir DIR] [--scale 1.0] [--rounds 1] [--grow 1000000]

All are measured in one run on one disk and printed as ratios to the raw write: absolute numbers differ from machine to
machine. The store hashes what it takes and what it gives; the others do neither. Without --dir a folder below the
current one is used, since /tmp may be memory. --grow also measures writes, reads and starts from 10^4 blocks up.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

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
    """`put` returns when the blocks would survive loss of power."""

    def put(self, blocks: Sequence[Block]) -> None: ...
    def finish(self) -> None: ...
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
        for seed in (0, 1):
            mine = blocks[(seed - self._count) % 2 :: 2]
            if mine:
                self._store.put_blocks(self._holds[seed], mine)
        self._count += len(blocks)
        self._store.sync()

    def finish(self) -> None:
        for hold in self._holds:
            self._store.finish_hold(hold, origin=Origin.PUBLISHED)

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
        self._env: Any = import_module("lmdb").open(str(folder), map_size=4 * size + (256 << 20))

    def put(self, blocks: Sequence[Block]) -> None:
        with self._env.begin(write=True) as tx:
            for cid, data in blocks:
                tx.put(bytes(cid), data)

    def finish(self) -> None:
        """All of it is there."""

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
}
if find_spec("lmdb") is not None:
    CONTESTANTS["lmdb"] = Lmdb


def made(seed: int, count: int, size: int) -> list[Block]:
    source = random.Random(seed)
    datas = (source.randbytes(size) for _ in range(count))
    return [(Cid.of(RAW, data), data) for data in datas]


def release_of(seed: int, blocks: Sequence[Block]) -> SignedRelease:
    key = Ed25519PrivateKey.from_private_bytes(bytes([seed + 1]) * 32)
    total = sum(len(data) for _, data in blocks)
    return sign_release(Release(SiteId.of(key), 1, None, blocks[0][0], total, len(blocks)), key)


def seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def put_all(contestant: Contestant, batches: Iterable[Sequence[Block]]) -> None:
    for batch in batches:
        contestant.put(batch)


def raw_write(path: Path, blocks: Iterable[Block]) -> None:
    """The most that the disk takes: one file, one fsync at the end."""
    with open(path, "wb", buffering=0) as file:
        for _, data in blocks:
            file.write(data)
        os.fdatasync(file.fileno())


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


def measure(name: str, folder: Path, blocks: Sequence[Block], each: Sequence[Block]) -> dict[str, float]:
    """Blocks a second for each kind of work, and the part of the disk space that deleting half gives back."""
    make = CONTESTANTS[name]
    alone = make(folder / "each", each)
    found = {"durable each": len(each) / seconds(lambda: put_all(alone, [[block] for block in each]))}
    alone.close()
    shutil.rmtree(folder / "each")
    cids = [cid for cid, _ in blocks]
    mixed = random.Random(1).sample(cids, len(cids))
    kept = make(folder / "kept", blocks)
    batches = [blocks[first : first + BATCH] for first in range(0, len(blocks), BATCH)]
    found["batches of 100"] = len(blocks) / seconds(lambda: put_all(kept, batches))
    kept.finish()
    for temperature in ("cold", "warm"):
        for order, wanted in (("sequential", cids), ("random", mixed)):
            if temperature == "cold":
                forget_pages(folder / "kept")
            took = seconds(lambda wanted=wanted: [kept.get(cid) for cid in wanted])  # type: ignore[misc]
            found[f"{order} read, {temperature}"] = len(cids) / took
    before = disk_bytes(folder / "kept")
    found["delete half"] = len(cids) // 2 / seconds(lambda: kept.delete_odd(cids))
    found["space given back"] = 1 - disk_bytes(folder / "kept") / before
    kept.close()
    shutil.rmtree(folder / "kept")
    return found


def compare(folder: Path, size: int, count: int, each: int, rounds: int) -> dict[str, Any]:
    results: dict[str, list[dict[str, float]]] = {name: [] for name in CONTESTANTS}
    raws = []
    for number in range(rounds):
        blocks = made(number, count, size)
        for name, rows in results.items():
            # Before each: what the machine's other work and its memory leave of the disk changes by the second.
            raws.append(count / seconds(lambda blocks=blocks: raw_write(folder / "raw", blocks)))  # type: ignore[misc]
            (folder / "raw").unlink()
            rows.append(measure(name, folder, blocks, blocks[:each]))
    medians = {
        name: {what: statistics.median(row[what] for row in rows) for what in rows[0]} for name, rows in results.items()
    }
    return {"size_bytes": size, "blocks": count, "raw_per_s": statistics.median(raws), "results": medians}


def show(found: dict[str, Any]) -> None:
    size, raw = found["size_bytes"], found["raw_per_s"]
    print(f"\n{size // KIB} KiB blocks ({found['blocks']}); raw write {raw * size / 1e6:.0f} MB/s = 1.00")
    names = list(found["results"])
    print(f"{'':24}" + "".join(f"{name:>22}" for name in names))
    for what in found["results"]["packs"]:
        values = [found["results"][name][what] for name in names]
        if what == "space given back":
            cells = [f"{value:.0%}" for value in values]
        else:
            cells = [f"{value:,.0f}/s {value / raw:6.2f}" for value in values]
        print(f"{what:24}" + "".join(f"{cell:>22}" for cell in cells))


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
        read_s = seconds(lambda store=store, wanted=wanted: [store.get_block(cid) for cid in wanted])  # type: ignore[misc]
        store.close()
        began = time.perf_counter()
        open_store(folder / "grown", quota_bytes=QUOTA_BYTES).close()
        rows.append(
            {
                "blocks": count,
                "put_per_s": json.loads(report.read_text()),
                "read_per_s": 1000 / read_s,
                "start_after_kill_s": after_kill_s,
                "start_and_stop_s": time.perf_counter() - began,
            }
        )
    return rows


def _grow_to(folder: Path, count: int, target: int, size: int, report: Path) -> None:
    try:
        store = open_store(folder, quota_bytes=QUOTA_BYTES)
        hold = _hold_of(store, target, (target - count) * size, count)
        took = 0.0
        for first in range(count, target, 1000):
            blocks = made(first, 1000, size)
            began = time.perf_counter()
            for at in range(0, 1000, BATCH):
                store.put_blocks(hold, blocks[at : at + BATCH])
            took += time.perf_counter() - began
        store.finish_hold(hold, origin=Origin.PUBLISHED)
        tail = made(target, 1000, size)
        store.put_blocks(_hold_of(store, 0, 1000 * size, target - 1000, spare=True), tail[:500])
        report.write_text(json.dumps((target - count) / took))
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
    found: dict[str, Any] = {"lmdb": "lmdb" in CONTESTANTS, "compared": [], "growth": []}
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
    if not found["lmdb"]:
        print("LMDB is left out: the package lmdb is not installed here")
    for comparison in found["compared"]:
        show(comparison)
    for row in found["growth"]:
        print(
            f"{row['blocks']:>9,} blocks: {row['put_per_s']:,.0f} put/s, {row['read_per_s']:,.0f} random read/s,"
            f" start {row['start_after_kill_s']:.2f} s after a kill, {row['start_and_stop_s']:.2f} s with stop else"
        )


if __name__ == "__main__":
    main()
