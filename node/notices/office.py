"""Puts the operator's refusals in force, now or after a notice period, and tells the publishers (docs/spec/notice.md).

`settle` compares what is and will be refused with what publishers were told, and gives the notices that are missing.
Whatever changed a rule, and whenever the process died in between, nobody is left without one.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.decisions.log import DecisionLog, Draft, Remark
from node.notices.book import Cause, Measure, NoticeBook, Standing
from node.notices.causes import Causes, Hosted, lines_hitting, own_rules, sites_under
from node.policy.decide import Policy
from node.policy.rules import rule_of
from node.policy_loader import PolicyLoader
from node.store.port import Store
from protocol.errors import OperatorError
from protocol.limits import CREATED_MAX_S, NOTICE_CONTACT_MAX_CHARS, NOTICE_RULE_MAX_CHARS, REASON_MAX_CHARS
from protocol.notice import Notice, NoticeKind, SignedNotice, sign_notice
from protocol.plain import clip_plain, count
from protocol.site_id import SiteId

LOOK_S = 30.0  # at the most between two looks at the clock, which somebody may set
RETRY_S = 5.0  # after the disk refused to write
OFFER_EVERY_S = 600.0  # how often peers are offered a site that is going to be refused here

log = logging.getLogger(__name__)


class Hosts(Protocol):
    """What the office needs of the replicator."""

    async def drop(self, sites: list[SiteId]) -> int: ...
    def offer(self, site: SiteId) -> None: ...


class EndsTooSoon(OperatorError):
    """A rule that ends by itself, before the notice period is over."""

    code: ClassVar[str] = "ends-too-soon"


@dataclass(frozen=True, slots=True)
class Terms:
    """Settings: the notice period, and how long data is kept afterwards at least, in seconds; how to reach the
    operator."""

    notice_s: int = 0
    export_s: int = 0
    contact: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """measures: as they stand; entries: of the decision log; freed_bytes: what was deleted at once."""

    measures: list[Measure]
    entries: list[int]
    freed_bytes: int = 0


class NoticeOffice:
    """In the daemon. What a method acknowledges is durable, and in force as far as it is due."""

    def __init__(
        self,
        book: NoticeBook,
        store: Store,
        policies: PolicyLoader,
        decisions: DecisionLog,
        hosts: Hosts,
        key: Ed25519PrivateKey,
        terms: Terms,
        *,
        overrule: Callable[[str, str], object] = lambda _list, _line: None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        """overrule: takes a line of a list out of force, here."""
        self.book = book
        self.node = SiteId.of(key)
        self._store = store
        self._policies = policies
        self._decisions = decisions
        self._hosts = hosts
        self._key = key
        self._terms = terms
        self._overrule = overrule
        self._now_s = now_s
        self._lock = trio.Lock()
        self._changed = trio.Event()
        self._freed_bytes = 0
        self.standing: Mapping[SiteId, Standing] = {}
        """The open notices, as of the last settling."""

    def policy_changed(self) -> None:
        """To be called after the gate got another policy; notices follow soon."""
        self._changed.set()

    async def run(self) -> None:
        """Keeps deadlines and gives notices, until cancelled."""
        next_offer_s = 0.0
        while True:
            self._changed = trio.Event()
            wait_s = LOOK_S
            try:
                wait_s = await self.settle()
            except OperatorError as error:
                log.error("%s; it is tried again", error)
                wait_s = RETRY_S
            if trio.current_time() >= next_offer_s:
                self._offer()
                next_offer_s = trio.current_time() + OFFER_EVERY_S
            with trio.move_on_after(min(wait_s, LOOK_S)):
                await self._changed.wait()

    # --- what the operator asks for ------------------------------------------------------------------------

    async def refuse(self, wanted: Sequence[Measure], *, now: bool, drop: bool = False) -> Done:
        """Takes measures, whose effective_s and drop_s are set here. `now`: without a notice period, and with `drop`
        deleted at once. A rule that ends no hosted site, and one on the ground of law, hold at once. EndsTooSoon."""
        async with self._lock:
            measures = await trio.to_thread.run_sync(self._dated, wanted, now, drop, self._policies.gate.policy)
            if any(each.until_s is not None and each.until_s <= each.effective_s for each in measures):
                raise EndsTooSoon("the rule would end before it takes effect", hint="block it for longer, or --now")
            await trio.to_thread.run_sync(self.book.put, measures)
            now_s = self._now_s()
            entries = await self._put_in_force()
            measures = [replace(each, in_force=each.effective_s <= now_s) for each in measures]
            self._freed_bytes = 0
            await self._settle()
        self._changed.set()  # there may be an earlier deadline now
        return Done(measures, entries, self._freed_bytes)

    def _dated(self, wanted: Sequence[Measure], now: bool, drop: bool, policy: Policy) -> list[Measure]:
        hosted = Hosted(policy, self._store.sites())
        coming_s = {each.target: each.effective_s for each in self.book.measures() if not each.in_force}
        now_s = int(self._now_s())
        measures = []
        for each in wanted:
            effective_s = now_s
            patient = not now and each.ground != "legal" and self._terms.notice_s > 0
            if patient and hosted.hit(rule_of(each.row())):
                effective_s = min(now_s + self._terms.notice_s, coming_s.get(each.target, CREATED_MAX_S))
            drop_s = None if not drop else now_s if now else effective_s + self._terms.export_s
            measures.append(replace(each, effective_s=effective_s, drop_s=drop_s))
        return measures

    async def take_back(self, target: str, reason: str = "") -> list[int] | None:
        """Ends a measure or rule of the operator; the entries of the log. None: there was none. reason: for the
        publishers of what is served again."""
        async with self._lock:
            if reason:
                sites = [site for site, each in self.standing.items() if each.cause.rule == target]
                await trio.to_thread.run_sync(self.book.answer, dict.fromkeys(sites, reason))
            was_measure = await trio.to_thread.run_sync(self.book.take_back, target)
            was_rule = await trio.to_thread.run_sync(self._store.remove_rule, target)
            if not was_measure and not was_rule:
                return None
            entries = await self._policies.reload()
            await self._settle()
        return entries

    async def lift_listed(self, site: SiteId, cause: Cause, reason: str) -> None:
        """Overrules the lines of a list that refuse a site here; reason: for its publisher."""
        record = await trio.to_thread.run_sync(self._store.site, site)
        if record is None or cause.list_name is None:
            return
        async with self._lock:
            await trio.to_thread.run_sync(self.book.answer, {site: reason})
            for line in lines_hitting(self._policies.gate.policy, record.held or record.head, cause.list_name):
                await trio.to_thread.run_sync(self._overrule, cause.list_name, line)
            await self._policies.reload()
            await self._settle()

    async def uphold(self, sites: Sequence[SiteId], reason: str) -> None:
        """Answers appeals: the refusals stay."""
        async with self._lock:
            standing = await trio.to_thread.run_sync(self.book.standing)
            given: list[tuple[SiteId, Standing | None, Cause | None, str]] = [
                (site, standing[site], standing[site].cause, reason) for site in sites if site in standing
            ]
            await trio.to_thread.run_sync(self._give, given, "upheld")
            self.standing = await trio.to_thread.run_sync(self.book.standing)

    async def settle(self) -> float:
        """Does what is due, and gives the notices that are missing; in how many seconds something is due next."""
        async with self._lock:
            await self._end_due()
            await self._put_in_force()
            await self._settle()
            measures = await trio.to_thread.run_sync(self.book.measures)
        due_s = [each.effective_s for each in measures if not each.in_force]
        due_s += [each.until_s for each in measures if each.until_s is not None]
        due_s += [each.drop_s for each in measures if each.drop_s is not None and not each.dropped]
        return max(0.0, min(due_s, default=math.inf) - self._now_s())

    # --- the work ------------------------------------------------------------------------------------------

    async def _put_in_force(self) -> list[int]:
        """Makes rules of the measures whose time has come; in force and logged when it returns."""
        now_s = self._now_s()
        measures = await trio.to_thread.run_sync(self.book.measures)
        due = [each for each in measures if not each.in_force and each.effective_s <= now_s]
        if not due:
            return []
        remarks = {each.target: Remark(each.note, each.secret) for each in due}
        await trio.to_thread.run_sync(self._decisions.remark, remarks)
        await trio.to_thread.run_sync(self._store.add_rules, [each.row() for each in due])
        entries = await self._policies.reload()
        await trio.to_thread.run_sync(self.book.put, [replace(each, in_force=True) for each in due])
        return entries

    async def _end_due(self) -> None:
        """Rules whose time is over go, and so does what was to come. The measure goes last: who dies in between, finds
        it again."""
        now_s = self._now_s()
        measures = await trio.to_thread.run_sync(self.book.measures)
        due = [each.target for each in measures if each.until_s is not None and each.until_s <= now_s]
        if not due:
            return
        for target in due:
            await trio.to_thread.run_sync(self._store.remove_rule, target)
        await self._policies.reload()
        for target in due:
            await trio.to_thread.run_sync(self.book.take_back, target)
        log.info("%s ended, as set", count(len(due), "rule"))

    async def _settle(self) -> None:
        policy = self._policies.gate.policy
        self.standing = await trio.to_thread.run_sync(self._give_missing, policy)
        await self._drop_due()

    def _give_missing(self, policy: Policy) -> Mapping[SiteId, Standing]:
        measures = self.book.measures()
        causes = Causes(policy, measures)
        standing = self.book.standing()
        own = own_rules(self._store.rules())
        missing: list[tuple[SiteId, Standing | None, Cause | None, str]] = []
        seen = set()
        for record in self._store.sites():
            told = standing.get(record.site)
            if record.ended or (record.held is None and told is None):
                continue
            seen.add(record.site)
            cause = causes.of(record.held or record.head)
            if cause != (told.cause if told else None):
                missing.append((record.site, told, cause, ""))
        # Of a site that is not known any more, only the rule can tell whether it would still be refused.
        missing += [
            (site, told, None, "") for site, told in standing.items() if site not in seen and told.cause.rule not in own
        ]
        if not missing:
            return standing
        self._give(missing)
        return self.book.standing()

    def _give(
        self, missing: Sequence[tuple[SiteId, Standing | None, Cause | None, str]], kind: NoticeKind = "refusal"
    ) -> None:
        """Logs, signs and keeps notices. Were the process to die in between, the log would have an entry twice."""
        answers = self.book.answers()
        drafts = [
            self._draft(site, told, cause, reason or answers.get(site, "")) for site, told, cause, reason in missing
        ]
        entries = self._decisions.append(drafts)
        number = self.book.next_number()
        given = []
        for offset, ((site, told, cause, _), draft, entry) in enumerate(zip(missing, drafts, entries, strict=True)):
            signed = self._sign(number + offset, site, told, cause, kind, draft, entry)
            given.append((signed, cause))
        self.book.add(given)
        log.info("%s given", count(len(given), "notice"))

    def _draft(self, site: SiteId, told: Standing | None, cause: Cause | None, reason: str) -> Draft:
        if cause is None:
            secret = told is not None and told.cause.secret
            return Draft("notice-lifted", f"/ipns/{site}", reason, withheld=secret)
        return Draft(
            "notice-given",
            f"/ipns/{site}",
            reason or cause.reason,
            cause.verdict,
            cause.ground,
            cause.list_name,
            refers=self._decisions.reader.number_for(cause.rule, cause.list_name),
            withheld=cause.secret,
        )

    def _sign(
        self,
        number: int,
        site: SiteId,
        told: Standing | None,
        cause: Cause | None,
        kind: NoticeKind,
        draft: Draft,
        entry: int,
    ) -> SignedNotice:
        now_s = int(self._now_s())
        secret = draft.withheld
        notice = Notice(
            node=self.node,
            site=site,
            number=number,
            kind=kind if cause is not None else "lifted",
            verdict=cause.verdict if cause else "",
            ground=cause.ground if cause else "",
            reason="" if secret else clip_plain(draft.reason, REASON_MAX_CHARS),
            rule="" if secret or cause is None else clip_plain(cause.rule, NOTICE_RULE_MAX_CHARS),
            list_name=clip_plain(cause.list_name, NOTICE_RULE_MAX_CHARS) if cause and cause.list_name else None,
            entry=None if secret else entry,
            issued_s=now_s,
            effective_s=cause.effective_s if cause else now_s,
            keep_until_s=self._keep_until_s(cause, now_s) if cause else None,
            contact=clip_plain(self._terms.contact, NOTICE_CONTACT_MAX_CHARS),
            refers=told.number if told else None,
        )
        return sign_notice(notice, self._key)

    def _keep_until_s(self, cause: Cause, now_s: int) -> int | None:
        if cause.drop_s is None:
            return max(cause.effective_s, now_s) + self._terms.export_s
        return cause.drop_s if cause.drop_s > now_s else None

    async def _drop_due(self) -> None:
        """Deletes what was to be kept until now. What is asked for twice frees nothing the second time."""
        now_s = self._now_s()
        measures = await trio.to_thread.run_sync(self.book.measures)
        due = [each for each in measures if each.in_force and not each.dropped and (each.drop_s or now_s + 1) <= now_s]
        if not due:
            return
        own = own_rules(await trio.to_thread.run_sync(self._store.rules))
        due = [each for each in due if each.target in own]
        records = await trio.to_thread.run_sync(self._store.sites)
        drafts = []
        for each in due:
            sites = sites_under(each.target, records)
            self._freed_bytes += await self._hosts.drop(sites)
            drafts += [
                Draft("site-dropped", f"/ipns/{site}", each.reason, ground=each.ground, withheld=each.secret)
                for site in sites
            ]
        if drafts:
            await trio.to_thread.run_sync(self._decisions.append, drafts)
        await trio.to_thread.run_sync(self.book.put, [replace(each, dropped=True) for each in due])

    def _offer(self) -> None:
        """Looks for other hosts for the sites that will be refused."""
        now_s = self._now_s()
        for site, each in self.standing.items():
            if each.cause.effective_s > now_s:
                self._hosts.offer(site)
