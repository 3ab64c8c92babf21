"""The part of the store on disk that looks after it: scrub, compaction, and what is known to be damaged."""

from __future__ import annotations

import logging
from collections.abc import Callable

from node.store import blocks, layout
from node.store.compact import Compactor
from node.store.disk_rows import DiskRows
from node.store.index import Index
from node.store.lock import Ballast
from node.store.port import Scrubbed, ScrubState
from node.store.reader import PackReader
from node.store.scrub import Scrub
from protocol.cid import Cid
from protocol.errors import OperatorError
from protocol.site_id import SiteId

_log = logging.getLogger(__name__)


class DiskCare(DiskRows):
    def __init__(
        self,
        index: Index,
        reader: PackReader,
        ballast: Ballast,
        limits: layout.StoreLimits,
        compactor: Compactor,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(index, reader, ballast, limits)
        self._scrub = Scrub(index, reader, self._note_corrupt)
        self._compactor = compactor
        self._clock = clock

    def mark_corrupt(self, cid: Cid) -> None:
        with self._index.transaction(durable=False) as tx:
            blocks.mark_corrupt(tx, cid.canonical)

    def _note_corrupt(self, cid: Cid) -> None:
        _log.error("block %s is damaged on disk", cid)
        try:
            self.mark_corrupt(cid)
        except OperatorError as error:
            _log.warning("block %s cannot be marked as damaged: %s", cid, error)

    def damaged(self, limit: int) -> list[tuple[Cid, SiteId | None]]:
        with self._reader.reading() as tx:
            return blocks.damaged(tx, limit)

    def scrub_some(self, max_bytes: int) -> Scrubbed:
        return self._scrub.some(max_bytes, int(self._clock()))

    def scrub_state(self) -> ScrubState:
        return self._scrub.state()

    def compact(self) -> int:
        return self._compactor.run()
