"""The operator's desk: takes reports in, shows them, and turns decisions into rules and entries of the log."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import trio

from node.admin.control import BadRequest, NotFound
from node.casework.book import OPEN, PAGE_MAX, Case, ReportBook
from node.casework.model import BadReport, read_report
from node.decisions.log import DecisionLog, Draft, Remark
from node.decisions.reader import NoSuchEntry
from node.policy.model import Rule
from node.policy.rules import read_target, row_of
from node.policy_loader import PolicyLoader
from node.store.port import RuleRow, Store
from protocol.errors import OperatorError

Json = dict[str, Any]
TIDY_EVERY_S = 86400.0
VERDICTS = {"dismiss": "dismissed", "refuse": "refused", "quarantine": "quarantined", "legal": "refused by law"}
REPORTS_PER_MINUTE_MAX = 600  # of all readers together; the queue and its reader are people

log = logging.getLogger(__name__)


class Desk:
    """In the daemon. A decision is in force, logged and kept when `decide` returns."""

    def __init__(self, book: ReportBook, store: Store, policies: PolicyLoader, decisions: DecisionLog) -> None:
        self._book = book
        self._store = store
        self._policies = policies
        self._decisions = decisions
        self._minute = 0
        self._in_minute = 0

    async def run(self) -> None:
        """Deletes what is to be forgotten, until cancelled."""
        while True:
            try:
                await trio.to_thread.run_sync(self._book.tidy)
            except OperatorError as error:
                log.warning("%s", error)
            await trio.sleep(TIDY_EVERY_S)

    async def answer(self, body: bytes) -> bytes:
        """A gateway worker's question: {"report": {…}} or {"token": …}, answered by JSON with "token", "case" or
        "error"."""
        try:
            asked = json.loads(body)
            if "token" in asked:
                case = await trio.to_thread.run_sync(self._book.by_token, str(asked["token"]))
                return json.dumps({"case": _public(case) if case else None}).encode()
            report = read_report({str(name): str(text) for name, text in asked["report"].items()})
            if not self._has_room():
                raise BadReport("this node gets too many reports at the moment; try again later")
            (token,) = await trio.to_thread.run_sync(self._book.add, [report])
            return json.dumps({"token": token}).encode()
        except BadReport as error:
            return json.dumps({"error": str(error)}).encode()

    def _has_room(self) -> bool:
        minute = int(time.monotonic() // 60)
        if minute != self._minute:
            self._minute, self._in_minute = minute, 0
        self._in_minute += 1
        return self._in_minute <= REPORTS_PER_MINUTE_MAX

    async def reports(self, *, state: str, category: str, offset: int, limit: int) -> Json:
        def read() -> list[Case]:
            return self._book.cases(state=state, category=category, offset=offset, limit=limit)

        found = await trio.to_thread.run_sync(read)
        return {"cases": [asdict(case) for case in found], "backlog": await self.backlog()}

    async def report(self, case_id: int) -> Json:
        found = await trio.to_thread.run_sync(self._book.case, case_id)
        if found is None:
            raise NotFound(f"there is no case {case_id}", hint="fednode reports list shows them")
        case, reports = found
        return {**asdict(case), "reports": reports}

    async def backlog(self) -> Json:
        found = await trio.to_thread.run_sync(self._book.backlog)
        late_s = max(0, int(time.time()) - found.oldest_due_s) if found.oldest_due_s is not None else 0
        return {"open": found.open, "late": found.late, "oldest_late_s": late_s}

    async def check(self) -> Json:
        """For `fednode doctor`."""
        backlog = await self.backlog()
        message = f"{backlog['open']} open cases, {backlog['late']} late"
        if backlog["late"]:
            message += f", the oldest by {backlog['oldest_late_s'] // 3600} hours"
        hint = "fednode reports list shows the most urgent first; fednode reports decide decides many at once"
        return {
            "name": "reports",
            "ok": not backlog["late"],
            "message": message,
            "hint": hint if backlog["late"] else None,
        }

    async def decide(self, cases: str, *, verdict: str, reason: str, note: str, secret: bool) -> Json:
        """cases: numbers and ranges, as "1,4-7". Cases that are decided already are left alone."""
        wanted = _numbers(cases)
        found = await trio.to_thread.run_sync(self._open_cases, wanted)
        if not found:
            raise NotFound("none of these cases is open", hint="fednode reports list shows the open ones")
        rules = [] if verdict == "dismiss" else [_rule(case, verdict, reason) for case in found]
        if rules and (note or secret):
            remarks = {rule.target: Remark(note, secret) for rule in rules}
            await trio.to_thread.run_sync(self._decisions.remark, remarks)
        if rules:
            await trio.to_thread.run_sync(self._add_rules, rules)
            await self._policies.reload()
        entries = await trio.to_thread.run_sync(self._write_down, found, verdict, reason, note, secret)
        pairs = [(case.id, entry) for case, entry in zip(found, entries, strict=True)]
        await trio.to_thread.run_sync(self._book.decide, pairs, VERDICTS[verdict], reason)
        return {"decided": len(found), "rules": len(rules), "entries": [entries[0], entries[-1]]}

    async def withhold(self, number: int) -> Json:
        """Stops publishing what an entry of the log is about, and why."""
        try:
            await trio.to_thread.run_sync(self._decisions.withhold, number)
        except NoSuchEntry as error:
            raise NotFound(str(error), hint="fednode log lists the entries") from None
        return {"number": number}

    def _open_cases(self, wanted: Sequence[range]) -> list[Case]:
        found: list[Case] = []
        while page := self._book.cases(state=OPEN, offset=len(found), limit=PAGE_MAX):
            found += page
        return [case for case in found if any(case.id in numbers for numbers in wanted)]

    def _add_rules(self, rules: Sequence[RuleRow]) -> None:
        for rule in rules:
            self._store.add_rule(rule)

    def _write_down(self, cases: Sequence[Case], verdict: str, reason: str, note: str, secret: bool) -> list[int]:
        kind = {"dismiss": "dismiss", "refuse": "refuse"}.get(verdict, "quarantine")
        ground = {"dismiss": "", "legal": "legal"}.get(verdict, "policy")
        return self._decisions.append(
            [Draft("report-decided", case.subject, reason, kind, ground, note=note, withheld=secret) for case in cases]
        )


def _rule(case: Case, verdict: str, reason: str) -> RuleRow:
    return row_of(
        Rule(
            target=read_target(case.subject),
            verdict="refuse" if verdict == "refuse" else "quarantine",
            ground="legal" if verdict == "legal" else "policy",
            reason=reason,
            since_s=int(time.time()),
        )
    )


def _public(case: Case) -> Json:
    """What a reporter is told."""
    told = ("subject", "category", "state", "reason", "first_s", "due_s", "decided_s", "entry")
    return {name: value for name, value in asdict(case).items() if name in told}


def _numbers(text: str) -> list[range]:
    found = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not (first.isdecimal() and first.isascii() and (not dash or (last.isdecimal() and last.isascii()))):
            raise BadRequest(f"{part.strip()[:40]!r} is no number of a case, and no range as 4-7")
        if max(len(first), len(last)) > 15:
            raise BadRequest("a number of a case is too long")
        found.append(range(int(first), int(last or first) + 1))
    return found
