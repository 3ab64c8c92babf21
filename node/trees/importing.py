"""Takes trees from a CAR file that comes in pieces, in any order of blocks and in constant memory.

All blocks go into one open hold of the store, under a name made of the file's header. At the end each root is walked,
what it reaches is linked into a hold of its own, and that is finished; then the first hold is given up. So nothing is
kept of a file that was cut, damaged, incomplete or refused.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import trio

from node.policy.model import Act, Subject
from node.replication.context import Context
from node.store.errors import BlockCorrupt, BlockMissing
from node.store.port import Store, TreeHold, TreeOrigin, TreeRecord
from protocol import varint
from protocol.car import CarDecoder, Section
from protocol.cid import IDENTITY, SHA2_256, Cid, multihash_of
from protocol.dag_links import is_leaf, links
from protocol.dag_walk import DagWalk
from protocol.errors import DecodeError, FednodeError, HashMismatch, Malformed, OperatorError, OverLimit

BATCH_BYTES = 8 * 1024 * 1024
BATCH_BLOCKS = 512
STEP_BLOCKS = 1000
GIVE_UP_DEADLINE_S = 2.0  # when the node stops; less than it has for that
PARTIAL_MAX_BLOCKS = 100_000
"""Of a file with parts of trees: which blocks no other links to is found out in memory."""
CAR_CODEC = 0x0202
"""Of the name under which a file's blocks are collected, so that it is no block's."""

log = logging.getLogger(__name__)


class TreeIncomplete(OperatorError):
    """Blocks below a root are neither in the file nor in the store."""

    code: ClassVar[str] = "tree-incomplete"


class TreeRefused(OperatorError):
    """Policy does not allow to keep a root or one of the blocks."""

    code: ClassVar[str] = "refused"


@dataclass(frozen=True, slots=True)
class Imported:
    """The trees of a file, as they are kept now; `known` of them were kept whole before."""

    trees: list[TreeRecord]
    known: int
    new_blocks: int
    new_bytes: int


@dataclass(slots=True)
class _Reached:
    hold: TreeHold
    finished: bool
    missing: int = 0
    example: Cid | None = None


async def import_car(context: Context, pieces: AsyncIterator[bytes], *, partial: bool) -> Imported:
    """Keeps the trees under the roots of the file.

    With `partial`, a tree of which blocks are missing is kept as it is, and blocks that no root reaches are trees of
    their own under those that no other block links to. Raises DecodeError with the offset, TreeIncomplete, TreeRefused,
    and what the store raises.
    """
    run = _Import(context, partial)
    try:
        async for piece in pieces:
            await run.take(piece)
        return await run.finish()
    finally:
        await run.give_up()


@dataclass(slots=True)
class _Import:
    context: Context
    partial: bool
    car: CarDecoder = field(default_factory=CarDecoder)
    staged: TreeHold | None = None
    batch: list[Section] = field(default_factory=list)
    batch_bytes: int = 0
    loose: set[Cid] = field(default_factory=set)  # with `partial`: what no root has reached
    opened: list[TreeHold] = field(default_factory=list)

    async def take(self, piece: bytes) -> None:
        for section in self.car.feed(piece):
            self.batch.append(section)
            self.batch_bytes += len(section.data)
            if self.batch_bytes >= BATCH_BYTES or len(self.batch) >= BATCH_BLOCKS:
                await self._write()
        if self.staged is None and self.car.roots is not None:
            await self._begin(self.car.roots)

    async def _begin(self, roots: Sequence[Cid]) -> TreeHold:
        if not roots and not self.partial:
            raise Malformed("the file names no root", offset=0)
        self._check(roots, are_roots=True)
        name = b"\x01" + varint.encode(CAR_CODEC) + multihash_of(SHA2_256, 32, b"".join(roots))
        self.staged = await self.context.in_store(self.context.store.begin_tree, Cid(name))
        return self.staged

    async def _write(self) -> None:
        batch, self.batch, self.batch_bytes = self.batch, [], 0
        staged = self.staged or await self._begin(self.car.roots or ())
        blocks = [section for section in batch if section.cid.hash_code != IDENTITY]
        self._check([section.cid for section in blocks])
        if self.partial:
            self.loose.update(section.cid.canonical for section in blocks)
            if len(self.loose) > PARTIAL_MAX_BLOCKS:
                raise OverLimit(f"more than {PARTIAL_MAX_BLOCKS} blocks in a file of partial trees")
        await self.context.in_store(_put, self.context.store, staged, blocks, batch)

    async def finish(self) -> Imported:
        self.car.close()
        await self._write()
        if self.staged is None:  # _write begins it
            raise Malformed("not a CAR file")
        info = await self.context.in_store(self.context.store.hold_info, self.staged)
        roots = list(dict.fromkeys(cid.canonical for cid in self.car.roots or () if cid.hash_code != IDENTITY))
        reached = [await self._collect(root) for root in roots]
        if self.partial:
            heads = await self.context.in_store(_heads, self.context.store, self.loose)
            self._check(heads, are_roots=True)
            reached += [await self._collect(head) for head in heads]
        for each in reached:
            if each.missing and not self.partial:
                raise TreeIncomplete(
                    f"{each.missing} blocks below {each.hold.root} are missing, {each.example} for one",
                    hint="a file of the whole tree is needed; --partial keeps what is there",
                )
        for each in reached:
            await self._finish(each)
        found = [await self.context.in_store(self.context.store.tree, each.hold.root) for each in reached]
        trees = [record for record in found if record is not None]
        log.info("imported %d trees: %d new blocks, %d bytes", len(trees), info.new_blocks, info.new_bytes)
        return Imported(trees, sum(each.finished for each in reached), info.new_blocks, info.new_bytes)

    async def _collect(self, root: Cid) -> _Reached:
        """Links what is here below the root into its hold."""
        store = self.context.store
        hold, finished, is_new = await self.context.in_store(_begin_tree, store, root)
        if is_new:
            self.opened.append(hold)
        found = _Reached(hold, finished)
        walk = DagWalk(root)
        while not walk.done:
            named = await self.context.in_store(_step, store, walk, found)
            self._check(named)  # of those that were here before, too
            if self.partial:
                self.loose.difference_update(cid.canonical for cid in named)
        return found

    async def _finish(self, each: _Reached) -> None:
        if not each.finished:
            store, whole = self.context.store, not each.missing
            await self.context.in_store(
                lambda: store.finish_tree(each.hold, origin=TreeOrigin.IMPORTED, whole=whole),
            )

    async def give_up(self) -> None:
        """What was not finished goes. After finish(): what the file had beyond its trees."""
        holds = [*self.opened, *([self.staged] if self.staged else [])]
        with trio.move_on_after(GIVE_UP_DEADLINE_S, shield=True):
            for hold in holds:
                try:
                    await self.context.in_store(self.context.store.abort_hold, hold)
                except FednodeError as error:
                    log.warning("what was left of an import goes later: %s", error)

    def _check(self, cids: Iterable[Cid], *, are_roots: bool = False) -> None:
        """Raises TreeRefused when policy does not allow to keep one of the blocks under the file's roots.

        A quarantined block is kept, as it is served to nobody; under a quarantined root nothing is.
        """
        roots = self.car.roots or ()
        for cid in cids:
            subject = Subject(root=roots[0] if roots else None, trail=(cid,), local=True)
            verdict = self.context.gate.policy.decide(Act.STORE, subject)
            if verdict.kind == "refuse" or (are_roots and not verdict.allowed):
                reason = verdict.reason or f"refused by this node's {verdict.ground}"
                raise TreeRefused(f"block {cid}: {reason}", hint=f"fednode policy /ipfs/{cid}")


def _put(store: Store, hold: TreeHold, blocks: Sequence[Section], batch: Sequence[Section]) -> None:
    for section in batch:
        if section.cid.hash_code == IDENTITY:
            section.cid.verify(section.data)
    try:
        store.put_blocks(hold, [(section.cid, section.data) for section in blocks])
    except DecodeError as error:
        for section in blocks:  # which one it was
            try:
                section.cid.verify(section.data)
            except DecodeError as wrong:
                text = f"a block is damaged: {wrong}" if isinstance(wrong, HashMismatch) else str(wrong)
                raise type(wrong)(text, offset=section.offset) from error
        raise


def _begin_tree(store: Store, root: Cid) -> tuple[TreeHold, bool, bool]:
    """(hold, whether the tree is kept whole already, whether the hold is a new one)"""
    before = {info.hold.id for info in store.open_trees()}
    hold = store.begin_tree(root)
    finished = store.hold_info(hold).finished
    return hold, finished, not finished and hold.id not in before


def _step(store: Store, walk: DagWalk, found: _Reached) -> list[Cid]:
    named = walk.want(STEP_BLOCKS)
    missing = set(store.link_blocks(found.hold, named))
    for cid in named:
        if cid not in missing and not is_leaf(cid):
            try:
                walk.feed(cid, store.get_block(cid))
                continue
            except (BlockMissing, BlockCorrupt):
                missing.add(cid)
        if cid in missing:
            found.missing += 1
            found.example = found.example or cid
            walk.skip(cid)
    return named


def _heads(store: Store, loose: set[Cid]) -> list[Cid]:
    """Those of the blocks that none of them links to, so that all of them are under one."""
    linked: set[Cid] = set()
    for cid in loose:
        try:
            linked.update(each.canonical for each in links(cid, store.get_block(cid)))
        except FednodeError:
            continue  # bytes whose links are not known link to nothing
    return sorted(loose - linked)
