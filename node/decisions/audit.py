"""Checking another node's decision log from outside, with nothing but what it publishes (docs/spec/log.md)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from node.decisions.reader import PAGE_MAX
from node.decisions.shape import PREFIX, entry_json
from protocol import merkle
from protocol.decision import Entry, LogHead, SignedLogHead
from protocol.errors import DecodeError, PeerError
from protocol.site_id import SiteId

Json = dict[str, Any]
Get = Callable[[str], Json]
"""The JSON object at a path of the node; what goes wrong is raised as the caller likes."""

Fault = Literal["bad-answer", "bad-signature", "other-key", "forked", "rewritten", "wrong-text"]


class LogWrong(PeerError):
    """The log is not what it should be. heads: signed by the node, they prove it to others."""

    code: ClassVar[str] = "log-wrong"

    def __init__(self, fault: Fault, message: str, *, heads: tuple[SignedLogHead, ...] = ()) -> None:
        super().__init__(message)
        vars(self)["code"] = f"log-{fault}"
        self.fault: Fault = fault
        self.heads = heads


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found at the last check: the signed head, and the peaks of its tree."""

    signed: SignedLogHead
    peaks: tuple[bytes, ...]

    @property
    def head(self) -> LogHead:
        return self.signed.head

    def to_json(self) -> Json:
        """For a file."""
        return {
            "head": self.signed.encode().hex(),
            "peaks": [peak.hex() for peak in self.peaks],
        }

    @classmethod
    def from_json(cls, text: str) -> Seen:
        """DecodeError or ValueError for what `to_json` did not make."""
        found = json.loads(text)
        if not isinstance(found, dict) or found.keys() != {"head", "peaks"}:
            raise ValueError("not the state of a log check")
        seen = cls(SignedLogHead.decode(_bytes(found["head"])), tuple(bytes.fromhex(peak) for peak in found["peaks"]))
        if merkle.Frontier(seen.head.size, seen.peaks).root() != seen.head.root:
            raise ValueError("the state of a log check is damaged")
        return seen


@dataclass(frozen=True, slots=True)
class Audited:
    """What a check found. entries: those that were read, as the node showed them."""

    seen: Seen
    entries: list[Json]


def audit(get: Get, before: Seen | None = None, *, whole: bool = False, key: SiteId | None = None) -> Audited:
    """Checks head, entries and texts; raises LogWrong. whole: every entry anew, not only those since `before`."""
    signed = _head(get(PREFIX))
    head = signed.head
    expected = key or (before.head.key if before else None)
    if expected is not None and head.key != expected:
        raise LogWrong("other-key", f"the log is signed by {head.key}, not by {expected}", heads=(signed,))
    if before is not None:
        _check_growth(get, before, signed)
    from_start = whole or before is None
    frontier = merkle.Frontier() if before is None or whole else merkle.Frontier(before.head.size, before.peaks)
    entries: list[Json] = []
    while frontier.size < head.size:
        for shown in _page(get, frontier.size, min(head.size, frontier.size + PAGE_MAX)):
            frontier.append(merkle.leaf_hash(_checked(shown, frontier.size)))
            entries.append(shown)
            if before is not None and frontier.size == before.head.size and frontier.root() != before.head.root:
                message = f"one of the first {frontier.size} entries is not what it was at the last check"
                raise LogWrong("rewritten", message, heads=(before.signed, signed))
    if frontier.root() != head.root:
        since = "" if from_start or before is None else f" since number {before.head.size}"
        raise LogWrong("rewritten", f"the entries{since} are not those that the node signed", heads=(signed,))
    return Audited(Seen(signed, tuple(frontier.hashes)), entries)


def _head(answer: Json) -> SignedLogHead:
    try:
        signed = SignedLogHead.decode(_bytes(answer.get("head")))
    except DecodeError as error:
        fault: Fault = "bad-signature" if error.code == "bad-signature" else "bad-answer"
        raise LogWrong(fault, f"the log's head: {error}") from error
    head = signed.head
    said = (answer.get("key"), answer.get("size"), answer.get("root"), answer.get("time_s"))
    if said != (str(head.key), head.size, head.root.hex(), head.time_s):
        raise LogWrong("bad-answer", "the log's head says one thing and signs another", heads=(signed,))
    return signed


def _check_growth(get: Get, before: Seen, signed: SignedLogHead) -> None:
    old, new = before.head, signed.head
    heads = (before.signed, signed)
    if new.size < old.size:
        raise LogWrong("forked", f"the log had {old.size} entries and has {new.size}", heads=heads)
    path = get(f"{PREFIX}/consistency/{old.size}/{new.size}").get("path")
    try:
        if not isinstance(path, list) or len(path) > merkle.PROOF_MAX_HASHES:
            raise ValueError("no proof")
        hashes = [bytes.fromhex(hashed) for hashed in path]
    except (TypeError, ValueError) as error:
        raise LogWrong("bad-answer", f"the proof of consistency: {error}") from error
    try:
        merkle.check_consistency(old.size, new.size, old.root, new.root, hashes)
    except merkle.BadProof as error:
        raise LogWrong("forked", str(error), heads=heads) from error


def _page(get: Get, start: int, end: int) -> list[Json]:
    shown = get(f"{PREFIX}/entries/{start}/{end}").get("entries")
    if not isinstance(shown, list) or not 0 < len(shown) <= end - start:
        raise LogWrong("bad-answer", f"no entries from number {start} on")
    return shown


def _checked(shown: Json, number: int) -> bytes:
    """The bytes of an entry that says the same in all its parts."""
    try:
        raw = _bytes(shown.get("entry"))
        entry = Entry.decode(raw)
        opened = {name: (bytes.fromhex(given["salt"]), str(given["text"])) for name, given in shown["opened"].items()}
        same = entry_json(raw, entry, opened, withheld=bool(shown["withheld"])) == shown
    except (DecodeError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise LogWrong("bad-answer", f"entry {number}: {error}") from error
    if entry.number != number:
        raise LogWrong("rewritten", f"entry {entry.number} stands where number {number} should")
    fits = all(entry.opens(name, *opened[name]) for name in ("target", "reason") if name in opened)
    if not same or not fits or not opened.keys() <= {"target", "reason"}:
        raise LogWrong("wrong-text", f"entry {number} is shown with words that it was not made of")
    return raw


def _bytes(text: object) -> bytes:
    """Of hexadecimal text. DecodeError."""
    if not isinstance(text, str):
        raise DecodeError("not a text")
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise DecodeError("not hexadecimal") from None
