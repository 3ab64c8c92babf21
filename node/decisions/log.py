"""The writer of the decision log: the daemon alone (docs/spec/log.md).

`settle` compares what is in force with what the log says is in force, and writes down the difference. Whatever changed
a rule, and whenever the process died in between, the log catches up before anything is acknowledged or served.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from sqlite3 import Connection

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.databases import transaction
from node.decisions.files import FILE, LogFailed
from node.decisions.reader import LogReader, NoSuchEntry
from node.store.port import RuleRow
from protocol import merkle
from protocol.decision import SALT_BYTES, Act, Entry, LogHead, SealedName, SignedLogHead, seal, sign_head
from protocol.site_id import SiteId


@dataclass(frozen=True, slots=True)
class ListState:
    """A list in force: the SHA-256 of its lines, and how many rules they hold."""

    name: str
    digest: bytes
    rule_count: int


@dataclass(frozen=True, slots=True)
class Draft:
    """A decision to be written down. note: for the operator alone. withheld: target and reason are not published."""

    act: Act
    target: str = ""
    reason: str = ""
    verdict: str = ""
    ground: str = ""
    list_name: str | None = None
    list_digest: bytes | None = None
    list_rules: int | None = None
    refers: int | None = None
    note: str = ""
    withheld: bool = False


@dataclass(frozen=True, slots=True)
class Remark:
    """What the operator adds to a rule that it makes, for the log."""

    note: str = ""
    withheld: bool = False


@dataclass(frozen=True, slots=True)
class _Standing:
    """What is in force by the log, and which entry says so."""

    state: str
    number: int


Key = tuple[str, str]
NO_REMARK = Remark()


class DecisionLog:
    """Methods block on the disk and may be called from any thread. Raise LogFailed, and then nothing was written."""

    def __init__(self, path: Path, key: Ed25519PrivateKey, *, now_s: Callable[[], int]) -> None:
        self._path = path
        self._key = key
        self._own = SiteId.of(key)
        self._now_s = now_s
        self._lock = threading.Lock()
        self._database = FILE.open_for_writing(path)
        self.reader = LogReader(path, self._database)
        with FILE.translated(path, "reading"):
            rows = self._database.execute("SELECT kind, name, state, number FROM standing").fetchall()
        self._standing: dict[Key, _Standing] = {(kind, name): _Standing(state, n) for kind, name, state, n in rows}
        self._check_or_sign()

    def close(self) -> None:
        self._database.close()

    def append(self, drafts: Sequence[Draft]) -> list[int]:
        """Writes entries, all or none; their numbers. On disk when it returns."""
        with self._lock:
            return self._write([(draft, None) for draft in drafts])

    def remark(self, remarks: Mapping[str, Remark]) -> None:
        """By target, what `settle` is to write with the rules that will be made now. On disk when it returns: were the
        process to die before the rules are logged, what is secret must not be logged in the open at the next start.
        An empty one takes the place of one that is left of a rule which changed nothing."""
        with self._lock:
            left = self._remarks()
            rows = [
                (target, remark.note, remark.withheld)
                for target, remark in remarks.items()
                if remark != left.get(target, NO_REMARK)
            ]
            if rows:
                with self._transaction() as database:
                    database.executemany("INSERT OR REPLACE INTO remarks VALUES (?, ?, ?)", rows)

    def settle(self, rules: Iterable[RuleRow], lists: Iterable[ListState], follows: Iterable[SiteId]) -> list[int]:
        """Writes what has changed since the last call, or since the last run."""
        with self._lock:
            own = {row.target: row for row in rules if row.list_name is None}
            found = [
                *self._rule_changes(own),
                *self._list_changes({each.name: each for each in lists}),
                *self._follow_changes({str(site) for site in follows}),
            ]
            return self._write(found) if found else []

    def withhold(self, number: int) -> None:
        """Stops publishing an entry's target and reason, for ever. The tree stays as it is. NoSuchEntry."""
        with self._lock, self._transaction():
            done = self._database.execute("UPDATE entries SET withheld = 1 WHERE number = ?", (number,)).rowcount
            if not done:
                raise NoSuchEntry(f"the log has no entry {number}")

    def note_of(self, number: int) -> str:
        """The operator's own note on an entry, or ""."""
        with self._lock, FILE.translated(self._path, "reading"):
            row = self._database.execute("SELECT text FROM private_notes WHERE number = ?", (number,)).fetchone()
        return str(row[0]) if row else ""

    def _rule_changes(self, own: Mapping[str, RuleRow]) -> Iterator[tuple[Draft, _Change]]:
        for (kind, target), standing in list(self._standing.items()):
            if kind == "rule" and target not in own:
                verdict, ground, _ = read_state(standing.state)
                draft = Draft("rule-removed", target, verdict=verdict, ground=ground, refers=standing.number)
                yield self._like_its_cause(draft), _Change(("rule", target), None)
        remarks = self._remarks()
        for target, row in own.items():
            state = state_of(row)
            known = self._standing.get(("rule", target))
            if known is not None and known.state == state:
                continue
            remark = remarks.get(target, NO_REMARK)
            draft = Draft(
                "rule-added",
                target,
                row.reason,
                row.verdict,
                row.ground,
                refers=known.number if known else None,
                note=remark.note,
                withheld=remark.withheld,
            )
            yield self._like_its_cause(draft), _Change(("rule", target), state)

    def _remarks(self) -> dict[str, Remark]:
        with FILE.translated(self._path, "reading"):
            rows = self._database.execute("SELECT target, note, withheld FROM remarks").fetchall()
        return {target: Remark(note, bool(withheld)) for target, note, withheld in rows}

    def _like_its_cause(self, draft: Draft) -> Draft:
        """What replaces or ends something that is withheld must not name it."""
        if draft.refers is None or draft.withheld:
            return draft
        row = self._database.execute("SELECT withheld FROM entries WHERE number = ?", (draft.refers,)).fetchone()
        return replace(draft, withheld=bool(row and row[0]))

    def _list_changes(self, lists: Mapping[str, ListState]) -> Iterator[tuple[Draft, _Change]]:
        for (kind, name), standing in list(self._standing.items()):
            if kind == "list" and name not in lists:
                yield Draft("list-removed", list_name=name, refers=standing.number), _Change(("list", name), None)
        for name, each in lists.items():
            known = self._standing.get(("list", name))
            if known is not None and known.state == each.digest.hex():
                continue
            if known is None:
                yield Draft("list-added", list_name=name), _NO_CHANGE
            draft = Draft(
                "list-applied",
                list_name=name,
                list_digest=each.digest,
                list_rules=each.rule_count,
                refers=known.number if known else None,
            )
            yield draft, _Change(("list", name), each.digest.hex())

    def _follow_changes(self, follows: set[str]) -> Iterator[tuple[Draft, _Change]]:
        for (kind, site), standing in list(self._standing.items()):
            if kind == "follow" and site not in follows:
                draft = Draft("site-unfollowed", f"/ipns/{site}", refers=standing.number)
                yield draft, _Change(("follow", site), None)
        for site in sorted(follows):
            if ("follow", site) not in self._standing:
                yield Draft("site-followed", f"/ipns/{site}"), _Change(("follow", site), "")

    def _write(self, found: Sequence[tuple[Draft, _Change | None]]) -> list[int]:
        changes: dict[Key, _Standing | None] = {}
        numbers = []
        with self._transaction():
            size = self.reader.size()
            for draft, change in found:
                self._write_entry(size, draft)
                if change is not None and change.key is not None:
                    self._write_standing(change.key, change.state, size)
                    changes[change.key] = None if change.state is None else _Standing(change.state, size)
                numbers.append(size)
                size += 1
            self._sign(size)
        for key, standing in changes.items():
            if standing is None:
                self._standing.pop(key, None)
            else:
                self._standing[key] = standing
        return numbers

    def _write_entry(self, number: int, draft: Draft) -> None:
        texts: list[tuple[SealedName, bytes, str]] = [
            (name, secrets.token_bytes(SALT_BYTES), text) for name, text in _texts(draft) if text
        ]
        entry = Entry(
            number=number,
            time_s=self._now_s(),
            act=draft.act,
            verdict=draft.verdict,
            ground=draft.ground,
            list_name=draft.list_name,
            list_digest=draft.list_digest,
            list_rules=draft.list_rules,
            refers=draft.refers,
            sealed=tuple((name, seal(name, salt, text)) for name, salt, text in texts),
        )
        raw = entry.encode()
        insert = self._database.execute
        insert("INSERT INTO entries VALUES (?, ?, ?)", (number, raw, draft.withheld))
        for name, salt, text in texts:
            if name == "note":
                insert("INSERT INTO private_notes VALUES (?, ?, ?)", (number, salt, text))
            else:
                insert("INSERT INTO opened VALUES (?, ?, ?, ?)", (number, name, salt, text))
        for level, place, found in merkle.completed(number, merkle.leaf_hash(raw), self.reader.node):
            insert("INSERT INTO nodes VALUES (?, ?, ?)", (level, place, found))

    def _write_standing(self, key: Key, state: str | None, number: int) -> None:
        if state is None:
            self._database.execute("DELETE FROM standing WHERE kind = ? AND name = ?", key)
        else:
            self._database.execute("INSERT OR REPLACE INTO standing VALUES (?, ?, ?, ?)", (*key, state, number))
            self._database.execute("DELETE FROM remarks WHERE ? = 'rule' AND target = ?", key)

    def _sign(self, size: int) -> None:
        head = LogHead(self._own, size, merkle.root_of(size, self.reader.node), self._now_s())
        signed = sign_head(head, self._key).encode()
        self._database.execute("INSERT OR REPLACE INTO head VALUES (1, ?, ?)", (size, signed))

    def _check_or_sign(self) -> None:
        """A new log gets its first head. What is on disk must be what was signed."""
        with FILE.translated(self._path, "reading"):
            row = self._database.execute("SELECT size, signed FROM head").fetchone()
        if row is not None:
            signed = SignedLogHead.decode(row[1]).head
            if signed.size != row[0] or merkle.root_of(signed.size, self.reader.node) != signed.root:
                raise LogFailed(f"{self._path} is damaged", hint="move it away, and a new log begins")
            if signed.key == self._own:
                return
        with self._transaction():
            self._sign(row[0] if row else 0)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with FILE.translated(self._path, "writing"), transaction(self._database) as database:
            yield database


@dataclass(frozen=True, slots=True)
class _Change:
    """What is in force once an entry is written; state None: no longer."""

    key: Key | None
    state: str | None


_NO_CHANGE = _Change(None, None)


def _texts(draft: Draft) -> list[tuple[SealedName, str]]:
    return [("note", draft.note), ("reason", draft.reason), ("target", draft.target)]


def state_of(row: RuleRow) -> str:
    """A rule's verdict, ground and reason, as one text."""
    return f"{row.verdict}|{row.ground}|{row.reason}"


def read_state(state: str) -> tuple[str, str, str]:
    """What `state_of` was made of."""
    verdict, ground, reason = state.split("|", 2)
    return verdict, ground, reason
