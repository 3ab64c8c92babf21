"""The lists that there are, and each change of them: durable and in force for every process, or nothing changed."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from node.policy.list_files import ListFiles, Subscription, Version
from node.policy.preview import HostedStore
from node.policy.sparing import newly_refused
from node.store.port import ListRow, RuleRow, SiteRecord
from protocol.deny_index import DenyIndex, build
from protocol.errors import OperatorError
from protocol.site_id import SiteId

log = logging.getLogger(__name__)


class ListStore(HostedStore, Protocol):
    """The part of node.store.port.Store that lists need."""

    def site(self, site: SiteId) -> SiteRecord | None: ...
    def rules(self) -> list[RuleRow]: ...
    def lists(self) -> list[ListRow]: ...
    def remove_list(self, list_name: str) -> bool: ...


class ListCatalog:
    """For any thread. Who changes it holds `lock`, for as long as that takes and no longer; `lists` is replaced as a
    whole, so that readers need none."""

    def __init__(self, store: ListStore, folder: Path, *, now_s: Callable[[], int], notice_s: int) -> None:
        """notice_s: for so long, hosted sites that a list newly refuses are served on."""
        self._store = store
        self._now_s = now_s
        self._notice_s = notice_s
        self.lock = threading.Lock()
        self.files = ListFiles(folder)
        self.lists: Mapping[str, Subscription] = {each.name: each for each in self.files.catalog()}
        self._take_over()

    def _take_over(self) -> None:
        """Lists of a node of an earlier version, whose rules were rows of the store."""
        for row in self._store.lists():
            if row.name not in self.lists:
                lines = (f"{r.target} reason:{'-'.join(r.reason.split())}" for r in self._store.rules()
                         if r.list_name == row.name)  # fmt: skip
                raw = "\n".join(lines).encode()
                built = build(raw, now_s=self._now_s())
                digest = self.files.save_version(raw, built.table)
                current = Version(digest, built.rule_count, row.read_s)
                self._save({**self.lists, row.name: Subscription(row.name, row.path, current=current, error=row.error)})
            self._store.remove_list(row.name)

    def name_of(self, said: str) -> str:
        """The name of a list that was named by it, or by the path of its file."""
        return said if said in self.lists else os.path.normpath(said)

    def opened(self, version: Version) -> DenyIndex | None:
        """The rules of a version that the catalog refers to, None when there is none yet. For who holds the lock: the
        files of other versions may be gone."""
        return self.files.index(version.digest) if version.digest else None

    def change(self, name: str, change: Callable[[Subscription], Subscription]) -> Subscription:
        """The list as it is now; KeyError, OperatorError."""
        with self.lock:
            each = change(self.lists[self.name_of(name)])
            self.put(each)
            return self.lists[each.name]

    def put(self, each: Subscription) -> None:
        """Adds or replaces a list. For who holds the lock; OperatorError."""
        spared = self._spare(each) if self._notice_s and each.current.digest else each
        self._save({**self.lists, each.name: spared})

    def note(self, each: Subscription) -> None:
        """Replaces a list whose rules stay. For who holds the lock. On a full disk the status in memory changes alone:
        it is what operators are shown."""
        noted = {**self.lists, each.name: each}
        try:
            self._save(noted)
        except OperatorError as refused:
            log.warning("list %s: cannot store how it stands: %s", each.name, refused)
            self.lists = noted

    def remove(self, name: str) -> None:
        """For who holds the lock; OperatorError."""
        self._save({known: each for known, each in self.lists.items() if known != name})

    def end_sparing(self) -> bool:
        """Refuses the sites that were spared until now; True when there were some."""
        now_s = self._now_s()
        with self.lock:
            lists = {name: _spared_still(each, now_s) for name, each in self.lists.items()}
            if lists == self.lists:
                return False
            try:
                self._save(lists)
            except OperatorError as error:
                log.warning("cannot end that sites are spared: %s", error)
                return False
            return True

    def _spare(self, each: Subscription) -> Subscription:
        known = self.lists.get(each.name)
        before = self.files.unsparing(known) if known is not None and known.current.digest else None
        until_s = self._now_s() + self._notice_s
        hit = newly_refused(before, self.files.unsparing(each), self._store.sites())
        spared = dict.fromkeys(map(str, hit), until_s) | dict(each.spared)
        return replace(each, spared=tuple(sorted(spared.items())))

    def _save(self, lists: Mapping[str, Subscription]) -> None:
        self.files.save_catalog(lists.values())
        self.lists = lists


def _spared_still(each: Subscription, now_s: int) -> Subscription:
    return replace(each, spared=tuple((site, until_s) for site, until_s in each.spared if until_s > now_s))
