"""The operator's hands on lists, and the question why something is refused (routes /v1/lists, /v1/policy)."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import trio

from node.admin.control import BadRequest, Json, NotFound
from node.policy.active import ListMode
from node.policy.list_status import ListStatus
from node.policy.model import Act, CidPath, NamePath, PeerTarget, Subject, Target, Verdict
from node.policy.rules import read_target, target_text
from node.policy.subscriptions import Subscriptions
from node.policy_loader import PolicyLoader
from node.replication.driver import Replicator
from node.replication.media import media_of
from node.store.port import SiteRecord, Store
from protocol import varint
from protocol.cid import DAG_PB, Cid
from protocol.deny_keys import rule_keys
from protocol.errors import FednodeError
from protocol.site_id import SiteId

MEDIA_NODES_MAX = 20_000
"""Folders and large files of a site that are looked at to explain a verdict; about a second."""

log = logging.getLogger(__name__)


class ListControl:
    """What changes lists is in force when it returns."""

    def __init__(self, store: Store, lists: Subscriptions, policies: PolicyLoader, replicator: Replicator) -> None:
        self._store = store
        self._lists = lists
        self._policies = policies
        self._replicator = replicator

    async def show(self) -> list[Json]:
        return [status.as_json() for status in self._lists.show()]

    async def add(self, source: str, *, mode: ListMode, name: str, cap_sites: int, quorum: int = 1) -> Json:
        site = read_target(source) if "://" not in source and not source.startswith("/") else None
        if site is not None and not isinstance(site, SiteId):
            raise BadRequest(f"{source[:80]} is no site, file or https address")
        where: Path | str = Path(source) if source.startswith("/") else source
        add = partial(self._lists.add, where, mode=mode, name=name, cap_sites=cap_sites, quorum=quorum)
        added = await self._changed(add)
        if site is not None:
            await self._follow(site)
        return added

    async def _follow(self, site: SiteId) -> None:
        """The site of a list is hosted like any site that is followed, so that its updates come."""
        await trio.to_thread.run_sync(self._store.follow, site)
        await self._policies.reload()
        self._replicator.follow(site)

    async def preview(self, source: str) -> Json:
        found, rule_count = await trio.to_thread.run_sync(self._lists.preview, source)
        return {"rule_count": rule_count, **found}

    async def remove(self, name: str) -> Json:
        if not await trio.to_thread.run_sync(self._lists.remove, name):
            raise NotFound(f"{name} is no list of this node", hint="fednode list show names the lists")
        await self._policies.reload()
        return {"name": name}

    async def change(self, name: str, action: str, line: str | None) -> Json:
        """action: enforce, review, observe, accept, reject, overrule or restore; line: of the list, as it stands."""
        lists = self._lists
        if action in ("overrule", "restore") and line is None:
            raise BadRequest(f"{action} needs a line")
        if line is not None:
            line = line.strip()
            await self._check_line(name, action, line)
        change = {
            "enforce": partial(lists.set_mode, name, "enforce"),
            "review": partial(lists.set_mode, name, "review"),
            "observe": partial(lists.set_mode, name, "observe"),
            "accept": partial(lists.accept, name, line),
            "reject": partial(lists.reject, name),
            "overrule": partial(lists.overrule, name, line or ""),
            "restore": partial(lists.overrule, name, line or "", undo=True),
        }[action]
        return await self._changed(change)

    async def _check_line(self, name: str, action: str, line: str) -> None:
        """NotFound for one that changes nothing, since it is not there."""
        if action == "restore":
            named = next((each for each in self._lists.show() if each.name == name), None)
            if named is not None and line not in named.overruled:
                raise NotFound(f"this line of {name} is not overruled: {line[:200]}", hint="fednode list show")
        elif action in ("accept", "overrule"):
            try:
                there = await trio.to_thread.run_sync(self._lists.has_line, name, line)
            except KeyError:
                return  # said by the change itself
            if not there:
                hint = f"a whole line, as it stands there: fednode list preview {name}"
                raise NotFound(f"{name} has no such line: {line[:200]}", hint=hint)

    async def _changed(self, change: partial[ListStatus]) -> Json:
        try:
            status = await trio.to_thread.run_sync(change)
        except KeyError:
            raise NotFound(f"{change.args[0]} is no list of this node", hint="fednode list show names them") from None
        await self._policies.reload()
        return status.as_json()

    async def rules(self, name: str, offset: int, limit: int) -> Json:
        try:
            rows, total = await trio.to_thread.run_sync(self._lists.rules, name, offset, limit)
        except KeyError:
            raise NotFound(f"{name} is no list of this node", hint="fednode list show names them") from None
        rules = [
            {"target": text, "verdict": "allow" if text.startswith("!") else "quarantine", "ground": "policy",
             "reason": reason, "since_s": None, "list": name, "until_s": None, "note": "", "secret": False}
            for text, reason in rows
        ]  # fmt: skip
        return {"rules": rules, "total": total}

    def naming(self, target: str) -> str | None:
        """A list with a rule on the target."""
        keys = rule_keys(read_target(target))
        for each in self._policies.gate.policy.lists:
            if any(each.index.lookup(key) for key in keys):
                return each.name
        return None

    async def explain(self, thing: str) -> Json:
        """The verdict for each act, and the rule that decides."""
        target = read_target(thing)
        subject = await trio.to_thread.run_sync(self._subject, target)
        policy = self._policies.gate.policy
        rows = []
        for act in Act:
            verdict = policy.decide(act, subject)
            if verdict.allowed:
                verdict = policy.why_allowed(subject)
                if act is Act.HTTP_SERVE and subject.peer is not None:
                    verdict = Verdict("allow", reason="readers are no peers")
            rows.append(
                {
                    "act": act.value,
                    "verdict": verdict.kind,
                    "ground": verdict.ground if not verdict.allowed else None,
                    "rule": verdict.rule,
                    "list": verdict.list_name,
                    "reason": verdict.reason,
                    "since_s": verdict.since_s,
                    "code": verdict.code,
                    "http": verdict.http_status,
                }
            )
        return {
            "thing": thing,
            "site": str(subject.site) if subject.site is not None else None,
            "root": str(subject.root) if subject.root is not None else None,
            "path": subject.path,
            "peer": subject.peer,
            "acts": rows,
        }

    def _subject(self, target: Target) -> Subject:
        """As the node would ask about the thing, with what it knows of it."""
        match target:
            case SiteId():
                return self._of_site(target, "")
            case CidPath(multihash, path, _):
                cid = Cid(b"\x01" + varint.encode(DAG_PB) + multihash)
                return Subject(root=cid, path=path, trail=(cid,))
            case NamePath(SiteId() as site, path, _):
                return self._of_site(site, path)
            case PeerTarget():
                return Subject(peer=target_text(target).removeprefix("/p2p/"))
            case NamePath(str() as domain, path, _):
                return Subject(domains=(domain,), path=path)
            case NamePath(bytes() as name, path, _):
                return Subject(names=(name,), path=path)
        raise BadRequest("explain takes a site, another name, a domain, a peer, a CID or a path below one")

    def _of_site(self, site: SiteId, path: str) -> Subject:
        record: SiteRecord | None = self._store.site(site)
        if record is None:
            return Subject(site=site, path=path)
        release = (record.held or record.head).release
        trail = (release.root,) if release.root is not None else ()
        return Subject(
            site,
            release.root,
            path,
            trail,
            release.domains,
            release.size_bytes,
            others_bytes=self._replicator.context.others_bytes(site),
            media=self._media(record),
        )

    def _media(self, record: SiteRecord) -> tuple[tuple[str, int], ...]:
        """As far as the hosting settings would ask for it, and the site is here."""
        hosting = self._policies.hosting
        root = record.held.release.root if record.held is not None else None
        if root is None or not hosting.media_types:
            return ()
        try:
            return tuple(media_of(root, hosting, self._store.get_block, nodes_max=MEDIA_NODES_MAX))
        except FednodeError as error:
            log.info("the files of %s cannot be looked through: %s", record.site, error)
            return ()
