"""Names, sizes and the schema of the store on disk (docs/spec/store.md, "Layout")."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

SCHEMA_VERSION: Final = 3
APPLICATION_ID: Final = 0x666E6F64  # "fnod", so that `file` and doctor can tell whose database it is

DATABASE_NAME: Final = "store.db"
REBUILT_NAME: Final = "store.db.new"  # while it is made
OLD_NAME: Final = "store.db.old"
REBUILDING_NAME: Final = "rebuilding"  # there while the index is exchanged
LOCK_NAME: Final = "lock"
BALLAST_NAME: Final = "ballast"
PACKS_NAME: Final = "packs"

BLOCK_COST_BYTES: Final = 256  # index rows and pack prefix of one block: 210 measured with 60,000 blocks

PACK_ROOT: Final = bytes.fromhex("01550000")  # bafkqaaa, the empty identity CID: a pack has no root of its own


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """Sizes that shape the store; tests make them small."""

    pack_roll_bytes: int = 256 * MIB  # a pack is unlinked only when all of it is free: not too large
    sync_every_bytes: int = 64 * MIB  # what a start after a crash has to verify again: well under a second
    ballast_bytes: int = 16 * MIB  # room for deleting and refusing when the disk is full
    collect_step_blocks: int = 1000  # rows freed in one transaction: a few MB of log, some 20 ms
    reclaim_cache_bytes: int = 16 * MIB  # evicted bytes that are punched together
    compact_waste_bytes: int = 8 * MIB  # what rewriting a pack must at least give back
    compact_step_bytes: int = 4 * MIB  # moved under one lock: some 20 ms with its two syncs
    open_holds_per_site: int = 4
    heard_sites: int = 20_000  # heads of sites that were never held here, about 1 KiB each
    peers: int = 1000
    peer_addresses: int = 16
    peer_address_chars: int = 512
    lists: int = 1000
    follows: int = 100_000
    rules: int = 2_000_000  # all lists together, about 200 bytes each
    open_trees: int = 16
    trees: int = 100_000
    names: int = 20_000  # records of others, mostly 400 bytes, 10 KiB at most

    def __post_init__(self) -> None:
        if self.sync_every_bytes > self.pack_roll_bytes:
            raise ValueError("a pack must be able to hold what is synced at once")


def cost(blocks: int, size_bytes: int) -> int:
    """What so many blocks count against the quota; without it, a site of one-byte blocks would cost the disk
    hundreds of times its size."""
    return size_bytes + blocks * BLOCK_COST_BYTES


def pack_name(pack: int) -> str:
    return f"{pack:06d}.car"


def packs_dir(directory: Path) -> Path:
    return directory / PACKS_NAME


def pack_path(directory: Path, pack: int) -> Path:
    return directory / PACKS_NAME / pack_name(pack)


_SCHEMA_1: Final = """
CREATE TABLE totals (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    held_blocks INTEGER NOT NULL, held_bytes INTEGER NOT NULL,
    cache_blocks INTEGER NOT NULL, cache_bytes INTEGER NOT NULL,
    tick INTEGER NOT NULL, rules_version INTEGER NOT NULL
);
INSERT INTO totals VALUES (1, 0, 0, 0, 0, 0, 0);

CREATE TABLE packs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    size_bytes INTEGER NOT NULL, synced_bytes INTEGER NOT NULL
);

