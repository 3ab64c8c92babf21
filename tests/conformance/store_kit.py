"""What store tests need: small signed sites of made-up blocks, and a store that can be reopened and damaged."""

from __future__ import annotations

import os
import random
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.store import layout
from node.store.disk import open_store
from node.store.files import Files
from node.store.memory import MemoryStore
from node.store.port import Origin, Store
from protocol import dagpb
from protocol.cid import DAG_PB, RAW, Cid
from protocol.dagpb import PBLink, PBNode
from protocol.limits import SEQ_MAX
from protocol.release import Release, SignedRelease, sign_release
from protocol.site_id import SiteId

RAM = Path("/dev/shm")  # noqa: S108 - the directory within has a random name
"""Where syncing costs nothing: most store tests run here when it is there."""

Blocks = dict[Cid, bytes]

QUOTA = 1_000_000
CACHE = 10_000
SMALL = layout.StoreLimits(
    pack_roll_bytes=16 * layout.KIB,
    sync_every_bytes=4 * layout.KIB,
    ballast_bytes=64 * layout.KIB,
    collect_step_blocks=3,
    reclaim_cache_bytes=4 * layout.KIB,
    compact_waste_bytes=2 * layout.KIB,
    compact_step_bytes=3 * layout.KIB,
    heard_sites=5,
    peers=3,
    peer_addresses=2,
    peer_address_chars=40,
    lists=2,
    follows=3,
    rules=6,
    open_trees=2,
    trees=3,
    names=2,
)


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory that is gone afterwards."""
    with tempfile.TemporaryDirectory(dir=RAM if os.access(RAM, os.W_OK) else None) as name:
        yield Path(name)


def block(data: bytes) -> tuple[Cid, bytes]:
    return Cid.of(RAW, data), data


def blocks(seed: int, count: int, size: int = 300) -> Blocks:
    source = random.Random(seed)
    return dict(block(source.randbytes(size)) for _ in range(count))


@dataclass
class Publisher:
    """A site's key and the sequence number that it is at."""

    seed: int
    seq: int = 0
    key: Ed25519PrivateKey = field(init=False)

    def __post_init__(self) -> None:
        self.key = Ed25519PrivateKey.from_private_bytes(self.seed.to_bytes(32, "big"))

    @property
    def site(self) -> SiteId:
        return SiteId.of(self.key)

    def release(self, content: Blocks, *, seq: int | None = None, size_bytes: int | None = None) -> SignedRelease:
        """The next release, of these blocks; the first one stands for the root."""
        self.seq = self.seq + 1 if seq is None else seq
        total = sum(map(len, content.values())) if size_bytes is None else size_bytes
        root = next(iter(content))
        return sign_release(Release(self.site, self.seq, None, root, total, len(content)), self.key)

    def end(self) -> SignedRelease:
        return sign_release(Release(self.site, SEQ_MAX, None, None, 0, 0, ended=True), self.key)


def publish(store: Store, signed: SignedRelease, content: Blocks, *, batch: int = 500) -> None:
    """Begin, link what is there, put the rest in batches, finish."""
    hold = store.begin_hold(signed)
    missing = store.link_blocks(hold, list(content))
    for first in range(0, len(missing), batch):
        store.put_blocks(hold, [(cid, content[cid]) for cid in missing[first : first + batch]])
    store.finish_hold(hold, origin=Origin.PUBLISHED)


@dataclass
class Bench:
    """A store under test, of either kind."""

    kind: str
    directory: Path
    quota_bytes: int = QUOTA
    cache_bytes: int = CACHE
    limits: layout.StoreLimits = SMALL
    files: Files | None = None
    now_s: float = 1_700_000_000.0
    store: Store = field(init=False)

    def __post_init__(self) -> None:
        self.open()

    def open(self) -> None:
        if self.kind == "disk":
            self.store = open_store(
                self.directory,
                quota_bytes=self.quota_bytes,
                cache_bytes=self.cache_bytes,
                files=self.files,
                limits=self.limits,
                clock=lambda: self.now_s,
            )
        else:
            self.store = MemoryStore(
                quota_bytes=self.quota_bytes,
                cache_bytes=self.cache_bytes,
                limits=self.limits,
                clock=lambda: self.now_s,
            )

    def reopen(self) -> None:
        """A clean stop and a start; the twin outlives it."""
        self.store.close()
        if self.kind == "disk":
            self.open()

    def damage(self, cid: Cid) -> None:
        """What a bad disk does: the block's bytes are not what they were."""
        if self.kind == "disk":
            damage(self.directory, cid)
        else:
            self.store.mark_corrupt(cid)

    def close(self) -> None:
        self.store.close()


def damage(directory: Path, cid: Cid) -> None:
    """Flip a bit of a block in its pack."""
    pack, start, span, length = place(directory, cid)
    with layout.pack_path(directory, pack).open("r+b") as file:
        file.seek(start + span - length)
        (byte,) = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))


def place(directory: Path, cid: Cid) -> tuple[int, int, int, int]:
    with sqlite3.connect(directory / layout.DATABASE_NAME) as connection:
        row = connection.execute("SELECT pack, start, span, length FROM blocks WHERE cid = ?", (cid,)).fetchone()
    connection.close()
    pack, start, span, length = row
    return pack, start, span, length


def readable(store: Store, content: Iterable[Cid]) -> bool:
    return all(Cid.of(cid.codec, store.get_block(cid)) == cid for cid in content)


def tree(content: Blocks) -> Blocks:
    """The blocks below a root that links them: a rebuild finds what a release keeps by walking its tree."""
    links = tuple(PBLink(cid, b"%06d" % at, len(data)) for at, (cid, data) in enumerate(content.items()))
    root = dagpb.encode(PBNode(links))
    return {Cid.of(DAG_PB, root): root} | content
