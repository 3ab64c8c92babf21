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
from node.casework.book import Case, ReportBook
from node.casework.lines import read_reports
from node.casework.model import APPEAL, LEVELS, BadReport, Report, read_report
from node.casework.turnstile import NeedsProof, Turnstile
from node.decisions.log import DecisionLog, Draft
from node.decisions.reader import NoSuchEntry
from node.notices.book import Measure
from node.notices.office import NoticeOffice
from node.notices.shape import notice_json
from node.policy.rules import read_target, target_text
from protocol.decision import Act
from protocol.errors import DecodeError, OperatorError
from protocol.notice import SignedAppeal, SignedNotice
from protocol.plain import count
from protocol.site_id import SiteId

Json = dict[str, Any]
TIDY_EVERY_S = 86400.0
VERDICTS = {
    "dismiss": "dismissed",
    "refuse": "refused",
    "quarantine": "quarantined",
    "legal": "refused by law",
    "uphold": "upheld",
    "lift": "lifted",
}
APPEAL_VERDICTS = frozenset(["uphold", "lift"])
LOGGED = {  # verdict and ground in the log
    "dismiss": ("dismiss", ""),
    "refuse": ("refuse", "policy"),
    "quarantine": ("quarantine", "policy"),
    "legal": ("quarantine", "legal"),
    "uphold": ("dismiss", ""),
    "lift": ("", ""),
}
LIFTS_MAX = 10  # rules and lists that refuse one site at once, and are lifted by one decision

log = logging.getLogger(__name__)


