"""Blocklist files that the operator subscribed to: read, turned into rules, and read again when they change.

A list never loses its rules by accident: a file that vanished, cannot be read or grew beyond the limit leaves
the last good rules in force, and its status says so (docs/spec/policy.md, "Lists").
"""

from __future__ import annotations

import logging
import os
import stat
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Protocol

import trio

from node.policy.rules import ListRules, list_rules
from node.store.port import ListRow, RuleRow
from protocol.errors import DecodeError, OperatorError

POLL_S = 0.25
"""Between two looks at the files: one stat each. Two looks have to agree, so a change holds within a second."""

FILE_MAX_BYTES = 16 * 1024**2
"""Over 100,000 lines; a larger file is taken for a mistake."""

RULES_MAX = 50_000
"""Rules of all lists together: each change of any rule reads all of them again, in about 0.4 s for so many."""

LISTS_MAX = 64

RETRY_S = 30
"""After the store could not take the rules of a list (its disk is full, say), they are tried again."""

PROBLEMS_MAX = 20
"""Lines with problems that are kept and shown; the others are counted."""

log = logging.getLogger(__name__)


class BlocklistError(OperatorError):
    """The file cannot be used as a list: missing, not a file, unreadable, too large, or no line of it is a
    rule."""

    code: ClassVar[str] = "blocklist-unusable"


