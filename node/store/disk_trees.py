"""The part of the store on disk that keeps trees and the names of others."""

from __future__ import annotations

from abc import abstractmethod

from node.store import holds, layout, names, trees
from node.store.disk_care import DiskCare
from node.store.intake import Intake
from node.store.packs import PackWriter
from node.store.port import (
    TREE_MAX_BLOCKS,
    TREE_MAX_BYTES,
    HoldInfo,
    NameRow,
    TreeHold,
    TreeOrigin,
    TreeRecord,
    Usage,
)
from protocol.cid import Cid


class DiskTrees(DiskCare):
    _intake: Intake
    _packs: PackWriter
    _quota_bytes: int

    @abstractmethod
    def usage(self) -> Usage: ...

    @abstractmethod
    def _free(self) -> None: ...

    @abstractmethod
    def _check_disk(self, needed_bytes: int) -> None: ...

    @abstractmethod
    def _now_s(self) -> int: ...

    # --- trees ---------------------------------------------------------------------------------------------

    def begin_tree(
        self, root: Cid, *, max_blocks: int = TREE_MAX_BLOCKS, max_bytes: int = TREE_MAX_BYTES, reserve_bytes: int = 0
    ) -> TreeHold:
        root = trees.check_root(root)
        with self._index.transaction(durable=False) as tx:
            begun = trees.begin(
                tx,
                root,
                max_blocks=max_blocks,
                max_bytes=max_bytes,
                reserve_bytes=reserve_bytes,
                quota_bytes=self._quota_bytes,
                limits=self._limits,
                now_s=self._now_s(),
            )
            if begun.reserved_bytes:
                self._check_disk(holds.reserved_bytes(tx))
        if begun.surplus:
            self._free()
        return begun.hold

    def open_trees(self) -> list[HoldInfo[TreeHold]]:
        with self._reader.reading() as tx:
            return list(trees.open_holds(tx))

    def finish_tree(self, hold: TreeHold, *, origin: TreeOrigin, whole: bool = True) -> None:
        with self._index.lock:
            with self._index.transaction(durable=False) as tx:
                row = holds.load(tx, hold)
                if row.state == layout.FINISHED:
                    return
                note = trees.note(tx, row, hold, origin, whole=whole, keep=self._limits.trees)
            self._ballast.release_if_low()
            self._intake.note(note)
            self._intake.sync_packs()
            with self._urgent() as tx:
                holds.load(tx, hold)
                self._packs.note_synced(tx)
                trees.finish(tx, hold, note)
        self._free()

    def drop_tree(self, root: Cid) -> int:
        before = self.usage()
        with self._urgent() as tx:
            trees.doom(tx, root.canonical)
        self._free()
        return max(0, before.used_bytes - self.usage().used_bytes)

    def trees(self) -> list[TreeRecord]:
        return self._reader.trees()

    def tree(self, root: Cid) -> TreeRecord | None:
        return self._reader.tree(root)

    def trees_of(self, cid: Cid, *, limit: int) -> list[Cid]:
        return self._reader.trees_of(cid, limit=limit)

    # --- names of others -----------------------------------------------------------------------------------

    def name(self, name: bytes) -> NameRow | None:
        return self._reader.name(name)

    def names(self, *, kept_only: bool = False) -> list[NameRow]:
        return self._reader.names(kept_only=kept_only)

    def save_name(self, name: bytes, record: bytes, *, kept: bool = False) -> bool:
        verified = names.verified(name, record)
        with self._index.transaction(durable=kept) as tx:
            return names.save(tx, name, verified, kept=kept, now_s=self._now_s(), keep=self._limits.names)

    def forget_name(self, name: bytes) -> bool:
        with self._index.transaction(durable=False) as tx:
            return names.forget(tx, name)
