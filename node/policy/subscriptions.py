"""Lists that the operator subscribed to: loaded, compiled, put in force, and loaded again when they change.

A list never loses its rules by accident: a source that vanished, shrank, cannot be read or grew beyond the limit
leaves the last good rules in force, and the list's status says so; a version that would hit more hosted sites than
the operator allowed at once waits for a decision (docs/spec/policy.md, "Lists").
"""

from __future__ import annotations

import logging
import os
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import trio

from node.policy.active import ActiveList, ListMode
from node.policy.list_files import ListFiles, Subscription, Version
from node.policy.list_sources import (
    BlocklistError,
    Loaded,
    Unsettled,
    check_url,
    fetch,
    file_state,
    read_file,
    read_site,
)
from node.policy.preview import HostedStore, Preview, preview
from node.policy.sparing import newly_refused
from node.store.port import ListRow, RuleRow, SiteRecord
from protocol.deny_index import Built, DenyIndex, build
from protocol.errors import DecodeError, OperatorError
from protocol.site_id import SiteId

POLL_S = 0.25
"""Between two looks at files and sites: one stat each. Two looks have to agree, so a change holds within a second."""

FETCH_EVERY_S = 3600
"""Between two requests for a list over HTTPS; varied by a tenth, so that nodes do not come all at once."""

RETRY_S = 30
"""After a list could not be taken (its server or our disk failed); doubles with each failure in a row, up to a day."""

RETRY_MAX_S = 24 * 3600
STALE_S = 7 * 24 * 3600
"""After so long without one good look at its source a list is called stale."""

RULES_MAX = 4_000_000
"""Rules of all lists together: 100 MB of tables, which all processes share."""

LISTS_MAX = 64
PROBLEMS_MAX = 20
"""Lines with problems that are kept and shown; the others are counted."""

OVERRULED_MAX = 10_000
CAP_SITES = 10
CAP_SHARE = 0.2
CAP_SHARE_SITES = 3
"""A version that newly hits more hosted sites than its list's cap (CAP_SITES unless said otherwise), or a share of
CAP_SHARE of them and at least CAP_SHARE_SITES, waits for the operator, whatever the mode."""

SHRUNKEN_SHARE = 0.5
SHRUNKEN_RULES = 20
"""A list from elsewhere that had so many rules and lost more than this share of them waits for the operator, too."""

log = logging.getLogger(__name__)


