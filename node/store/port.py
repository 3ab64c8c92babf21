"""The store port: what every implementation promises (docs/spec/store.md).

Words. A *hold* keeps the blocks of one release of one site, or of one *tree*: an IPFS DAG that the operator keeps
under its root CID. It is *open* while blocks arrive and *finished* once the site or tree can be served from it. Every
block in the store is kept by at least one hold or by the cache.

CIDs. A block is known under its CIDv1; a CIDv0 names the same block in every call, and answers repeat the CIDs that
were asked for.

Atomic. Each method happens wholly or not at all, also across a crash, except that `put_blocks` of several
batches are several steps, and that freeing space after `finish_hold`, `end_site`, `drop_site`, `abort_hold` and
their likes for trees goes on by itself at the next start if it was interrupted.

Durable. When one of these has returned, its effect survives kill -9 and power loss: `finish_hold`, `finish_tree`,
`set_head`, `end_site`, `drop_site`, `drop_tree`, `save_name` of a name to keep, and every method on rules, lists and
follows. `begin_hold`, `begin_tree`, `put_blocks`, `link_blocks`, `abort_hold`, `cache_blocks`, `mark_corrupt`,
`save_name`, `save_peer` survive the death of the process at once and power loss after the next durable call or
`sync()`; what power loss took is missing, never wrong.

Visible. Readers, also in other processes, see an effect when the method returns. They never see a block whose
bytes are not there, and every read is verified against the CID.

Retry. Every method may be called again after any error: `begin_hold` with the same release gives the same hold,
putting or linking a block twice is one reference, `finish_hold` of the held release changes nothing.

Errors. Input of peers raises PeerError (HashMismatch, OverLimit, StaleRelease, HoldIncomplete); disk
and quota raise OperatorError (QuotaExceeded, StoreFull, StoreReadOnly, StoreFailed, StoreDamaged) and leave the
store usable: reads go on, and writes work again when the cause is gone.

Threads. All methods may be called from any thread; writers wait for each other, readers do not wait for writers.
Methods may block on disk: call them from a worker thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from protocol.cid import Cid
from protocol.release import SignedRelease
from protocol.site_id import SiteId

TREE_MAX_BLOCKS = 2**40
TREE_MAX_BYTES = 2**50  # of a tree whose size is not known beforehand: the quota is what bounds it


class Origin(StrEnum):
    """How the held release came to this node."""

    PUBLISHED = "published"  # handed in by a publisher
    REPLICATED = "replicated"  # fetched from another host


@dataclass(frozen=True, slots=True)
class Hold:
    """A handle; stays valid across restarts until the hold is aborted, overtaken or dropped."""

    id: int
    signed: SignedRelease

    @property
    def site(self) -> SiteId:
        return self.signed.site

    def __str__(self) -> str:
        return f"release {self.signed.seq} of {self.site}"


class TreeOrigin(StrEnum):
    """How a tree came to this node."""

    IMPORTED = "imported"  # from a file
    FETCHED = "fetched"  # over the network


@dataclass(frozen=True, slots=True)
class TreeHold:
    """A handle as `Hold` is, of a tree. `root` is a CIDv1."""

    id: int
    root: Cid

    def __str__(self) -> str:
        return f"tree {self.root}"


AnyHold = Hold | TreeHold
H = TypeVar("H", Hold, TreeHold)


@dataclass(frozen=True, slots=True)
class HoldInfo(Generic[H]):
    """Progress of one hold. `new_*` counts what was not in the store before."""

    hold: H
    finished: bool
    done_blocks: int
    done_bytes: int
    new_blocks: int
    new_bytes: int
    started_s: int


@dataclass(frozen=True, slots=True)
class SiteRecord:
    """`head` is the newest release known, `held` the one whose blocks are all here."""

    site: SiteId
    head: SignedRelease
    held: SignedRelease | None
    origin: Origin | None
    ended: bool
    held_bytes: int
    updated_s: int


@dataclass(frozen=True, slots=True)
class TreeRecord:
    """A kept tree. `whole`: every block below the root is here; else it was kept as it came."""

    root: Cid
    whole: bool
    origin: TreeOrigin
    blocks: int
    size_bytes: int
    since_s: int


@dataclass(frozen=True, slots=True)
class NameRow:
    """An IPNS record of somebody else, verified; whether it has expired is for its readers to see.

    `name` is the multihash of its key, `kept` that the operator wants it and not only that it was seen.
    """

    name: bytes
    record: bytes
    kept: bool
    saved_s: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What counts against the quota, and the cache beside it.

    `used_bytes` is the length of all held blocks, `index_bytes` a fixed sum for each of them (index rows, pack
    prefix), `reserved_bytes` what open holds may still add of both. Their sum never exceeds `quota_bytes`,
    unless the quota was lowered. `blocks` counts held and cached blocks.
    """

    used_bytes: int
    index_bytes: int
    reserved_bytes: int
    quota_bytes: int
    cache_bytes: int
    cache_quota_bytes: int
    blocks: int
    corrupt_blocks: int

    @property
    def free_bytes(self) -> int:
        return max(0, self.quota_bytes - self.used_bytes - self.index_bytes - self.reserved_bytes)


