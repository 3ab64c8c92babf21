"""The in-memory twin of the store on disk, for tests and the simulator: the same contract without a disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from node.store import layout
from node.store.checking import verified
from node.store.errors import BlockCorrupt, BlockMissing, HoldGone, HoldIncomplete, QuotaExceeded, TooMany
from node.store.layout import cost
from node.store.memory_rows import MemoryRows
from node.store.port import (
    TREE_MAX_BLOCKS,
    TREE_MAX_BYTES,
    AnyHold,
    H,
    Hold,
    HoldInfo,
    Origin,
    Scrubbed,
    ScrubState,
    SiteRecord,
    TreeHold,
    TreeOrigin,
    TreeRecord,
    Usage,
)
from node.store.trees import check_root
from protocol.cid import Cid
from protocol.errors import OverLimit
from protocol.release import SignedRelease, check_may_hold, check_successor
from protocol.site_id import SiteId


@dataclass(slots=True)
class _Block:
    data: bytes
    corrupt: bool = False
    keepers: set[int] = field(default_factory=set)  # holds; none: the cache keeps it
    tick: int = 0  # last use, of cached blocks


@dataclass(slots=True)
class _Kept:
    hold: AnyHold
    max_blocks: int
    max_bytes: int
    reserve: int
    started_s: int
    finished: bool = False
    whole: bool = True
    origin: TreeOrigin | None = None
    cids: set[Cid] = field(default_factory=set)
    done_bytes: int = 0
    new_blocks: int = 0
    new_bytes: int = 0
    charged: int = 0

    def remaining(self) -> int:
        left = cost(self.max_blocks - len(self.cids), self.max_bytes - self.done_bytes)
        return 0 if self.finished else max(0, min(self.reserve - self.charged, left))

    def info(self, hold: H) -> HoldInfo[H]:
        return HoldInfo(
            hold,
            self.finished,
            len(self.cids),
            self.done_bytes,
            self.new_blocks,
            self.new_bytes,
            self.started_s,
        )


@dataclass(slots=True)
class _Site:
    head: SignedRelease
    updated: tuple[int, int]  # seconds, and a count that orders what happens within one
    hold: int | None = None
    was_held: bool = False
    origin: Origin | None = None


class MemoryStore(MemoryRows):
    """The Store port in memory. `mark_corrupt` stands for what a bad disk does."""

    def __init__(
        self,
        *,
        quota_bytes: int,
        cache_bytes: int = 0,
        limits: layout.StoreLimits | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(limits or layout.StoreLimits(), clock)
        self._quota_bytes = quota_bytes
        self._cache_quota_bytes = cache_bytes
        self._blocks: dict[Cid, _Block] = {}
        self._holds: dict[int, _Kept] = {}
        self._sites: dict[SiteId, _Site] = {}
        self._next_hold = 1
        self._tick = 0
        self._scrub = ScrubState(0, 0, 0, 0, 0)

    # --- holds ---------------------------------------------------------------------------------------------

    def begin_hold(self, signed: SignedRelease, *, leave_bytes: int = 0) -> Hold:
        if signed.release.ended:
            raise ValueError("a release that ends its site has no blocks to hold")
        with self._lock:
            record = self.site(signed.site)
            if record is not None:
                check_may_hold(record.head, record.held, signed)
            for kept in self._holds.values():
                if isinstance(kept.hold, Hold) and kept.hold.signed == signed:
                    return kept.hold
            reserve = cost(signed.release.block_count, signed.release.size_bytes)
            if record is not None and record.held is not None:
                held = record.held.release
                reserve = max(0, reserve - cost(held.block_count, held.size_bytes))
            hold = Hold(self._next_hold, signed)
            self._add_hold(hold, signed.release.block_count, signed.release.size_bytes, reserve, leave_bytes)
            self._forget_surplus_holds(signed.site)
            return hold

    def _add_hold(self, hold: AnyHold, max_blocks: int, max_bytes: int, reserve: int, leave_bytes: int = 0) -> None:
        free = max(0, self.usage().free_bytes - leave_bytes)
        if reserve > free:
            raise QuotaExceeded(needed_bytes=reserve, free_bytes=free)
        self._next_hold += 1
        self._holds[hold.id] = _Kept(hold, max_blocks, max_bytes, reserve, int(self._clock()))
        self._version += 1

    def _releases(self, site: SiteId | None = None) -> list[tuple[Hold, _Kept]]:
        found = ((kept.hold, kept) for kept in self._holds.values())
        return [(hold, kept) for hold, kept in found if isinstance(hold, Hold) and site in (None, hold.site)]

    def _forget_surplus_holds(self, site: SiteId) -> None:
        opened = [hold for hold, kept in self._releases(site) if not kept.finished]
        opened.sort(key=lambda hold: (-hold.signed.seq, -hold.id))
        for hold in opened[self._limits.open_holds_per_site :]:
            self._free(hold.id)

    def _load(self, hold: AnyHold) -> _Kept:
        kept = self._holds.get(hold.id)
        if kept is None:
            raise HoldGone(f"{hold} is no longer kept or collected here")
        return kept

    def hold_info(self, hold: H) -> HoldInfo[H]:
        with self._lock:
            return self._load(hold).info(hold)

    def holds(self) -> list[HoldInfo[Hold]]:
        with self._lock:
            return [kept.info(hold) for hold, kept in self._releases() if not kept.finished]

    def put_blocks(self, hold: AnyHold, blocks: Sequence[tuple[Cid, bytes]]) -> int:
        batch = verified(blocks)
        with self._lock:
            kept = self._load(hold)
            fresh = {cid: data for cid, data in batch.items() if cid not in self._blocks}
            self._take_on(kept, [cid for cid in batch if cid not in kept.cids], fresh)
            for cid, data in batch.items():
                block = self._blocks[cid]
                if block.corrupt:
                    block.data, block.corrupt = bytes(data), False
            new_bytes = sum(map(len, fresh.values()))
            kept.new_blocks += len(fresh)
            kept.new_bytes += new_bytes
            return new_bytes

    def link_blocks(self, hold: AnyHold, cids: Sequence[Cid]) -> list[Cid]:
        with self._lock:
            kept = self._load(hold)
            asked = {cid.canonical: cid for cid in reversed(cids)}
            wanted = dict.fromkeys(cid.canonical for cid in cids)
            present = self.has_blocks(wanted)
            self._take_on(kept, [cid for cid in wanted if cid in present and cid not in kept.cids], {})
            return [asked[cid] for cid in wanted if cid not in present]

    def _take_on(self, kept: _Kept, cids: Sequence[Cid], fresh: dict[Cid, bytes]) -> None:
        """Reference `cids`, of which `fresh` ones are new to the store; all or nothing."""
        sizes = {cid: len(fresh[cid]) if cid in fresh else len(self._blocks[cid].data) for cid in cids}
        size = sum(sizes.values())
        if len(kept.cids) + len(cids) > kept.max_blocks or kept.done_bytes + size > kept.max_bytes:
            raise OverLimit(f"more than the {kept.max_blocks} blocks and {kept.max_bytes} bytes that there may be")
        added = [size for cid, size in sizes.items() if cid in fresh or not self._blocks[cid].keepers]
        grown = cost(len(added), sum(added))
        before = (kept.cids, kept.done_bytes, kept.charged)
        kept.cids, kept.done_bytes, kept.charged = kept.cids | set(cids), kept.done_bytes + size, kept.charged + grown
        free = self._free_bytes() - grown
        if grown and free < 0:
            kept.cids, kept.done_bytes, kept.charged = before
            raise QuotaExceeded(needed_bytes=grown, free_bytes=max(0, grown + free))
        for cid in cids:
            if cid in fresh:
                self._blocks[cid] = _Block(bytes(fresh[cid]))
            self._blocks[cid].keepers.add(kept.hold.id)
        self._version += 1

    def finish_hold(self, hold: Hold, *, origin: Origin) -> None:
        with self._lock:
            kept = self._load(hold)
            if kept.finished:
                return
            self._check_finish(kept, hold.signed)
            site = self._sites.get(hold.site)
            if site is None or site.head.rank < hold.signed.rank:
                self._put_head(hold.signed)
            kept.finished = True
            for other, its in self._releases(hold.site):
                if its is not kept and (its.finished or other.signed.seq <= hold.signed.seq):
                    self._free(other.id)
            site = self._sites[hold.site]
            site.hold, site.was_held, site.origin, site.updated = hold.id, True, origin, self._now()

    def _check_finish(self, kept: _Kept, signed: SignedRelease) -> None:
        record = self.site(signed.site)
        if record is not None:
            check_may_hold(record.head, record.held, signed)
        release = signed.release
        if (len(kept.cids), kept.done_bytes) != (release.block_count, release.size_bytes):
            raise HoldIncomplete(f"{len(kept.cids)} blocks, where the release states {release.block_count}")
        if self._has_corrupt(kept):
            raise HoldIncomplete("a block of this release is damaged on disk; put it again")

    def _has_corrupt(self, kept: _Kept) -> bool:
        return any(self._blocks[cid].corrupt for cid in kept.cids)

    def abort_hold(self, hold: AnyHold) -> None:
        with self._lock:
            kept = self._holds.get(hold.id)
            if kept is not None and not kept.finished:
                self._free(hold.id)

    def _free(self, hold: int) -> None:
        for cid in self._holds.pop(hold).cids:
            keepers = self._blocks[cid].keepers
            keepers.discard(hold)
            if not keepers:
                del self._blocks[cid]
        self._version += 1

    # --- trees ---------------------------------------------------------------------------------------------

    def begin_tree(
        self, root: Cid, *, max_blocks: int = TREE_MAX_BLOCKS, max_bytes: int = TREE_MAX_BYTES, reserve_bytes: int = 0
    ) -> TreeHold:
        root = check_root(root)
        with self._lock:
            for hold, kept in self._trees(root):
                if not kept.finished:
                    kept.max_blocks, kept.max_bytes = max_blocks, max_bytes
                    return hold
            for hold, kept in self._trees(root):
                if kept.whole:
                    return hold
            hold = TreeHold(self._next_hold, root)
            self._add_hold(hold, max_blocks, max_bytes, reserve_bytes)
            opened = [hold for hold, kept in self._trees() if not kept.finished]
            for surplus in opened[: -self._limits.open_trees]:
                self._free(surplus.id)
            return hold

    def _trees(self, root: Cid | None = None) -> list[tuple[TreeHold, _Kept]]:
        found = ((kept.hold, kept) for kept in self._holds.values())
        return [(hold, kept) for hold, kept in found if isinstance(hold, TreeHold) and root in (None, hold.root)]

    def open_trees(self) -> list[HoldInfo[TreeHold]]:
        with self._lock:
            return [kept.info(hold) for hold, kept in self._trees() if not kept.finished]

    def finish_tree(self, hold: TreeHold, *, origin: TreeOrigin, whole: bool = True) -> None:
        with self._lock:
            kept = self._load(hold)
            if kept.finished:
                return
            if hold.root not in kept.cids:
                raise HoldIncomplete("a tree without its root")
            if self._has_corrupt(kept):
                raise HoldIncomplete("a block of this tree is damaged on disk; put it again")
            if sum(each.finished and other.root != hold.root for other, each in self._trees()) >= self._limits.trees:
                raise TooMany(f"{self._limits.trees} trees are kept already")
            kept.finished, kept.whole, kept.origin = True, whole, origin
            kept.max_blocks, kept.max_bytes = len(kept.cids), kept.done_bytes
            for other, _ in self._trees(hold.root):
                if other != hold:
                    self._free(other.id)
            self._version += 1

    def drop_tree(self, root: Cid) -> int:
        with self._lock:
            before = self.usage().used_bytes
            for hold, _ in self._trees(root.canonical):
                self._free(hold.id)
            return before - self.usage().used_bytes

    def trees(self) -> list[TreeRecord]:
        with self._lock:
            return [
                TreeRecord(hold.root, kept.whole, kept.origin, len(kept.cids), kept.done_bytes, kept.started_s)
                for hold, kept in self._trees()
                if kept.finished and kept.origin
            ]

    def tree(self, root: Cid) -> TreeRecord | None:
        return next((record for record in self.trees() if record.root == root.canonical), None)

    def trees_of(self, cid: Cid, *, limit: int) -> list[Cid]:
        with self._lock:
            found = [hold.root for hold, kept in self._trees() if kept.finished and cid.canonical in kept.cids]
            return found[:limit]

    # --- sites ---------------------------------------------------------------------------------------------

    def site(self, site: SiteId) -> SiteRecord | None:
        with self._lock:
            found = self._sites.get(site)
            if found is None:
                return None
            hold = self._holds[found.hold].hold if found.hold is not None else None
            held = hold.signed if isinstance(hold, Hold) else None
            return SiteRecord(
                site,
                found.head,
                held,
                found.origin if held else None,
                found.head.release.ended,
                held.release.size_bytes if held else 0,
                found.updated[0],
            )

    def sites(self) -> list[SiteRecord]:
        with self._lock:
            return [record for record in map(self.site, self._sites) if record is not None]

    def set_head(self, signed: SignedRelease) -> bool:
        with self._lock:
            found = self._sites.get(signed.site)
            if found is not None and found.head == signed:
                return False
            check_successor(found.head if found else None, signed)
            self._put_head(signed)
            if signed.release.ended:
                self.drop_site(signed.site)
            return True

    def end_site(self, signed: SignedRelease) -> None:
        if not signed.release.ended:
            raise ValueError("this release does not end its site")
        self.set_head(signed)

    def _put_head(self, signed: SignedRelease) -> None:
        found = self._sites.get(signed.site)
        if found is None:
            self._sites[signed.site] = _Site(signed, self._now())
        else:
            found.head, found.updated = signed, self._now()
        heard = [(record.updated, site) for site, record in self._sites.items() if not record.was_held]
        for _, site in sorted(heard, reverse=True)[self._limits.heard_sites :]:
            del self._sites[site]
        self._version += 1

    def drop_site(self, site: SiteId) -> int:
        with self._lock:
            before = self.usage().used_bytes
            for hold, _ in self._releases(site):
                self._free(hold.id)
            if site in self._sites:
                self._sites[site].hold = None
            return before - self.usage().used_bytes

    # --- blocks --------------------------------------------------------------------------------------------

    def cache_blocks(self, blocks: Sequence[tuple[Cid, bytes]]) -> None:
        batch = verified(blocks)
        with self._lock:
            self._tick += 1
            for cid, data in batch.items():
                block = self._blocks.setdefault(cid, _Block(bytes(data)))
                block.tick = self._tick
                if block.corrupt:
                    block.data, block.corrupt = bytes(data), False
            self._evict()
            self._version += 1

    def _evict(self) -> None:
        """Longest unused first; of one batch, the first put."""
        cached = [(block.tick, cid) for cid, block in self._blocks.items() if not block.keepers]
        total = sum(len(self._blocks[cid].data) for _, cid in cached)
        for _, cid in sorted(cached, key=lambda item: item[0]):
            if total <= self._cache_quota_bytes:
                return
            total -= len(self._blocks.pop(cid).data)

    def touch_cached(self, cids: Iterable[Cid]) -> None:
        with self._lock:
            self._tick += 1
            for cid in cids:
                if cid.canonical in self._blocks:
                    self._blocks[cid.canonical].tick = self._tick

    def get_block(self, cid: Cid) -> bytes:
        with self._lock:
            block = self._blocks.get(cid.canonical)
            if block is None:
                raise BlockMissing(cid)
            if block.corrupt:
                raise BlockCorrupt(cid)
            return block.data

    def has_blocks(self, cids: Iterable[Cid]) -> set[Cid]:
        with self._lock:
            found = ((cid, self._blocks.get(cid.canonical)) for cid in cids)
            return {cid for cid, block in found if block is not None and not block.corrupt}

    def blocks_of(self, site: SiteId, cids: Iterable[Cid]) -> set[Cid]:
        with self._lock:
            found = self._sites.get(site)
            if found is None or found.hold is None:
                return set()
            kept = self._holds[found.hold].cids
            return {cid for cid in self.has_blocks(cids) if cid.canonical in kept}

    def sites_of(self, cid: Cid, *, limit: int) -> list[SiteId]:
        with self._lock:
            cid = cid.canonical
            found = [
                site for site, row in self._sites.items() if row.hold is not None and cid in self._holds[row.hold].cids
            ]
            return found[:limit]

    def is_linked(self, cid: Cid) -> bool:
        with self._lock:
            return any(
                kept.finished and kept.whole and cid.canonical in kept.cids and not self._has_corrupt(kept)
                for kept in self._holds.values()
            )

    def mark_corrupt(self, cid: Cid) -> None:
        with self._lock:
            if cid.canonical in self._blocks:
                self._blocks[cid.canonical].corrupt = True

    def damaged(self, limit: int) -> list[tuple[Cid, SiteId | None]]:
        with self._lock:
            corrupt = [(cid, found) for cid, found in self._blocks.items() if found.corrupt]
            return [(cid, self._holder(found)) for cid, found in corrupt[:limit]]

    def _holder(self, block: _Block) -> SiteId | None:
        holds = (self._holds[keeper] for keeper in block.keepers if keeper in self._holds)
        return next((kept.hold.site for kept in holds if kept.finished and isinstance(kept.hold, Hold)), None)

    def scrub_some(self, max_bytes: int) -> Scrubbed:
        """Memory does not rot: it is through at once."""
        with self._lock:
            size = sum(len(block.data) for block in self._blocks.values())
            self._scrub = ScrubState(int(self._clock()), 0, 0, int(self._clock()), 0)
            return Scrubbed(size, 0, True)

    def scrub_state(self) -> ScrubState:
        return self._scrub

    def compact(self) -> int:
        return 0

    def usage(self) -> Usage:
        with self._lock:
            held = [len(block.data) for block in self._blocks.values() if block.keepers]
            cached = [len(block.data) for block in self._blocks.values() if not block.keepers]
            return Usage(
                used_bytes=sum(held),
                index_bytes=cost(len(held), 0),
                reserved_bytes=sum(kept.remaining() for kept in self._holds.values()),
                quota_bytes=self._quota_bytes,
                cache_bytes=sum(cached),
                cache_quota_bytes=self._cache_quota_bytes,
                blocks=len(self._blocks),
                corrupt_blocks=sum(block.corrupt for block in self._blocks.values()),
            )

    def _free_bytes(self) -> int:
        usage = self.usage()
        return usage.quota_bytes - usage.used_bytes - usage.index_bytes - usage.reserved_bytes

    def sync(self) -> None:
        """Memory forgets all at once; there is nothing to do."""

    def close(self) -> None:
        """Nothing to give back; the store may be used on, as one that was opened again."""

    def _now(self) -> tuple[int, int]:
        self._tick += 1
        return int(self._clock()), self._tick