class Desk:
    """In the daemon. A decision is in force, logged and kept when `decide` returns."""

    def __init__(self, book: ReportBook, office: NoticeOffice, decisions: DecisionLog, *, proof_bits: int = 0) -> None:
        """proof_bits: of work that a report by program has to show; 0: none."""
        self._book = book
        self._office = office
        self._decisions = decisions
        self._turnstile = Turnstile(office.node, bits=proof_bits)

    async def run(self) -> None:
        """Deletes what is to be forgotten, until cancelled."""
        while True:
            try:
                await trio.to_thread.run_sync(self._book.tidy)
            except OperatorError as error:
                log.warning("%s", error)
            await trio.sleep(TIDY_EVERY_S)

    async def answer(self, body: bytes) -> bytes:
        """A gateway worker's question: {"report": {…}, "proof", "form"}, {"token": …} or {"terms": true}, answered by
        JSON with "token", "case", "proof_of_work" or "error"."""
        try:
            asked = json.loads(body)
            if "terms" in asked:
                return json.dumps({"proof_of_work": self._terms()}).encode()
            if "token" in asked:
                case = await trio.to_thread.run_sync(self._book.by_token, str(asked["token"]))
                return json.dumps({"case": _public(case) if case else None}).encode()
            fields = {str(name): str(text) for name, text in asked["report"].items()}
            report = read_report(fields)
            self._turnstile.let_in(fields, str(asked.get("proof", "")), by_form=bool(asked.get("form")))
            (token,) = await trio.to_thread.run_sync(self._book.add, [report])
            return json.dumps({"token": token}).encode()
        except NeedsProof as error:
            return json.dumps({"error": str(error), "proof_of_work": self._terms()}).encode()
        except BadReport as error:
            return json.dumps({"error": str(error)}).encode()

    def _terms(self) -> Json | None:
        """What has to be proved, None when nothing has."""
        return {"bits": self._turnstile.bits, "node": str(self._turnstile.node)} if self._turnstile.bits else None

    async def take(self, lines: str) -> Json:
        """The operator's own import: as many as there is room for, whatever strangers send meanwhile."""
        try:
            reports = list(read_reports(lines.encode().splitlines()))
            return {"tokens": await trio.to_thread.run_sync(self._book.add, reports)}
        except BadReport as error:
            raise BadRequest(str(error)) from error

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
        message = f"{count(backlog['open'], 'open case')}, {backlog['late']} late"
        if backlog["late"]:
            message += f", the oldest by {count(backlog['oldest_late_s'] // 3600, 'hour')}"
        hint = "fednode reports list shows the most urgent first; fednode reports decide decides many at once"
        return {
            "name": "reports",
            "ok": not backlog["late"],
            "message": message,
            "hint": hint if backlog["late"] else None,
        }

    async def appeal(self, signed: SignedAppeal) -> None:
        """Takes a publisher's appeal in; durable and logged when it returns. BadReport: it is not taken, and why."""
        appeal = signed.appeal
        standing = self._office.standing.get(appeal.site)
        if appeal.node != self._office.node:
            raise BadReport("this appeal is to another node")
        if standing is None or standing.number != appeal.notice:
            raise BadReport(f"notice {appeal.notice} is not the one that holds for this site")
        if not self._turnstile.has_room():
            raise BadReport("this node gets too much at the moment; try again later")
        report = Report(f"/ipns/{appeal.site}", f"notice {appeal.notice}", APPEAL, appeal.text, appeal.contact)
        if await trio.to_thread.run_sync(self._book.add_appeal, report, signed.digest):
            draft = Draft("appeal-received", report.subject, withheld=standing.cause.secret)
            await trio.to_thread.run_sync(self._decisions.append, [draft])

    async def decide(
        self, cases: str, *, verdict: str, reason: str, note: str, secret: bool, now: bool = False
    ) -> Json:
        """cases: numbers and ranges, as "1,4-7". Cases that are decided already are left alone. Reports are dismissed,
        or make rules; appeals are upheld (the refusal stays) or lifted. now: no notice period."""
        wanted = _numbers(cases)
        kind = APPEAL if verdict in APPEAL_VERDICTS else "report"
        found = [each for each in await trio.to_thread.run_sync(self._book.open_cases, wanted) if each.kind == kind]
        if not found:
            what = "appeals" if kind == APPEAL else "reports"
            raise NotFound(f"none of these cases is open and about {what}", hint="fednode reports list shows them")
        rules = waiting = 0
        if kind == APPEAL:
            withheld = secret or any(
                (each := self._office.standing.get(_site_of(case))) is not None and each.cause.secret for case in found
            )
            entries = await trio.to_thread.run_sync(self._write_down, found, verdict, reason, note, withheld)
            await self._answer_appeals(found, verdict, reason)
        else:
            if verdict != "dismiss":
                rules = len(found)
                waiting = await self._refuse(found, verdict, reason, note, secret, now=now)
            entries = await trio.to_thread.run_sync(self._write_down, found, verdict, reason, note, secret)
        pairs = [(case.id, entry) for case, entry in zip(found, entries, strict=True)]
        await trio.to_thread.run_sync(self._book.decide, pairs, VERDICTS[verdict], reason)
        return {"decided": len(found), "rules": rules, "waiting": waiting, "entries": [entries[0], entries[-1]]}

    async def _refuse(
        self, cases: Sequence[Case], verdict: str, reason: str, note: str, secret: bool, *, now: bool
    ) -> int:
        """By category, because the harm of some goes on while a publisher has notice. How many of the rules wait."""
        waiting = 0
        for at_once in (True, False):
            measures = [
                _measure(case, verdict, reason, note, secret)
                for case in cases
                if (now or LEVELS[case.category].at_once) is at_once
            ]
            if measures:
                done = await self._office.refuse(measures, now=at_once)
                waiting += sum(not each.in_force for each in done.measures)
        return waiting

    async def _answer_appeals(self, cases: Sequence[Case], verdict: str, reason: str) -> None:
        sites = [_site_of(case) for case in cases]
        if verdict == "uphold":
            await self._office.uphold(sites, reason)
            return
        for site in sites:
            await self._lift(site, reason)

    async def _lift(self, site: SiteId, reason: str) -> None:
        """Ends what the open notice names: the operator's rule, or the effect of a list's line on this node."""
        for _ in range(LIFTS_MAX):
            standing = self._office.standing.get(site)
            if standing is None:
                return
            cause = standing.cause
            if cause.list_name is None:
                await self._office.take_back(cause.rule, reason)
            else:
                await self._office.lift_listed(site, cause, reason)

    async def notices(self, site: str) -> Json:
        """The notices of a site, the newest first, or with "" the open ones of all."""
        if site:
            try:
                wanted = SiteId.from_text(site)
            except DecodeError as error:
                raise BadRequest(f"{site[:80]!r} is no site id: {error}") from None
            found = await trio.to_thread.run_sync(self._office.book.of_site, wanted)
        else:
            found = await trio.to_thread.run_sync(self._office.book.open)
        return {"node": str(self._office.node), "notices": [notice_json(SignedNotice.decode(raw)) for raw in found]}

    async def withhold(self, number: int) -> Json:
        """Stops publishing what an entry of the log is about, and why."""
        try:
            await trio.to_thread.run_sync(self._decisions.withhold, number)
        except NoSuchEntry as error:
            raise NotFound(str(error), hint="fednode log lists the entries") from None
        return {"number": number}

    def _write_down(self, cases: Sequence[Case], verdict: str, reason: str, note: str, secret: bool) -> list[int]:
        act: Act = "appeal-decided" if verdict in APPEAL_VERDICTS else "report-decided"
        kind, ground = LOGGED[verdict]
        return self._decisions.append(
            [Draft(act, case.subject, reason, kind, ground, note=note, withheld=secret) for case in cases]
        )


def _measure(case: Case, verdict: str, reason: str, note: str, secret: bool) -> Measure:
    return Measure(
        target=target_text(read_target(case.subject)),
        verdict="refuse" if verdict == "refuse" else "quarantine",
        ground="legal" if verdict == "legal" else "policy",
        reason=reason,
        effective_s=0,
        note=note,
        secret=secret,
    )


def _site_of(case: Case) -> SiteId:
    """Of an appeal."""
    return SiteId.from_text(case.subject.removeprefix("/ipns/"))


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