@dataclass(frozen=True, slots=True)
class RuleRow:
    """One rule as stored; `target` is its canonical text. `list_name` None: the operator's own rule."""

    target: str
    verdict: str
    ground: str
    reason: str
    since_s: int
    list_name: str | None = None


@dataclass(frozen=True, slots=True)
class ListRow:
    """Bookkeeping of a subscribed list: which state of the file its rules are from, and the last error."""

    name: str
    path: str
    mtime_ns: int = 0
    size_bytes: int = 0
    inode: int = 0
    read_s: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class PeerRow:
    peer: str
    addresses: tuple[str, ...]
    seen_s: int


@dataclass(frozen=True, slots=True)
class ScrubState:
    """The reading of all blocks that goes on, and the last one that came to its end (`finished_s` 0: none)."""

    began_s: int
    read_bytes: int
    damaged: int
    finished_s: int
    last_damaged: int


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """What one call read; `finished`: it has read the last block."""

    read_bytes: int
    damaged: int
    finished: bool


class StoreReader(Protocol):
    """What gateway workers in other processes may do; never writes."""

    def site(self, site: SiteId) -> SiteRecord | None: ...

    def sites(self) -> list[SiteRecord]: ...

    def get_block(self, cid: Cid) -> bytes:
        """The bytes, verified on this read. Raises BlockMissing or BlockCorrupt."""

    def has_blocks(self, cids: Iterable[Cid]) -> set[Cid]:
        """Those of `cids` that are here and not known to be corrupt."""

    def blocks_of(self, site: SiteId, cids: Iterable[Cid]) -> set[Cid]:
        """Those of `cids` that belong to the site's held release and are not known to be corrupt."""

    def sites_of(self, cid: Cid, *, limit: int) -> list[SiteId]:
        """Up to `limit` sites to whose held release the block belongs, damaged or not."""

    def trees(self) -> list[TreeRecord]:
        """Kept trees, oldest first."""

    def tree(self, root: Cid) -> TreeRecord | None: ...

    def trees_of(self, cid: Cid, *, limit: int) -> list[Cid]:
        """Roots of up to `limit` kept trees to which the block belongs, damaged or not."""

    def name(self, name: bytes) -> NameRow | None:
        """The best record known under a name (a multihash)."""

    def names(self, *, kept_only: bool = False) -> list[NameRow]:
        """Latest saved first. kept_only: those that the operator wants."""

    def rules(self) -> list[RuleRow]:
        """The operator's own and all lists' rules, ordered by list and target."""

    def data_version(self) -> int:
        """Differs from the last answer when anything was committed by another connection. Costs microseconds."""

    def rules_version(self) -> int:
        """Differs from the last answer only when rules changed. Costs microseconds; meant for every request."""

    def close(self) -> None: ...