class ListStore(Protocol):
    """The part of node.store.port.Store that lists need."""

    def rules(self) -> list[RuleRow]: ...
    def lists(self) -> list[ListRow]: ...
    def save_list(self, row: ListRow) -> None: ...
    def replace_list_rules(self, list_name: str, rows: Sequence[RuleRow], *, row: ListRow | None = None) -> None: ...
    def remove_list(self, list_name: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class ListStatus:
    """How a list stands. error: why the file cannot be used now, so that older rules are in force. problems:
    lines that were left out, as (line number, what is wrong), the first ones; problem_count counts all."""

    path: str
    rule_count: int
    read_s: int
    error: str | None = None
    problems: tuple[tuple[int, str], ...] = ()
    problem_count: int = 0

    def as_json(self) -> dict[str, object]:
        """For the admin API (docs/operators/admin-api.md)."""
        return {
            "path": self.path,
            "rule_count": self.rule_count,
            "read_s": self.read_s,
            "error": self.error,
            "problems": [{"line": line, "message": message} for line, message in self.problems],
            "problem_count": self.problem_count,
        }


@dataclass(frozen=True, slots=True)
class _Signature:
    """Differs when the file was written to or replaced."""

    device: int
    inode: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> _Signature:
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


_GONE = _Signature(0, 0, 0, 0, 0)


class _Unsettled(Exception):
    """The file was written to while it was read."""


@dataclass(slots=True)
class _Watched:
    """One list: how it stands, which state of its file was read (judged) or only seen, and when to try again."""

    status: ListStatus
    judged: _Signature | None = None
    seen: _Signature | None = None
    retry_s: int | None = None


class Blocklists:
    """The subscriptions of one node. Methods block on disk and may be called from any thread."""

    def __init__(self, store: ListStore, *, now_s: Callable[[], int]) -> None:
        self._store = store
        self._now_s = now_s
        self._lock = threading.Lock()
        counts: dict[str, int] = {}
        for rule in store.rules():
            if rule.list_name is not None:
                counts[rule.list_name] = counts.get(rule.list_name, 0) + 1
        self._watched = {
            row.name: _Watched(ListStatus(row.path, counts.get(row.name, 0), row.read_s, row.error))
            for row in store.lists()
        }

    def show(self) -> list[ListStatus]:
        """Every list, by path. Never waits."""
        return sorted((watched.status for watched in list(self._watched.values())), key=lambda status: status.path)

    def add(self, path: Path) -> ListStatus:
        """Subscribes and reads the list; one that is there already is read again. BlocklistError: nothing
        changed."""
        if not path.is_absolute():
            raise BlocklistError(f"{path} is not an absolute path")
        name = os.path.normpath(path)
        with self._lock:
            if name not in self._watched and len(self._watched) >= LISTS_MAX:
                raise BlocklistError(f"there are {LISTS_MAX} lists already", hint="remove one, or join files")
            try:
                signature, raw = _read(name)
            except _Unsettled:
                raise BlocklistError(f"{name} is being written to", hint="try again when it is complete") from None
            watched = self._watched.get(name) or _Watched(ListStatus(name, 0, 0))
            self._take(watched, signature, raw)
            self._watched[name] = watched
            return watched.status

    def remove(self, path: Path) -> bool:
        """Ends the subscription and its rules; False when there was none."""
        name = os.path.normpath(path)
        with self._lock:
            known = self._watched.pop(name, None)
            return self._store.remove_list(name) or known is not None

    def poll(self) -> bool:
        """One look at every file; True when rules changed."""
        with self._lock:
            changes = [self._look(watched) for watched in self._watched.values()]
            return any(changes)

    async def watch(self, on_change: Callable[[], None]) -> None:
        """Polls for ever; calls on_change (in trio's thread) after each change of rules."""
        while True:
            changed = await trio.to_thread.run_sync(self.poll) if self._watched else False
            if changed:
                on_change()
            await trio.sleep(POLL_S)

    def _look(self, watched: _Watched) -> bool:
        """Reads the file if it changed and settled."""
        name = watched.status.path
        try:
            signature = _Signature.of(os.stat(name))
        except OSError as error:
            watched.judged, watched.seen = _GONE, None
            self._complain(watched, f"cannot be read: {error.strerror}")
            return False
        due = watched.retry_s is not None and self._now_s() >= watched.retry_s
        if signature == watched.judged and not due:
            return False
        # A file may be seen half-written: it counts once two looks agree. The first look of all comes at start.
        settled = watched.judged is None or signature == watched.seen
        watched.seen = signature
        return settled and self._reread(watched)

    def _reread(self, watched: _Watched) -> bool:
        signature = watched.seen
        try:
            signature, raw = _read(watched.status.path)
            return self._take(watched, signature, raw)
        except _Unsettled:
            return False
        except OperatorError as error:
            watched.judged = signature
            watched.retry_s = None if isinstance(error, BlocklistError) else self._now_s() + RETRY_S
            self._complain(watched, str(error))
            return False

    def _take(self, watched: _Watched, signature: _Signature, raw: bytes) -> bool:
        """Puts the rules in raw in place of the list's; True when they differ."""
        name = watched.status.path
        now_s = self._now_s()
        rows, problems, problem_count = self._parse(name, raw, now_s)
        before = {row.target: row for row in self._store.rules() if row.list_name == name}
        # A rule that was there already keeps its date.
        rows = [replace(row, since_s=before[row.target].since_s) if row.target in before else row for row in rows]
        list_row = ListRow(name, name, signature.mtime_ns, signature.size_bytes, signature.inode, now_s, None)
        changed = before != {row.target: row for row in rows}
        self._store.save_list(list_row)
        if changed:
            self._replace_rules(name, rows, list_row)
        watched.judged = watched.seen = signature
        watched.retry_s = None
        watched.status = ListStatus(name, len(rows), now_s, None, tuple(problems[:PROBLEMS_MAX]), problem_count)
        log.info("list %s: %d rules, %d lines left out", name, len(rows), problem_count)
        return changed

    def _replace_rules(self, name: str, rows: list[RuleRow], list_row: ListRow) -> None:
        try:
            self._store.replace_list_rules(name, rows, row=list_row)
        except OperatorError:
            if name not in self._watched:  # a new list leaves nothing behind
                self._store.remove_list(name)
            raise

    def _parse(self, name: str, raw: bytes, now_s: int) -> ListRules:
        try:
            parsed = list_rules(raw, list_name=name, now_s=now_s)
        except DecodeError as error:
            raise BlocklistError(f"{name} is no list: {error}") from error
        if parsed.problems and not parsed.rows:
            line, message = parsed.problems[0]
            raise BlocklistError(f"no line of {name} is a rule; line {line}: {message}")
        others = sum(watched.status.rule_count for other, watched in self._watched.items() if other != name)
        if len(parsed.rows) + others > RULES_MAX:
            raise BlocklistError(
                f"{name} has {len(parsed.rows)} rules and other lists have {others}; {RULES_MAX} in all is the limit"
            )
        return parsed

    def _complain(self, watched: _Watched, error: str) -> None:
        """Notes why the file cannot be used; the last good rules stay in force."""
        if watched.status.error == error:
            return
        status = watched.status
        log.warning("list %s: %s; the %d rules read before stay in force", status.path, error, status.rule_count)
        watched.status = replace(status, error=error)
        try:
            for row in self._store.lists():
                if row.name == status.path:
                    self._store.save_list(replace(row, error=error))
        except OperatorError as refused:  # a full disk: the status in memory is what operators are shown
            log.warning("list %s: cannot store that: %s", status.path, refused)


def _read(name: str) -> tuple[_Signature, bytes]:
    """The file and the state it was read in; BlocklistError, _Unsettled."""
    try:
        # O_NONBLOCK: opening a FIFO would wait for its writer.
        descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            before = os.fstat(file.fileno())
            if not stat.S_ISREG(before.st_mode):
                raise BlocklistError(f"{name} is not a file")
            raw = file.read(FILE_MAX_BYTES + 1)
            signature = _Signature.of(os.fstat(file.fileno()))
    except OSError as error:
        raise BlocklistError(f"{name} cannot be read: {error.strerror}") from error
    if len(raw) > FILE_MAX_BYTES:
        raise BlocklistError(f"{name} has more than {FILE_MAX_BYTES // 1024**2} MiB")
    if signature != _Signature.of(before):
        raise _Unsettled
    return signature, raw
