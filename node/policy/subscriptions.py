"""Lists that the operator subscribed to: loaded, compiled, put in force, and loaded again when they change.

A list never loses its rules by accident: a source that vanished, shrank, cannot be read or grew beyond the limit
leaves the last good rules in force, and the list's status says so; a version that would hit more hosted sites than
the operator allowed at once waits for a decision (docs/spec/policy.md, "Lists").

Sources are loaded side by side, so that a slow one holds up nothing else. Versions are compiled one at a time, and the
catalog is locked only while it changes.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

import trio

from node.policy.active import ListMode
from node.policy.list_catalog import ListCatalog, ListStore
from node.policy.list_files import Subscription, Version
from node.policy.list_looks import Looks
from node.policy.list_sources import (
    BlocklistError,
    Loaded,
    NotHere,
    Unsettled,
    check_url,
    fetch,
    read_file,
    read_site,
)
from node.policy.list_status import ListStatus, status_of
from node.policy.list_weighing import CAP_SITES, compiled, on_trial, why_wait
from node.policy.preview import preview
from protocol.deny_index import Built, DenyIndex
from protocol.errors import DecodeError, OperatorError
from protocol.plain import count
from protocol.site_id import SiteId

POLL_S = 0.25
"""Between two looks at files and sites. Two looks at a file have to agree, so a change holds within a second."""

FETCHES_MAX = 4
"""Lists that are fetched at the same time; each may have 256 MiB."""

LISTS_MAX = 64
PROBLEMS_MAX = 20
"""Lines with problems that are kept and shown; the others are counted."""

OVERRULED_MAX = 10_000

log = logging.getLogger(__name__)


class Subscriptions:
    """The subscriptions of one node. Methods block on disk and network, and may be called from any thread."""

    def __init__(
        self,
        store: ListStore,
        folder: Path,
        *,
        now_s: Callable[[], int],
        notice_s: int = 0,
        named_peers: Collection[str] = (),
    ) -> None:
        """notice_s: for so long, hosted sites that a list newly refuses are served on. named_peers: those that the
        settings name, so that no list refuses them."""
        self._store = store
        self._named_peers = frozenset(named_peers)
        self._now_s = now_s
        self._catalog = ListCatalog(store, folder, now_s=now_s, notice_s=notice_s)
        self.files = self._catalog.files
        self._looks = Looks(store)
        self._compiling = threading.Lock()  # taken before the catalog's where both are
        self._turns = itertools.count(1)
        self._latest: dict[str, int] = {}  # by list, the turn of the load that it has, or of its removal

    # --- what the operator asks for ------------------------------------------------------------------------

    def show(self) -> list[ListStatus]:
        """Every list, by name. Never waits."""
        return [status_of(each, self._now_s()) for _, each in sorted(self._catalog.lists.items())]

    def add(
        self,
        source: Path | str,
        *,
        mode: ListMode = "enforce",
        name: str = "",
        cap_sites: int = CAP_SITES,
        quorum: int = 1,
    ) -> ListStatus:
        """Subscribes and loads the list; one that is there already is loaded again. BlocklistError: nothing
        changed."""
        wanted = replace(_named(str(source), mode, name, cap_sites), quorum=quorum)
        each, turn = self._placed(wanted), next(self._turns)
        try:
            loaded = self._load(replace(each, seen="", modified=""))
        except Unsettled:
            raise BlocklistError(f"{source} is being written to", hint="try again when it is complete") from None
        except NotHere as error:
            with self._catalog.lock:
                if self._placed(wanted) is not wanted:
                    raise
                self._catalog.put(replace(wanted, error=str(error)))
        else:
            if loaded is not None:
                self._take(wanted, loaded, turn)
        return status_of(self._catalog.lists.get(wanted.name, each), self._now_s())

    def _placed(self, wanted: Subscription) -> Subscription:
        """The list as it stands, or as it is wanted where there is none; BlocklistError when there is no place."""
        lists = self._catalog.lists
        known = lists.get(wanted.name)
        if known is None and len(lists) >= LISTS_MAX:
            raise BlocklistError(f"there are {LISTS_MAX} lists already", hint="remove one, or join files")
        if known is not None and known.source != wanted.source:
            raise BlocklistError(f"another list is called {wanted.name}", hint="give this one another --name")
        return known or wanted

    def preview(self, source: str) -> tuple[dict[str, object], int]:
        """What the list at a source, or the waiting or present version of a list by its name, would hit here; and its
        rules. Changes nothing. BlocklistError."""
        with self._catalog.lock:
            each = self._catalog.lists.get(source)
            version = (each.pending or each.current) if each is not None else Version()
            index, rule_count = self._catalog.opened(version), version.rule_count
        if each is None:
            each = _named(source, "enforce", "", CAP_SITES)
            try:
                loaded = self._load(each)
            except Unsettled:
                raise BlocklistError(f"{source} is being written to", hint="try again when it is complete") from None
            if loaded is None:
                raise BlocklistError(f"{source} gave nothing")
            built = self._compiled(each, loaded, None)
            index, rule_count = DenyIndex(built.table, loaded.raw), built.rule_count
        if index is None:
            raise BlocklistError(f"nothing was read of {source} yet: {each.error}")
        return preview(on_trial(each, index), self._store, self._named_peers).as_json(), rule_count

    def remove(self, name: Path | str) -> bool:
        """Ends the subscription and its rules; False when there was none."""
        with self._catalog.lock:
            gone = self._catalog.name_of(str(name))
            if gone not in self._catalog.lists:
                return False
            self._catalog.remove(gone)
            self._latest[gone] = next(self._turns)
            self._looks.forget(gone)
            return True

    def set_mode(self, name: str, mode: ListMode) -> ListStatus:
        """KeyError when there is no such list."""
        return self._change(name, lambda each: replace(each, mode=mode))

    def accept(self, name: str, line: str | None) -> ListStatus:
        """Puts the waiting version in force, or with `line` that line of a list in mode review. KeyError."""
        if line is not None:
            return self._change(name, lambda each: replace(each, accepted=_with(each.accepted, line)))
        return self._change(name, _accepted)

    def reject(self, name: str) -> ListStatus:
        """Drops the waiting version; the one in force stays until the source changes. KeyError, BlocklistError."""
        return self._change(name, _rejected)

    def overrule(self, name: str, line: str, *, undo: bool = False) -> ListStatus:
        """The line has no effect until it changes; undo takes that back. KeyError."""
        if undo:
            return self._change(
                name, lambda each: replace(each, overruled=tuple(one for one in each.overruled if one != line))
            )
        return self._change(name, lambda each: replace(each, overruled=_with(each.overruled, line)))

    def has_line(self, name: str, line: str) -> bool:
        """Whether a rule stands in the list just so, in its version in force or the one that waits. KeyError."""
        with self._catalog.lock:
            each = self._catalog.lists[self._catalog.name_of(name)]
            versions = (each.current, each.pending) if each.pending is not None else (each.current,)
            return any((index := self._catalog.opened(one)) is not None and index.has_line(line) for one in versions)

    def _change(self, name: str, change: Callable[[Subscription], Subscription]) -> ListStatus:
        return status_of(self._catalog.change(name, change), self._now_s())

    def rules(self, name: str, offset: int, limit: int) -> tuple[list[tuple[str, str]], int]:
        """A page of (rule, reason) of a list, and how many it has. KeyError."""
        with self._catalog.lock:
            current = self._catalog.lists[self._catalog.name_of(name)].current
            index = self._catalog.opened(current)
        page = itertools.islice(index.rules(), offset, offset + limit) if index is not None else ()
        return [(line.split()[0], dict(rule.hints).get("reason", "")) for line, rule in page], current.rule_count

    # --- looking for changes -------------------------------------------------------------------------------

    async def watch(self, on_change: Callable[[], None]) -> None:
        """Looks for changes for ever; calls on_change (in trio's thread) after each change of rules."""
        busy: set[str] = set()
        fetching, reading = trio.CapacityLimiter(FETCHES_MAX), trio.CapacityLimiter(1)

        async def look(each: Subscription) -> None:
            limiter = fetching if each.kind == "https" else reading
            try:
                if await trio.to_thread.run_sync(self.look, each.name, abandon_on_cancel=True, limiter=limiter):
                    on_change()
            finally:
                busy.discard(each.name)

        async with trio.open_nursery() as nursery:
            while True:
                lists = self._catalog.lists
                if lists:
                    for each in await trio.to_thread.run_sync(self.due, frozenset(busy)):
                        busy.add(each.name)
                        nursery.start_soon(look, each)
                if any(each.spared for each in lists.values()) and await trio.to_thread.run_sync(self.end_sparing):
                    on_change()
                await trio.sleep(POLL_S)

    def due(self, besides: Collection[str] = ()) -> list[Subscription]:
        """The lists whose source is to be loaded now, besides those that are loaded already. For one thread."""
        now_s, lists = self._now_s(), self._catalog.lists
        return [each for each in lists.values() if each.name not in besides and self._looks.due(each, now_s)]

    def look(self, name: str) -> bool:
        """Loads a list that is due; True when rules changed."""
        each, turn = self._catalog.lists.get(name), next(self._turns)
        if each is None:
            return False
        try:
            loaded = self._load(each)
            if loaded is not None:
                return self._take(each, loaded, turn)
            self._note(name, turn, None)
        except Unsettled:
            pass  # its state is another one now, and is looked at again
        except OperatorError as error:
            self._note(name, turn, error)
        except Exception as error:  # sources are strangers': none may end the watch, and the daemon with it
            log.exception("list %s cannot be looked at", name)
            self._note(name, turn, BlocklistError(f"a bug in fednode: {type(error).__name__}"))
        return False

    def end_sparing(self) -> bool:
        """Refuses the sites that were spared until now; True when there were some."""
        return self._catalog.end_sparing()

    def _load(self, each: Subscription) -> Loaded | None:
        if each.kind == "file":
            return read_file(each.source)
        if each.kind == "https":
            return fetch(each)
        return read_site(self._store, each)

    def _note(self, name: str, turn: int, error: OperatorError | None) -> None:
        """How a look at a source went that changed no rules."""
        with self._catalog.lock:
            each = self._catalog.lists.get(name)
            if each is None or self._outdated(name, turn):
                return
            if error is None:
                self._catalog.note(self._looks.checked(each, self._now_s()))
                return
            if each.error != str(error):
                kept = count(each.current.rule_count, "rule")
                log.warning("list %s: %s; in force as before: %s", name, error, kept)
            self._catalog.note(self._looks.failed(each, error, self._now_s()))

    def _outdated(self, name: str, turn: int) -> bool:
        """Whether a list was removed since this turn began, or has what was loaded in a later one."""
        return self._latest.get(name, 0) > turn

    def _take(self, wanted: Subscription, loaded: Loaded, turn: int) -> bool:
        """Puts what was loaded in force, or lets it wait for the operator; True when rules changed. What the operator
        changes meanwhile counts; nothing happens when it is outdated by then."""
        with self._compiling:
            while not self._outdated(wanted.name, turn):
                each = self._placed(wanted)
                with self._catalog.lock:
                    before = self._catalog.opened(each.current)
                built = self._compiled(each, loaded, before)
                why = why_wait(
                    each, DenyIndex(built.table, loaded.raw), built.rule_count, before, self._store, self._named_peers
                )
                with self._catalog.lock:
                    if self._placed(wanted) is each and not self._outdated(wanted.name, turn):
                        changed = self._apply(each, loaded, built, why)
                        self._latest[each.name] = turn
                        return changed
        return False

    def _compiled(self, each: Subscription, loaded: Loaded, before: DenyIndex | None) -> Built:
        elsewhere = sum(one.current.rule_count for one in self._catalog.lists.values() if one.name != each.name)
        return compiled(each.source, loaded, now_s=self._now_s(), before=before, rules_elsewhere=elsewhere)

    def _apply(self, each: Subscription, loaded: Loaded, built: Built, why: str) -> bool:
        """For who holds the catalog's lock."""
        now_s = self._now_s()
        self._looks.note(each.name, loaded.seen)
        digest = self.files.save_version(loaded.raw, built.table)
        problems = tuple((error.line, str(error.error)) for error in built.errors[:PROBLEMS_MAX])
        version = Version(digest, built.rule_count, now_s, problems, built.error_count)
        checked = replace(self._looks.checked(each, now_s), seen=loaded.seen, modified=loaded.modified)
        if digest == each.current.digest:
            self._catalog.put(replace(checked, current=version, pending=None, pending_why=""))
        elif digest == each.rejected:
            self._catalog.put(checked)
        elif why:
            log.warning("list %s: a new version waits: %s", each.name, why)
            self._catalog.put(replace(checked, pending=version, pending_why=why))
        else:
            self._catalog.put(replace(checked, current=version, pending=None, pending_why="", rejected=""))
            left_out = count(built.error_count, "line")
            log.info("list %s: %s, left out: %s", each.name, count(built.rule_count, "rule"), left_out)
            return True
        return False


def _named(source: str, mode: ListMode, name: str, cap_sites: int) -> Subscription:
    """A subscription to a source, checked for its form. BlocklistError."""
    if "://" in source:
        check_url(source)
    elif source.startswith("/"):
        source = os.path.normpath(source)
    else:
        try:
            source = str(SiteId.from_text(source))
        except DecodeError:
            hint = "give an absolute path, an https address or a site id; fednode list show names the lists"
            raise BlocklistError(f"{source[:200]} is no source of a list", hint=hint) from None
    return Subscription(name or source, source, mode, cap_sites)


def _with(lines: tuple[str, ...], line: str) -> tuple[str, ...]:
    if len(lines) >= OVERRULED_MAX:
        raise BlocklistError(f"{OVERRULED_MAX} lines are noted already", hint="overrule by a rule of your own instead")
    return (*(one for one in lines if one != line), line)


def _accepted(each: Subscription) -> Subscription:
    return replace(each, current=_waiting(each), pending=None, pending_why="")


def _rejected(each: Subscription) -> Subscription:
    return replace(each, rejected=_waiting(each).digest, pending=None, pending_why="")


def _waiting(each: Subscription) -> Version:
    if each.pending is None:
        raise BlocklistError(f"no version of {each.name} waits", hint="fednode list show")
    return each.pending