class Store(StoreReader, Protocol):
    """The one writer. See the module text for what holds for all methods."""

    # --- holds ---------------------------------------------------------------------------------------------

    def begin_hold(self, signed: SignedRelease, *, leave_bytes: int = 0) -> Hold:
        """Open a hold, or give the one that this release already has (open or finished).

        Reserves quota for what the release is larger than the held one, and leaves `leave_bytes` of it free; an
        update that shares little with it needs more while both are here, and put_blocks may find that there is no
        room. Raises QuotaExceeded when the release cannot fit, StoreFull when the disk has less room than it needs,
        StaleRelease when it is older than the held release, differs from that or from the head under the same
        sequence, or the site has ended, and ValueError for a release that ends its site. It may be older than the
        head, whose blocks perhaps nobody has. A site has at most four open holds; one more ends that of the lowest
        sequence.
        """

    def hold_info(self, hold: H) -> HoldInfo[H]:
        """Raises HoldGone."""

    def holds(self) -> list[HoldInfo[Hold]]:
        """Open holds of releases, oldest first; what a restart resumes."""

    def put_blocks(self, hold: AnyHold, blocks: Sequence[tuple[Cid, bytes]]) -> int:
        """Verify, write and reference; returns the bytes that were new to the store.

        All or nothing: HashMismatch or UnsupportedHash for any block, OverLimit when the hold would exceed the
        size or block count of its release, QuotaExceeded, HoldGone: then nothing of the batch is referenced.
        A block that is known to be corrupt is healed. Meant for batches of about 8 MiB or 500 blocks. When the
        disk fails to sync (StoreFailed, StoreFull), blocks of open holds that it had not taken yet are missing
        again: link_blocks tells which.
        On a finished hold only blocks that belong to it are taken (healing); others raise OverLimit.
        """

    def link_blocks(self, hold: AnyHold, cids: Sequence[Cid]) -> list[Cid]:
        """Reference blocks that are here already; returns the others, in order, each once (corrupt ones too).

        OverLimit and QuotaExceeded (a cached block starts to count) as put_blocks. Batches of up to some
        thousands are best.
        """

    def finish_hold(self, hold: Hold, *, origin: Origin) -> None:
        """Make the release the held one. Durable. Older holds of the site end and their blocks are freed.

        The head becomes this release if it was older, and never goes back.

        The caller has walked the tree; the store checks the count and the sum of the blocks against the release
        (HoldIncomplete). StaleRelease as begin_hold, HoldGone.
        """

    def abort_hold(self, hold: AnyHold) -> None:
        """Give up an open hold and free its blocks. A finished or vanished hold: nothing happens."""

    # --- trees ---------------------------------------------------------------------------------------------

    def begin_tree(
        self, root: Cid, *, max_blocks: int = TREE_MAX_BLOCKS, max_bytes: int = TREE_MAX_BYTES, reserve_bytes: int = 0
    ) -> TreeHold:
        """Open a hold for a tree, or give the one that is open for this root, or under which it is kept whole.

        The bounds are those of this call: put_blocks and link_blocks raise OverLimit above them. `reserve_bytes`
        of the quota are set aside where the size is known beforehand (length of the blocks and 256 bytes for
        each); without it the quota is asked with every batch. A bounded number of trees may be open, one more
        ends the longest open one. QuotaExceeded; StoreFull; UnsupportedHash for an identity CID, which is no block.
        """

    def open_trees(self) -> list[HoldInfo[TreeHold]]:
        """Oldest first."""

    def finish_tree(self, hold: TreeHold, *, origin: TreeOrigin, whole: bool = True) -> None:
        """Keep the tree of what the hold has. Durable. Another hold of this root ends.

        The caller has walked it, and says whether it is whole. HoldIncomplete without the root or with a damaged
        block, HoldGone, TooMany. Finishing a tree that is kept under this hold already changes nothing.
        """

    def drop_tree(self, root: Cid) -> int:
        """Free the tree's blocks, open or kept; returns freed bytes. Durable."""

    # --- names of others -----------------------------------------------------------------------------------

    def save_name(self, name: bytes, record: bytes, *, kept: bool = False) -> bool:
        """Verify a record under its name and keep the better one (`IpnsRecord.order`); True when this one was news.

        A name to be kept stays so; of the others the longest unsaved are forgotten when there are too many.
        Durable when kept. DecodeError: not a record of this name; TooMany: more names to be kept than may be.
        """

    def forget_name(self, name: bytes) -> bool:
        """False when it was not known."""

    # --- sites ---------------------------------------------------------------------------------------------

    def set_head(self, signed: SignedRelease) -> bool:
        """Remember the newest release; True when it was news. Never goes back: StaleRelease. Durable.

        An ending release is handed on to end_site. Heads of sites that were never held are kept up to a bound;
        the longest unchanged are forgotten first.
        """

    def end_site(self, signed: SignedRelease) -> None:
        """The publisher's end mark: durable tombstone, blocks freed. StaleRelease when not newer than the head."""

    def drop_site(self, site: SiteId) -> int:
        """Free all blocks of the site; returns freed bytes. The head stays and never goes back. Durable."""

    # --- blocks --------------------------------------------------------------------------------------------

    def cache_blocks(self, blocks: Sequence[tuple[Cid, bytes]]) -> None:
        """Verify and keep under the cache's own cap, least recently used first out; heals corrupt blocks.

        A block that a hold keeps already stays as it is. HashMismatch, UnsupportedHash: nothing is written.
        """

    def touch_cached(self, cids: Iterable[Cid]) -> None:
        """Count as used now; for readers in other processes, which cannot note it themselves."""

    def is_linked(self, cid: Cid) -> bool:
        """The block belongs to a finished, whole hold with no corrupt block: its whole subtree is here."""

    def mark_corrupt(self, cid: Cid) -> None:
        """Count the block as missing until it is put again. `get_block` of the writer does it by itself."""

    def damaged(self, limit: int) -> list[tuple[Cid, SiteId | None]]:
        """Blocks that are known to be corrupt, each with a site that holds it, or None when no site does."""

    def scrub_some(self, max_bytes: int) -> Scrubbed:
        """Read the blocks after those that the last call read, up to so many bytes but at least one.

        Damaged ones are marked corrupt. How far it has come is kept over restarts. A call at the end begins anew.
        """

    def scrub_state(self) -> ScrubState: ...

    def compact(self) -> int:
        """Give back space that freeing could not: rewrite packs of which more than half is wasted.

        Returns the bytes given back. Takes its time; other calls go on between its steps.
        """

    def usage(self) -> Usage: ...

    def sync(self) -> None:
        """Everything written so far survives power loss when this returns."""

    # --- operator's rows (all durable) ---------------------------------------------------------------------

    def add_rules(self, rows: Sequence[RuleRow]) -> None:
        """Add or replace the rules of the same lists and targets, all or none. TooMany."""

    def remove_rule(self, target: str) -> bool:
        """Remove the operator's own rule; False when there was none."""

    def lists(self) -> list[ListRow]: ...

    def save_list(self, row: ListRow) -> None:
        """Add a list or update its bookkeeping; its rules stay."""

    def replace_list_rules(self, list_name: str, rows: Sequence[RuleRow], *, row: ListRow | None = None) -> None:
        """All rules of one list at once, with its new bookkeeping in the same step. ValueError: unknown list."""

    def remove_list(self, list_name: str) -> bool:
        """The list and its rules; False when there was none."""

    def follow(self, site: SiteId) -> bool:
        """True when it was not followed before."""

    def unfollow(self, site: SiteId) -> bool: ...

    def follows(self) -> frozenset[SiteId]: ...

    # --- remembered peers ----------------------------------------------------------------------------------

    def peers(self) -> list[PeerRow]:
        """Latest seen first."""

    def save_peer(self, peer: str, addresses: Sequence[str], seen_s: int) -> None:
        """Replaces the peer's row. Bounded: the longest unseen peers and surplus addresses are forgotten."""

    def forget_peer(self, peer: str) -> bool: ...