class ListStore(HostedStore, Protocol):
    """The part of node.store.port.Store that lists need."""

    def site(self, site: SiteId) -> SiteRecord | None: ...
    def rules(self) -> list[RuleRow]: ...
    def lists(self) -> list[ListRow]: ...
    def remove_list(self, list_name: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class ListStatus:
    """How a list stands. error: why the source cannot be used now, so that older rules are in force, or that a
    version waits. problems: lines that were left out, as (line number, what is wrong), the first ones;
    problem_count counts all."""

    path: str
    rule_count: int
    read_s: int
    error: str | None = None
    problems: tuple[tuple[int, str], ...] = ()
    problem_count: int = 0
    name: str = ""
    mode: ListMode = "enforce"
    pending: str | None = None
    checked_s: int = 0
    overruled: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()
    quorum: int = 1

    def as_json(self) -> dict[str, object]:
        """For the admin API (docs/operators/admin-api.md)."""
        return {
            "path": self.path,
            "rule_count": self.rule_count,
            "read_s": self.read_s,
            "error": self.error,
            "problems": [{"line": line, "message": message} for line, message in self.problems],
            "problem_count": self.problem_count,
            "name": self.name,
            "mode": self.mode,
            "pending": self.pending,
            "checked_s": self.checked_s,
            "overruled": list(self.overruled),
            "accepted": list(self.accepted),
            "quorum": self.quorum,
        }


class Subscriptions:
    """The subscriptions of one node. Methods block on disk and network, and may be called from any thread."""

    def __init__(self, store: ListStore, folder: Path, *, now_s: Callable[[], int], notice_s: int = 0) -> None:
        """notice_s: for so long, hosted sites that a list newly refuses are served on."""
        self._store = store
        self._notice_s = notice_s
        self._now_s = now_s
        self._lock = threading.Lock()
        self.files = ListFiles(folder)
        self._lists = {each.name: each for each in self.files.catalog()}
        self._seen: dict[str, str] = {}  # states of files that were seen once
        self._looked: set[str] = set()  # since the start
        self._take_over()

    def _take_over(self) -> None:
        """Lists of a node of an earlier version, whose rules were rows of the store."""
        for row in self._store.lists():
            if row.name not in self._lists:
                lines = (f"{r.target} reason:{'-'.join(r.reason.split())}" for r in self._store.rules()
                         if r.list_name == row.name)  # fmt: skip
                raw = "\n".join(lines).encode()
                built = build(raw, now_s=self._now_s())
                digest = self.files.save_version(raw, built.table)
                current = Version(digest, built.rule_count, row.read_s)
                self._lists[row.name] = Subscription(row.name, row.path, current=current, error=row.error)
                self._save()
            self._store.remove_list(row.name)

    # --- what the operator asks for ------------------------------------------------------------------------

    def show(self) -> list[ListStatus]:
        """Every list, by name. Never waits."""
        return [self._status(each) for _, each in sorted(self._lists.items())]

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
        with self._lock:
            known = self._lists.get(wanted.name)
            if known is None and len(self._lists) >= LISTS_MAX:
                raise BlocklistError(f"there are {LISTS_MAX} lists already", hint="remove one, or join files")
            if known is not None and known.source != wanted.source:
                raise BlocklistError(f"another list is called {wanted.name}", hint="give this one another --name")
            each = known if known is not None else wanted
            try:
                loaded = self._load(replace(each, seen="", modified=""))
            except Unsettled:
                raise BlocklistError(f"{source} is being written to", hint="try again when it is complete") from None
            except BlocklistError:
                if each.kind != "site" or known is not None:
                    raise
                self._put(replace(each, error="the site is not here yet; it is followed now"))
                return self._status(self._lists[each.name])
            if loaded is None:
                return self._status(each)
            self._looked.add(each.name)
            self._seen[each.name] = loaded.seen
            self._take(each, loaded)
            return self._status(self._lists[each.name])

    def preview(self, source: str) -> tuple[dict[str, object], int]:
        """What the list at a source, or the waiting or present version of a list by its name, would hit here; and its
        rules. Changes nothing. BlocklistError."""
        each = self._lists.get(source)
        if each is not None:
            version = each.pending or each.current
            index = self.files.index(version.digest)
            return preview(self._trial(each, index), self._store).as_json(), version.rule_count
        each = _named(source, "enforce", "", CAP_SITES)
        try:
            loaded = self._load(each)
        except Unsettled:
            raise BlocklistError(f"{source} is being written to", hint="try again when it is complete") from None
        if loaded is None:
            raise BlocklistError(f"{source} gave nothing")
        built = self._build(each, loaded, None)
        found = preview(self._trial(each, DenyIndex(built.table, loaded.raw)), self._store)
        return found.as_json(), built.rule_count

    def remove(self, name: Path | str) -> bool:
        """Ends the subscription and its rules; False when there was none."""
        with self._lock:
            each = self._lists.pop(self._name_of(str(name)), None)
            if each is not None:
                self._save()
            return each is not None

    def set_mode(self, name: str, mode: ListMode) -> ListStatus:
        """KeyError when there is no such list."""
        return self._change(name, lambda each: replace(each, mode=mode))

    def accept(self, name: str, line: str | None) -> ListStatus:
        """Puts the waiting version in force, or with `line` that line of a list in mode review. KeyError."""
        if line is not None:
            return self._change(name, lambda each: replace(each, accepted=_with(each.accepted, line)))
        return self._change(name, _accepted)

    def reject(self, name: str) -> ListStatus:
        """Drops the waiting version; the one in force stays until the source changes again. KeyError."""
        return self._change(
            name,
            lambda each: replace(
                each, pending=None, pending_why="", rejected=each.pending.digest if each.pending else each.rejected
            ),
        )

    def overrule(self, name: str, line: str, *, undo: bool = False) -> ListStatus:
        """The line has no effect until it changes; undo takes that back. KeyError."""
        if undo:
            return self._change(
                name, lambda each: replace(each, overruled=tuple(one for one in each.overruled if one != line))
            )
        return self._change(name, lambda each: replace(each, overruled=_with(each.overruled, line)))

    def rules(self, name: str, offset: int, limit: int) -> tuple[list[tuple[str, str]], int]:
        """A page of (rule, reason) of a list, and how many it has. KeyError."""
        each = self._lists[self._name_of(name)]
        if not each.current.digest:
            return [], 0
        rows: list[tuple[str, str]] = []
        for number, (line, rule) in enumerate(self.files.index(each.current.digest).rules()):
            if number >= offset + limit:
                break
            if number >= offset:
                rows.append((line.split()[0], dict(rule.hints).get("reason", "")))
        return rows, each.current.rule_count

    # --- looking for changes -------------------------------------------------------------------------------

    def poll(self) -> bool:
        """One look at every source that is due; True when something changed."""
        with self._lock:
            changes = [self._look(each) for each in list(self._lists.values())]
            changes += [self._end_sparing(each) for each in list(self._lists.values()) if each.spared]
            return any(changes)

    async def watch(self, on_change: Callable[[], None]) -> None:
        """Polls for ever; calls on_change (in trio's thread) after each change of rules."""
        while True:
            changed = await trio.to_thread.run_sync(self.poll, abandon_on_cancel=True) if self._lists else False
            if changed:
                on_change()
            await trio.sleep(POLL_S)

    def _look(self, each: Subscription) -> bool:
        now_s = self._now_s()
        due = bool(each.next_s) and now_s >= each.next_s
        if each.kind == "file":
            return self._look_at_file(each, due=due)
        if each.kind == "https" and not due:
            return False
        if each.kind == "site" and each.next_s and not due:
            return False
        return self._reload(each)

    def _look_at_file(self, each: Subscription, *, due: bool) -> bool:
        try:
            state = file_state(each.source)
        except OSError as error:
            self._seen.pop(each.name, None)
            self._complain(replace(each, seen=""), f"cannot be read: {error.strerror}")
            return False
        if not due and (state == each.seen or each.next_s):
            return False
        # A file may be seen half-written: it counts once two looks agree. The first look of all comes at start.
        settled = each.name not in self._looked or state == self._seen.get(each.name)
        self._looked.add(each.name)
        self._seen[each.name] = state
        return settled and self._reload(each)

    def _reload(self, each: Subscription) -> bool:
        self._looked.add(each.name)
        try:
            loaded = self._load(each)
            if loaded is None:
                if each.kind != "site" or each.error:
                    self._put(self._checked(each))
                return False
            return self._take(each, loaded)
        except Unsettled:
            return False
        except OperatorError as error:
            self._failed(each, error)
            return False

    def _failed(self, each: Subscription, error: OperatorError) -> None:
        wait_s = min(RETRY_S * 2**each.failures, RETRY_MAX_S)
        failed = replace(each, failures=min(each.failures + 1, 20))
        if each.kind == "file" and isinstance(error, BlocklistError):
            # What is wrong is in the file: it is read again when it changes.
            failed = replace(failed, seen=self._seen.get(each.name, each.seen), next_s=0)
        else:
            failed = replace(failed, next_s=self._now_s() + wait_s)
        self._complain(failed, str(error))

    def _load(self, each: Subscription) -> Loaded | None:
        if each.kind == "file":
            return read_file(each.source)
        if each.kind == "https":
            return fetch(each)
        return read_site(self._store, each)

    def _take(self, each: Subscription, loaded: Loaded) -> bool:
        """Puts what was loaded in force, or lets it wait for the operator; True when rules changed."""
        before = self.files.index(each.current.digest) if each.current.digest else None
        built = self._build(each, loaded, before)
        now_s = self._now_s()
        digest = self.files.save_version(loaded.raw, built.table)
        problems = tuple((error.line, str(error.error)) for error in built.errors[:PROBLEMS_MAX])
        version = Version(digest, built.rule_count, now_s, problems, built.error_count)
        checked = replace(self._checked(each), seen=loaded.seen, modified=loaded.modified)
        if digest == each.current.digest:
            self._put(replace(checked, current=replace(version, read_s=now_s)))
            return False
        why = "" if digest == each.rejected else self._why_wait(each, built, DenyIndex(built.table, loaded.raw), before)
        if why:
            log.warning("list %s: a new version waits: %s", each.name, why)
            self._put(replace(checked, pending=version, pending_why=why))
            return False
        if digest == each.rejected:
            self._put(checked)
            return False
        self._put(replace(checked, current=version, pending=None, pending_why="", rejected=""))
        log.info("list %s: %d rules, %d lines left out", each.name, built.rule_count, built.error_count)
        return True

    def _build(self, each: Subscription, loaded: Loaded, before: DenyIndex | None) -> Built:
        others = sum(one.current.rule_count for one in self._lists.values() if one.name != each.name)
        try:
            most = max(0, RULES_MAX - others)
            built = loaded.with_errors(build(loaded.raw, now_s=self._now_s(), before=before, rules_max=most))
        except DecodeError as error:
            limit = f"; {RULES_MAX} in all is the limit" if error.code == "unsupported-rule" else ""
            raise BlocklistError(f"{each.source} is no list: {error}{limit}") from error
        if built.errors and not built.rule_count:
            first = built.errors[0]
            raise BlocklistError(f"no line of {each.source} is a rule; line {first.line}: {first.error}")
        return built

    def _why_wait(self, each: Subscription, built: Built, index: DenyIndex, before: DenyIndex | None) -> str:
        """Why a version does not take effect by itself; empty when it does."""
        old = each.current.rule_count
        if each.kind != "file" and old >= SHRUNKEN_RULES and built.rule_count < old * SHRUNKEN_SHARE:
            return f"it shrank from {old} to {built.rule_count} rules"
        after = preview(self._trial(each, index), self._store)
        known = preview(self._trial(each, before), self._store) if before is not None and after.sites else Preview()
        new = len(after.sites.keys() - known.sites.keys())
        share = new >= CAP_SHARE_SITES and new > CAP_SHARE * after.hosted
        if new > each.cap_sites or share:
            return f"it newly hits {new} of {after.hosted} hosted sites"
        return ""

    def _trial(self, each: Subscription, index: DenyIndex) -> ActiveList:
        return ActiveList(each.name, "enforce", index, frozenset(each.overruled))

    # --- bookkeeping ---------------------------------------------------------------------------------------

    def _checked(self, each: Subscription) -> Subscription:
        """After a good look at the source."""
        now_s = self._now_s()
        next_s = 0
        if each.kind == "https":
            next_s = now_s + int(FETCH_EVERY_S * random.uniform(0.9, 1.1))  # noqa: S311
        return replace(each, checked_s=now_s, next_s=next_s, failures=0, error=None)

    def _complain(self, each: Subscription, error: str) -> None:
        """Notes why the source cannot be used; the last good rules stay in force."""
        known = self._lists.get(each.name)
        if known is not None and known.error == error and known.next_s == each.next_s and known.seen == each.seen:
            return
        if known is None or known.error != error:
            log.warning("list %s: %s; the %d rules read before stay in force", each.name, error,
                        each.current.rule_count)  # fmt: skip
        changed = replace(each, error=error)
        self._lists[each.name] = changed
        try:
            self._save()
        except OperatorError as refused:  # a full disk: the status in memory is what operators are shown
            log.warning("list %s: cannot store that: %s", each.name, refused)

    def _change(self, name: str, change: Callable[[Subscription], Subscription]) -> ListStatus:
        with self._lock:
            each = change(self._lists[self._name_of(name)])
            self._put(each)
            return self._status(each)

    def _put(self, each: Subscription) -> None:
        """Durable and in force for all, or nothing changed."""
        before = dict(self._lists)
        self._lists[each.name] = self._spare(each) if self._notice_s and each.current.digest else each
        try:
            self._save()
        except OperatorError:
            self._lists = before
            raise

    def _spare(self, each: Subscription) -> Subscription:
        known = self._lists.get(each.name)
        before = self.files.unsparing(known) if known is not None and known.current.digest else None
        until_s = self._now_s() + self._notice_s
        hit = newly_refused(before, self.files.unsparing(each), self._store.sites())
        spared = dict.fromkeys(map(str, hit), until_s) | dict(each.spared)
        return replace(each, spared=tuple(sorted(spared.items())))

    def _end_sparing(self, each: Subscription) -> bool:
        """True when time was up for a site."""
        now_s = self._now_s()
        left = tuple((site, until_s) for site, until_s in each.spared if until_s > now_s)
        if left == each.spared:
            return False
        self._put(replace(each, spared=left))
        return True

    def _save(self) -> None:
        self.files.save_catalog(self._lists.values())

    def _name_of(self, name: str) -> str:
        return name if name in self._lists else os.path.normpath(name)

    def _status(self, each: Subscription) -> ListStatus:
        error = each.error
        if error is None and each.pending is not None:
            error = f"a new version waits: {each.pending_why}"
        elif each.kind != "file" and each.checked_s and self._now_s() - each.checked_s > STALE_S:
            error = f"stale: no good answer for {(self._now_s() - each.checked_s) // 86400} days; {error or ''}"
        shown = each.current if each.current.digest else each.pending or each.current
        return ListStatus(
            path=each.source,
            rule_count=each.current.rule_count,
            read_s=each.current.read_s,
            error=error,
            problems=shown.problems,
            problem_count=shown.problem_count,
            name=each.name,
            mode=each.mode,
            pending=each.pending_why or None,
            checked_s=each.checked_s,
            overruled=each.overruled,
            accepted=each.accepted,
            quorum=each.quorum,
        )


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
            raise BlocklistError(f"{source[:200]} is not an absolute path, an https address or a site id") from None
    return Subscription(name or source, source, mode, cap_sites)


def _with(lines: tuple[str, ...], line: str) -> tuple[str, ...]:
    if len(lines) >= OVERRULED_MAX:
        raise BlocklistError(f"{OVERRULED_MAX} lines are noted already", hint="overrule by a rule of your own instead")
    return (*(one for one in lines if one != line), line)


def _accepted(each: Subscription) -> Subscription:
    if each.pending is None:
        raise BlocklistError(f"no version of {each.name} waits", hint="fednode list show")
    return replace(each, current=each.pending, pending=None, pending_why="")
