"""The part of the in-memory store that keeps the operator's rows and remembered peers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from node.store import layout, names
from node.store.errors import TooMany
from node.store.peers import usable
from node.store.port import ListRow, NameRow, PeerRow, RuleRow
from protocol.site_id import SiteId


class MemoryRows:
    def __init__(self, limits: layout.StoreLimits, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._names: dict[bytes, NameRow] = {}
        self._lock = threading.RLock()
        self._limits = limits
        self._version = 0
        self._rules_version = 0
        self._rules: dict[tuple[str, str], RuleRow] = {}
        self._lists: dict[str, ListRow] = {}
        self._follows: set[SiteId] = set()
        self._peers: dict[str, PeerRow] = {}

    def rules(self) -> list[RuleRow]:
        with self._lock:
            return [row for _, row in sorted(self._rules.items())]

    def data_version(self) -> int:
        return self._version

    def rules_version(self) -> int:
        return self._rules_version

    def add_rules(self, rows: Sequence[RuleRow]) -> None:
        with self._lock:
            self._set_rules({**self._rules, **{(row.list_name or "", row.target): row for row in rows}})

    def remove_rule(self, target: str) -> bool:
        with self._lock:
            if ("", target) not in self._rules:
                return False
            self._set_rules({key: row for key, row in self._rules.items() if key != ("", target)})
            return True

    def _set_rules(self, rows: dict[tuple[str, str], RuleRow]) -> None:
        if len(rows) > self._limits.rules:
            raise TooMany(f"{len(rows)} rules where {self._limits.rules} are kept at most")
        self._rules = rows
        self._rules_version += 1
        self._version += 1

    def lists(self) -> list[ListRow]:
        with self._lock:
            return [row for _, row in sorted(self._lists.items())]

    def save_list(self, row: ListRow) -> None:
        if not row.name:
            raise ValueError("a list needs a name")
        with self._lock:
            if row.name not in self._lists and len(self._lists) >= self._limits.lists:
                raise TooMany(f"{self._limits.lists} lists are kept already")
            self._lists[row.name] = row
            self._version += 1

    def replace_list_rules(self, list_name: str, rows: Sequence[RuleRow], *, row: ListRow | None = None) -> None:
        with self._lock:
            if list_name not in self._lists:
                raise ValueError(f"no list is called {list_name}")
            if any(each.list_name != list_name for each in rows) or (row is not None and row.name != list_name):
                raise ValueError(f"rules of another list than {list_name}")
            others = {key: each for key, each in self._rules.items() if key[0] != list_name}
            self._set_rules({**others, **{(list_name, each.target): each for each in rows}})
            if row is not None:
                self._lists[list_name] = row

    def remove_list(self, list_name: str) -> bool:
        with self._lock:
            if self._lists.pop(list_name, None) is None:
                return False
            self._set_rules({key: row for key, row in self._rules.items() if key[0] != list_name})
            return True

    def follow(self, site: SiteId) -> bool:
        with self._lock:
            if site in self._follows:
                return False
            if len(self._follows) >= self._limits.follows:
                raise TooMany(f"{self._limits.follows} sites are followed already")
            self._follows.add(site)
            self._version += 1
            return True

    def unfollow(self, site: SiteId) -> bool:
        with self._lock:
            found = site in self._follows
            self._follows.discard(site)
            self._version += found
            return found

    def follows(self) -> frozenset[SiteId]:
        with self._lock:
            return frozenset(self._follows)

    def peers(self) -> list[PeerRow]:
        with self._lock:
            return sorted(self._peers.values(), key=lambda row: (-row.seen_s, row.peer))

    def save_peer(self, peer: str, addresses: Sequence[str], seen_s: int) -> None:
        with self._lock:
            self._peers[peer] = PeerRow(peer, usable(addresses, self._limits), seen_s)
            for row in self.peers()[self._limits.peers :]:
                del self._peers[row.peer]
            self._version += 1

    def forget_peer(self, peer: str) -> bool:
        with self._lock:
            return self._peers.pop(peer, None) is not None

    # --- names of others -----------------------------------------------------------------------------------

    def name(self, name: bytes) -> NameRow | None:
        return self._names.get(name)

    def names(self, *, kept_only: bool = False) -> list[NameRow]:
        with self._lock:
            rows = [row for row in self._names.values() if row.kept or not kept_only]
            return sorted(rows, key=lambda row: (-row.saved_s, row.name))

    def save_name(self, name: bytes, record: bytes, *, kept: bool = False) -> bool:
        verified = names.verified(name, record)
        with self._lock:
            known = self._names.get(name)
            news = names.better(known, verified)
            best = record if known is None or news else known.record
            kept = kept or (known is not None and known.kept)
            found = self._names | {name: NameRow(name, best, kept, int(self._clock()))}
            ranked = sorted(found.values(), key=lambda row: (not row.kept, -row.saved_s, row.name))
            if sum(row.kept for row in ranked) > self._limits.names:
                raise TooMany(f"{self._limits.names} names are kept already")
            self._names = {row.name: row for row in ranked[: self._limits.names]}
            self._version += 1
            return news

    def forget_name(self, name: bytes) -> bool:
        with self._lock:
            return self._names.pop(name, None) is not None
