"""The part of the store on disk that keeps the operator's rows and remembered peers."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from node.store import layout, peers, rules
from node.store.index import Index
from node.store.lock import Ballast
from node.store.port import ListRow, PeerRow, RuleRow
from node.store.reader import PackReader
from protocol.site_id import SiteId


class DiskRows:
    def __init__(self, index: Index, reader: PackReader, ballast: Ballast, limits: layout.StoreLimits) -> None:
        self._index = index
        self._reader = reader
        self._ballast = ballast
        self._limits = limits

    @contextmanager
    def _urgent(self) -> Iterator[sqlite3.Connection]:
        """A durable transaction that shall work on a full disk, too."""
        self._ballast.release_if_low()
        with self._index.transaction(durable=True) as tx:
            yield tx

    # --- operator's rows -----------------------------------------------------------------------------------

    def rules(self) -> list[RuleRow]:
        return self._reader.rules()

    def add_rules(self, rows: Sequence[RuleRow]) -> None:
        with self._urgent() as tx:
            rules.add(tx, rows, self._limits.rules)

    def remove_rule(self, target: str) -> bool:
        with self._urgent() as tx:
            return rules.remove(tx, target)

    def lists(self) -> list[ListRow]:
        with self._reader.reading() as tx:
            return rules.lists(tx)

    def save_list(self, row: ListRow) -> None:
        with self._urgent() as tx:
            rules.save_list(tx, row, self._limits.lists)

    def replace_list_rules(self, list_name: str, rows: Sequence[RuleRow], *, row: ListRow | None = None) -> None:
        with self._urgent() as tx:
            rules.replace(tx, list_name, rows, self._limits.rules)
            if row is not None:
                if row.name != list_name:
                    raise ValueError(f"bookkeeping of another list than {list_name}")
                rules.save_list(tx, row, self._limits.lists)

    def remove_list(self, list_name: str) -> bool:
        with self._urgent() as tx:
            return rules.remove_list(tx, list_name)

    def follow(self, site: SiteId) -> bool:
        with self._urgent() as tx:
            return rules.follow(tx, site, self._limits.follows)

    def unfollow(self, site: SiteId) -> bool:
        with self._urgent() as tx:
            return rules.unfollow(tx, site)

    def follows(self) -> frozenset[SiteId]:
        with self._reader.reading() as tx:
            return rules.follows(tx)

    # --- remembered peers ----------------------------------------------------------------------------------

    def peers(self) -> list[PeerRow]:
        with self._reader.reading() as tx:
            return peers.load(tx)

    def save_peer(self, peer: str, addresses: Sequence[str], seen_s: int) -> None:
        row = PeerRow(peer, peers.usable(addresses, self._limits), seen_s)
        with self._index.transaction(durable=False) as tx:
            peers.save(tx, row, self._limits.peers)

    def forget_peer(self, peer: str) -> bool:
        with self._index.transaction(durable=False) as tx:
            return peers.forget(tx, peer)
