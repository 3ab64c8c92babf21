"""A small real node behind the admin API: an in-memory store, its rules, lists and follows, and no network."""

from __future__ import annotations

from pathlib import Path

import trio

from node.admin.control import Json, NotFound
from node.policy.decide import Policy
from node.policy.model import Act, Rule, Subject
from node.policy.rules import read_target, row_of, rules_of, target_text
from node.policy.subscriptions import Subscriptions
from node.store.port import RuleRow, Store
from protocol.errors import PeerError
from protocol.site_id import SiteId


class Unreachable(PeerError):
    code = "unreachable"


class SmallLists:
    """Answers what it was asked."""

    async def show(self) -> list[Json]:
        return []

    async def add(self, source: str, *, mode: str, name: str, cap_sites: int, quorum: int = 1) -> Json:
        return {"source": source, "mode": mode, "name": name, "cap_sites": cap_sites, "quorum": quorum}

    async def remove(self, name: str) -> Json:
        return {"name": name}

    async def preview(self, source: str) -> Json:
        return {"source": source}

    async def change(self, name: str, action: str, line: str | None) -> Json:
        return {"name": name, "action": action, "line": line}

    async def explain(self, thing: str) -> Json:
        return {"thing": thing}


class SmallNode:
    """NodeControl as far as there is something to control. `hold_status` holds up status, `big` makes it big."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store = store
        self.blocked_by = Subscriptions(store, folder / "lists", now_s=lambda: 1000)
        self.lists = SmallLists()
        self.hold_status: trio.Event | None = None
        self.status_asked = trio.Event()
        self.status_done = trio.Event()
        self.big = 0

    async def status(self) -> Json:
        self.status_asked.set()
        if self.hold_status is not None:
            await self.hold_status.wait()
        self.status_done.set()
        return {"blocklists": [status.as_json() for status in self.blocked_by.show()], "padding": "x" * self.big}

    async def metrics(self) -> str:
        return "some_metric 1\n"

    async def sites(self, *, find: str, state: str, sort: str, offset: int, limit: int) -> Json:
        found = [str(site) for site in sorted(self.store.follows()) if find in str(site)]
        rows = [{"site": site, "blocked": self._blocked(SiteId.from_text(site))} for site in found]
        return {"sites": rows[offset : offset + limit], "total": len(rows), "held_bytes": 0}

    async def site(self, site: str) -> Json:
        site_id = SiteId.from_text(site)
        if site_id not in self.store.follows():
            raise NotFound(f"no site {site_id}", hint="fednode sites lists the known ones")
        return {"site": str(site_id), "blocked": self._blocked(site_id)}

    async def peers(self) -> list[Json]:
        return []

    async def connect(self, address: str) -> Json:
        raise Unreachable(f"nobody answers at {address}")

    async def rules(self, *, list_name: str | None, offset: int, limit: int) -> Json:
        if list_name is not None:
            found, total = self.blocked_by.rules(list_name, offset, limit)
            return {"rules": [{"target": text, "reason": reason} for text, reason in found], "total": total}
        rows = self.store.rules()
        return {"rules": [_json(row) for row in rows[offset : offset + limit]], "total": len(rows)}

    async def block(
        self,
        target: str,
        *,
        verdict: str,
        ground: str,
        reason: str,
        drop: bool,
        note: str = "",
        secret: bool = False,
        now: bool = False,
        until_s: int | None = None,
    ) -> Json:
        found = read_target(target)
        rule = Rule(found, "refuse" if verdict == "refuse" else "quarantine", "policy", reason, 1000)
        row = RuleRow(target_text(found), rule.verdict, ground, reason, 1000)
        assert row.target == row_of(rule).target
        await trio.to_thread.run_sync(self.store.add_rules, [row])
        return {"rule": _json(row), "dropped": drop}

    async def unblock(self, target: str) -> Json:
        text = target_text(read_target(target))
        if not await trio.to_thread.run_sync(self.store.remove_rule, text):
            raise NotFound(f"no rule on {text}", hint="fednode status lists the rules")
        return {"target": text}

    async def blocklists(self) -> list[Json]:
        return [status.as_json() for status in self.blocked_by.show()]

    async def blocklist_add(self, path: str) -> Json:
        return (await trio.to_thread.run_sync(self.blocked_by.add, Path(path))).as_json()

    async def blocklist_remove(self, path: str) -> Json:
        if not await trio.to_thread.run_sync(self.blocked_by.remove, Path(path)):
            raise NotFound(f"no list {path}")
        return {"path": path}

    async def follow(self, site: str) -> Json:
        return {"site": site, "new": self.store.follow(SiteId.from_text(site))}

    async def unfollow(self, site: str) -> Json:
        if not self.store.unfollow(SiteId.from_text(site)):
            raise NotFound(f"{site} is not followed")
        return {"site": site}

    async def check_block(self, cid: str) -> Json:
        raise NotFound(f"no block {cid}")

    async def doctor(self) -> Json:
        raise ZeroDivisionError("a bug, and its secret details")

    def _blocked(self, site: SiteId) -> bool:
        return not Policy(rules_of(self.store.rules())).decide(Act.HTTP_SERVE, Subject(site=site)).allowed


def _json(row: RuleRow) -> Json:
    return {"target": row.target, "verdict": row.verdict, "ground": row.ground, "reason": row.reason}
