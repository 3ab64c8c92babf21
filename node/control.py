"""The operator's hands on the running node: implements the admin API's NodeControl (node/admin/control.py)."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable
from importlib.metadata import version

import trio

from config import Config
from node.admin.control import BadRequest, Json, NotFound
from node.casework.desk import Desk
from node.gateway.supervisor import GatewaySupervisor
from node.health import checks, member_checks, room_check, timely_checks
from node.ipfs import Ipfs
from node.list_control import ListControl
from node.metrics import render
from node.monitor import LoopMonitor
from node.net.port import Network
from node.notices.book import Measure
from node.notices.office import NoticeOffice
from node.policy.list_weighing import CAP_SITES
from node.policy.model import CidPath, PeerTarget, Target
from node.policy.rules import read_target, target_text
from node.policy.subscriptions import Subscriptions
from node.policy_loader import PolicyLoader
from node.replication.driver import Replicator
from node.reports import fits, fork_json, members_json, order, site_report
from node.store.errors import BlockCorrupt, BlockMissing
from node.store.port import RuleRow, ScrubState, SiteRecord, Store, Usage
from node.upkeep import total_bytes
from protocol.cid import Cid
from protocol.errors import DecodeError
from protocol.release import SignedRelease
from protocol.site_id import SiteId

CONNECT_DEADLINE_S = 15.0
STATES_AT_A_TIME = 50


class Control:
    """One method per thing an operator can ask or do; what changes policy is in force when it returns."""

    def __init__(
        self,
        config: Config,
        store: Store,
        network: Network,
        replicator: Replicator,
        policies: PolicyLoader,
        lists: Subscriptions,
        gateway: GatewaySupervisor,
        monitor: LoopMonitor,
        office: NoticeOffice,
        desk: Desk,
        ipfs: Ipfs,
    ) -> None:
        self._config = config
        self._store = store
        self._network = network
        self._replicator = replicator
        self._policies = policies
        self._lists = lists
        self.lists = ListControl(store, lists, policies, replicator)
        self._gateway = gateway
        self._monitor = monitor
        self._office = office
        self._desk = desk
        self._ipfs = ipfs
        self._started_s = time.monotonic()

    async def status(self) -> Json:
        trees = await trio.to_thread.run_sync(self._store.trees)
        records = await trio.to_thread.run_sync(self._store.sites)
        usage = await trio.to_thread.run_sync(self._store.usage)
        scrub = await trio.to_thread.run_sync(self._store.scrub_state)
        health = self._network.health()
        lists = await trio.to_thread.run_sync(self._lists.show)
        return {
            "version": version("fednode"),
            "name": self._config.node.name,
            "peer_id": self._network.local_peer,
            "uptime_s": int(time.monotonic() - self._started_s),
            "data_dir": str(self._config.data_dir),
            "addresses": self._network.addresses(),
            "gateway": {
                "addresses": self._gateway.addresses(),
                "domains": list(self._config.gateway.domains),
                "workers": self._gateway.statuses(),
            },
            "hosting": {
                "mode": self._config.hosting.mode,
                "follow": sorted(str(site) for site in self._policies.hosting.follow),
            },
            "sites": {
                "hosted": sum(1 for record in records if record.held is not None),
                "fetching": len(self._replicator.fetching()),
                "ended": sum(1 for record in records if record.ended),
                "blocked": sum(1 for record in records if self._refusal(record) is not None),
                "no_room": len(self._lacking_room(records)),
            },
            "trees": len(trees),
            "store": {
                "used_bytes": usage.used_bytes,
                "reserved_bytes": usage.reserved_bytes,
                "quota_bytes": usage.quota_bytes,
                "cache_bytes": usage.cache_bytes,
                "cache_quota_bytes": usage.cache_quota_bytes,
                "blocks": usage.blocks,
                "corrupt_blocks": usage.corrupt_blocks,
                "scrub": _scrub_json(scrub, usage),
            },
            "network": {
                "state": health.state,
                "peers": len(self._network.peers()),
                "connections": health.connections,
                "restarts": health.restarts,
                "refused_connections": health.refused_connections,
                "handler_errors": health.handler_errors,
                "last_error": health.last_error,
                "twin_at": health.twin_at,
            },
            "announcing": self._replicator.announcing().as_json(),
            "members": members_json(self._replicator.context.core, trio.current_time()),
            "ipfs": self._ipfs.as_json(),
            "loop": self._monitor.report().as_json(),
            "blocklists": [status.as_json() for status in lists],
            "reports": await self._desk.backlog(),
        }

    async def sites(self, *, find: str, state: str, sort: str, offset: int, limit: int) -> Json:
        records = await self._records()
        chosen = sorted((record for record in records if not find or fits(record, find)), key=order(sort))
        if state:
            chosen = [record async for record in self._in_state(chosen, state)]
        return {
            "sites": [self._report(record) for record in chosen[offset : offset + limit]],
            "total": len(chosen),
            "held_bytes": sum(record.held_bytes for record in chosen),
        }

    async def _in_state(self, records: list[SiteRecord], state: str) -> AsyncIterator[SiteRecord]:
        """Asks policy about each; others get their turn meanwhile."""
        for number, record in enumerate(records):
            if number % STATES_AT_A_TIME == 0:
                await trio.lowlevel.checkpoint()
            if self._report(record)["state"] == state:
                yield record

    async def site(self, site: str) -> Json:
        wanted = self._read_site(site)
        record = next((record for record in await self._records() if record.site == wanted), None)
        if record is None:
            raise NotFound(f"this node knows no site {site}", hint="fednode sites lists the known ones")
        forks = self._replicator.forks
        pair = await trio.to_thread.run_sync(forks.load, wanted) if forks is not None else None
        return self._report(record) | {"fork": fork_json(pair) if pair is not None else None}

    async def _records(self) -> list[SiteRecord]:
        """What the store knows, and the sites that are being fetched for the first time."""
        records = await trio.to_thread.run_sync(self._store.sites)
        known = {record.site for record in records}
        coming = [signed for signed, _ in self._replicator.fetching() if signed.site not in known]
        return records + [SiteRecord(signed.site, signed, None, None, False, 0, int(time.time())) for signed in coming]

    async def peers(self) -> list[Json]:
        connected = {info.peer: info for info in self._network.peers()}
        remembered = await trio.to_thread.run_sync(self._store.peers)
        standing = self._replicator.context.standing
        rows: list[Json] = [
            {
                "peer": info.peer,
                "connected": True,
                "inbound": info.inbound,
                "since_s": int(info.since_s),
                "addresses": list(info.addresses),
                "faults": standing.faults(info.peer),
                "refused": self._network.refuses(info.peer),
            }
            for info in connected.values()
        ]
        rows += [
            {
                "peer": row.peer,
                "connected": False,
                "inbound": False,
                "since_s": row.seen_s,
                "addresses": list(row.addresses),
                "faults": standing.faults(row.peer),
                "refused": self._network.refuses(row.peer),
            }
            for row in remembered
            if row.peer not in connected
        ]
        return rows

    async def connect(self, address: str) -> Json:
        return {"peer": await self._network.connect(address, deadline_s=CONNECT_DEADLINE_S)}

    async def rules(self, *, list_name: str | None, offset: int, limit: int) -> Json:
        if list_name is not None:
            return await self.lists.rules(list_name, offset, limit)
        rows = await trio.to_thread.run_sync(self._store.rules)
        chosen = [row for row in rows if row.list_name == list_name]
        measures = {each.target: each for each in await trio.to_thread.run_sync(self._office.book.measures)}
        page = [_rule_json(row, measures.get(row.target)) for row in chosen[offset : offset + limit]]
        return {"rules": page, "total": len(chosen)}

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
        if until_s is not None and until_s <= time.time():
            raise BadRequest("the rule would have ended already", hint="--until takes a time to come")
        named = read_target(target)
        if named == read_target(f"/p2p/{self._network.local_peer}") and verdict != "allow":
            raise BadRequest("that is this node itself")
        if drop and not _deletable(named):
            raise BadRequest(
                f"nothing is deleted by a rule on {target_text(named)}",
                hint="--drop is for a site, by its id or its root CID; refuse this without it",
            )
        if isinstance(named, PeerTarget) and verdict == "quarantine":
            verdict = "refuse"  # nothing is kept of a peer
        wanted = Measure(
            target=target_text(named),
            verdict=verdict,
            ground="legal" if ground == "legal" else "policy",
            reason=reason,
            effective_s=0,
            note=note,
            secret=secret,
            until_s=until_s,
        )
        done = await self._office.refuse([wanted], now=now, drop=drop)
        (measure,) = done.measures
        return {
            "rule": _rule_json(measure.row(), measure),
            "freed_bytes": done.freed_bytes,
            "entries": done.entries,
            "effective_s": measure.effective_s,
            "drop_s": measure.drop_s,
        }

    async def unblock(self, target: str) -> Json:
        text = target_text(read_target(target))
        entries = await self._office.take_back(text)
        if entries is None:
            listed = await trio.to_thread.run_sync(self.lists.naming, text)
            hint = (
                f"the list {listed} names it: fednode list overrule"
                if listed
                else "fednode sites shows what is blocked"
            )
            raise NotFound(f"there is no rule of yours on {text}", hint=hint)
        return {"target": text, "entries": entries}

    async def blocklists(self) -> list[Json]:
        return await self.lists.show()

    async def blocklist_add(self, path: str) -> Json:
        return await self.lists.add(path, mode="enforce", name="", cap_sites=CAP_SITES)

    async def blocklist_remove(self, path: str) -> Json:
        await self.lists.remove(path)
        return {"path": path}

    async def follow(self, site: str) -> Json:
        parsed = self._read_site(site)
        await trio.to_thread.run_sync(self._store.follow, parsed)
        await self._policies.reload()
        self._replicator.follow(parsed)
        return {"site": str(parsed)}

    async def unfollow(self, site: str) -> Json:
        parsed = self._read_site(site)
        if parsed in self._config.hosting.follow:
            raise NotFound(
                f"{parsed} is followed by the configuration file",
                hint="remove it from [hosting] follow there",
            )
        if not await trio.to_thread.run_sync(self._store.unfollow, parsed):
            raise NotFound(f"{parsed} is not followed")
        await self._policies.reload()
        return {"site": str(parsed)}

    async def check_block(self, cid: str) -> Json:
        try:
            wanted = Cid.from_text(cid)
        except DecodeError as error:
            raise BadRequest(f"{cid[:80]!r} is no CID: {error}") from None
        try:
            await trio.to_thread.run_sync(self._store.get_block, wanted)  # marks it when it is damaged
        except BlockMissing:
            raise NotFound(f"block {wanted} is not in the store") from None
        except BlockCorrupt:
            return {"cid": str(wanted), "damaged": True}
        return {"cid": str(wanted), "damaged": False}

    async def metrics(self) -> str:
        return render(await self.status(), self._gateway.counts(), self._replicator.context.standing.totals)

    async def doctor(self) -> Json:
        usage = await trio.to_thread.run_sync(self._store.usage)
        lists = await trio.to_thread.run_sync(self._lists.show)
        found = checks(
            usage=usage,
            scrub=await trio.to_thread.run_sync(self._store.scrub_state),
            now_s=time.time(),
            health=self._network.health(),
            peers=len(self._network.peers()),
            bootstrap=len(self._config.network.bootstrap) + len(self._config.network.dns_seeds),
            lists=lists,
            workers=self._gateway.workers(),
            workers_wanted=self._gateway.workers_wanted,
            data_dir=self._config.data_dir,
        )
        announcing = self._replicator.announcing() if self._config.network.dht else None
        found += member_checks(self._replicator.context.core.keeping, await self._forked())
        found.append(room_check(self._lacking_room(await trio.to_thread.run_sync(self._store.sites))))
        found += timely_checks(self._monitor.report(), announcing, len(self._network.peers()))
        found.append(await self._desk.check())
        return {"checks": found}

    def _no_room_for(self, site: SiteId) -> SignedRelease | None:
        state = self._replicator.context.core.state_of(site)
        return state.no_room_for if state and not state.complete else None

    def _lacking_room(self, records: Iterable[SiteRecord]) -> list[SignedRelease]:
        """The newest releases of hosted and followed sites that quota or disk has no room for. What strangers offer,
        and has no room, concerns nobody."""
        sites = {record.site for record in records if record.held is not None} | self._policies.hosting.follow
        found = (self._no_room_for(site) for site in sites)
        return sorted((signed for signed in found if signed is not None), key=lambda signed: str(signed.site))

    def _report(self, record: SiteRecord) -> Json:
        fetching = {signed.site: (signed, peer) for signed, peer in self._replicator.fetching()}
        lacking = self._no_room_for(record.site)
        return site_report(
            record,
            verdict=self._refusal(record),
            fetching=fetching.get(record.site),
            urls=self._gateway.urls(record.site),
            told=self._office.standing.get(record.site),
            hosts=self._hosts(record) if record.held is not None and lacking is None else None,
            no_room_for=lacking,
        )

    def _hosts(self, record: SiteRecord) -> Json:
        """How many count as hosts, this node among them, and how old the newest proof of another one is."""
        now_s, copies = trio.current_time(), self._replicator.context.core.keeping.copies
        proofs = [copy.proved_s for copy in copies.of_site(record.site).values() if copy.proved_s is not None]
        return {
            "counted": 1 + len(copies.counted(now_s, record.site)),
            "proved_s_ago": int(now_s - max(proofs)) if proofs else None,
        }

    async def _forked(self) -> list[SiteId]:
        forks = self._replicator.forks
        return await trio.to_thread.run_sync(forks.sites) if forks is not None else []

    def _refusal(self, record: SiteRecord) -> Json | None:
        verdict = self._policies.gate.may_serve_peers(record.held or record.head)
        if verdict.allowed:
            return None
        return {
            "verdict": verdict.kind,
            "ground": verdict.ground,
            "reason": verdict.reason,
            "rule": verdict.rule,
            "list": verdict.list_name,
            "since_s": verdict.since_s,
        }

    @staticmethod
    def _read_site(text: str) -> SiteId:
        try:
            return SiteId.from_text(text)
        except DecodeError as error:
            raise NotFound(f"{text[:80]!r} is no site id: {error}", hint="a site id begins with k51") from None


def _deletable(target: Target) -> bool:
    """Whether a rule may say that what is stored is deleted; for a peer, of which nothing is stored, it may, too."""
    return isinstance(target, SiteId | PeerTarget) or (isinstance(target, CidPath) and not target.path)


def _scrub_json(state: ScrubState, usage: Usage) -> Json:
    return {
        "began_s": state.began_s,
        "read_bytes": state.read_bytes,
        "total_bytes": total_bytes(usage),
        "damaged": state.damaged,
        "finished_s": state.finished_s,
        "last_damaged": state.last_damaged,
    }


def _rule_json(row: RuleRow, measure: Measure | None) -> Json:
    return {
        "target": row.target,
        "verdict": row.verdict,
        "ground": row.ground,
        "reason": row.reason,
        "since_s": row.since_s,
        "list": row.list_name,
        "until_s": measure.until_s if measure else None,
        "note": measure.note if measure else "",
        "secret": measure.secret if measure else False,
    }