CREATE TABLE blocks (
    id INTEGER PRIMARY KEY, cid BLOB NOT NULL UNIQUE,
    pack INTEGER NOT NULL, start INTEGER NOT NULL, span INTEGER NOT NULL, length INTEGER NOT NULL,
    corrupt INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX blocks_by_place ON blocks (pack, start);
CREATE INDEX blocks_corrupt ON blocks (corrupt) WHERE corrupt = 1;

CREATE TABLE dead (
    pack INTEGER NOT NULL, start INTEGER NOT NULL, span INTEGER NOT NULL,
    PRIMARY KEY (pack, start)
) WITHOUT ROWID;

CREATE TABLE holds (
    id INTEGER PRIMARY KEY AUTOINCREMENT, site BLOB NOT NULL, seq INTEGER NOT NULL,
    state INTEGER NOT NULL, release_cid BLOB NOT NULL, release BLOB NOT NULL,
    max_blocks INTEGER NOT NULL, max_bytes INTEGER NOT NULL, reserve_bytes INTEGER NOT NULL,
    done_blocks INTEGER NOT NULL DEFAULT 0, done_bytes INTEGER NOT NULL DEFAULT 0,
    new_blocks INTEGER NOT NULL DEFAULT 0, new_bytes INTEGER NOT NULL DEFAULT 0,
    charged_bytes INTEGER NOT NULL DEFAULT 0, started_s INTEGER NOT NULL
);
CREATE INDEX holds_by_site ON holds (site, state);
CREATE INDEX holds_by_state ON holds (state, id);
CREATE INDEX holds_by_release ON holds (release_cid);

CREATE TABLE refs (
    hold INTEGER NOT NULL, block INTEGER NOT NULL, PRIMARY KEY (hold, block)
) WITHOUT ROWID;
CREATE INDEX refs_by_block ON refs (block, hold);

CREATE TABLE cache (block INTEGER PRIMARY KEY, tick INTEGER NOT NULL);
CREATE INDEX cache_by_tick ON cache (tick);

CREATE TABLE sites (
    id INTEGER PRIMARY KEY, site BLOB NOT NULL UNIQUE, seq INTEGER NOT NULL, head BLOB NOT NULL,
    ended INTEGER NOT NULL, hold INTEGER, was_held INTEGER NOT NULL, origin TEXT, updated_s INTEGER NOT NULL
);
CREATE INDEX sites_heard ON sites (updated_s) WHERE was_held = 0;

CREATE TABLE rules (
    list TEXT NOT NULL, target TEXT NOT NULL, verdict TEXT NOT NULL, ground TEXT NOT NULL,
    reason TEXT NOT NULL, since_s INTEGER NOT NULL, PRIMARY KEY (list, target)
) WITHOUT ROWID;
CREATE TABLE lists (
    name TEXT PRIMARY KEY, path TEXT NOT NULL, mtime_ns INTEGER NOT NULL, size_bytes INTEGER NOT NULL,
    inode INTEGER NOT NULL, read_s INTEGER NOT NULL, error TEXT
) WITHOUT ROWID;
CREATE TABLE follows (site BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE peers (peer TEXT PRIMARY KEY, addresses TEXT NOT NULL, seen_s INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX peers_by_seen ON peers (seen_s);
"""

UPGRADES: Final = {
    1: """
CREATE TABLE notes (
    id INTEGER PRIMARY KEY, site BLOB NOT NULL, release_cid BLOB NOT NULL, kind TEXT NOT NULL,
    pack INTEGER NOT NULL, start INTEGER NOT NULL, span INTEGER NOT NULL
);
CREATE UNIQUE INDEX notes_by_place ON notes (pack, start);
CREATE INDEX notes_by_site ON notes (site);
CREATE INDEX notes_by_release ON notes (release_cid);

CREATE TABLE scrub (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    pack INTEGER NOT NULL, start INTEGER NOT NULL,
    began_s INTEGER NOT NULL, read_bytes INTEGER NOT NULL, damaged INTEGER NOT NULL,
    finished_s INTEGER NOT NULL, last_damaged INTEGER NOT NULL
);
INSERT INTO scrub VALUES (1, 0, 0, 0, 0, 0, 0, 0)
""",
    2: """
ALTER TABLE holds RENAME COLUMN site TO owner;
ALTER TABLE holds ADD COLUMN kind INTEGER NOT NULL DEFAULT 0;
ALTER TABLE holds ADD COLUMN origin TEXT;
CREATE INDEX holds_of_trees ON holds (state, id) WHERE kind > 0;
ALTER TABLE notes RENAME COLUMN site TO owner;

CREATE TABLE names (
    name BLOB PRIMARY KEY, record BLOB NOT NULL, kept INTEGER NOT NULL, saved_s INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX names_by_time ON names (kept, saved_s)
""",
}
"""What a store of each earlier layout lacks to be one of the next."""

SCHEMA: Final = ";".join((_SCHEMA_1, *UPGRADES.values()))

# holds.state
OPEN: Final = 0
FINISHED: Final = 1
DOOMED: Final = 2  # no longer a hold; its references are being given up step by step

# holds.kind. The owner is a site id (32 bytes) or the root of a tree (a CIDv1 of 36 bytes or more).
RELEASE: Final = 0
TREE: Final = 1
PARTIAL_TREE: Final = 2  # kept though blocks below the root are missing
