"""The trio driver of the federation core: feeds it what happens and carries out its effects."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Protocol

import trio

from node.core import effects as fx
from node.core import inputs as ins
from node.core.announcing import AnnouncingReport
from node.core.copies import GRACE_S
from node.core.machine import TICK_S, FederationCore
from node.core.peers import key_of, peer_of
from node.net.channel import FrameChannel
from node.net.port import Network, PeerConnected, PeerDisconnected, PeerId, PeerUnreachable, ProtocolUnsupported
from node.replication.announced import AnnouncedThrough
from node.replication.context import IDLE_S, OPEN_DEADLINE_S, Context
from node.replication.fetching import Fetched, fetch_release
from node.replication.forks import Forks
from node.replication.gate import Gate
from node.replication.heads import compare_heads
from node.replication.lookup import announce_to_ipfs, dht_key, find_heads
from node.replication.slots import FetchSlots
from node.replication.standing import BAN_S
from node.store.port import Origin, Store
from protocol import messages as msg
from protocol.errors import FednodeError, OperatorError, PeerError
from protocol.messages import SYNC_PROTOCOL
from protocol.release import SignedRelease
from protocol.site_id import SiteId

# Each fetch holds two batches of blocks in memory, and a block for each source; four keep a 2-core machine busy.
FETCHES_MAX = 4
# Slow ones beside them: their batches are small, since what came is written every two seconds.
FETCHES_ASIDE_MAX = 16
EXCHANGES_MAX = 32
# What is left is found by the next comparison. Without an end, a few that are slow on purpose would take all places.
EXCHANGE_MAX_S = 300.0
SENDS_MAX = 32
DHT_CALLS_MAX = 4
SWEEP_S = 3600.0
ANNOUNCED_SAVE_S = 60.0
CHECK_DEADLINE_S = 30.0
# Long enough for the largest site over a poor line, with restarts between.
HOLD_MAX_AGE_S = 24 * 3600.0

log = logging.getLogger(__name__)


class Care(Protocol):
    """Carries out what concerns other hosts; answers each effect by its input (node/membership/care.py)."""

    async def meet(self, peer: PeerId) -> None:
        """Called before heads are compared. Raises PeerError."""

    async def carry_out(self, effect: fx.AskToHost | fx.Audit | fx.LetGo) -> None: ...


class Replicator:
    """Runs one node's part of the federation. Create it, then `run` it in a nursery."""

    def __init__(
        self,
        store: Store,
        network: Network,
        gate: Gate,
        *,
        announced: Path | None = None,
        forks: Forks | None = None,
        grace_s: float = GRACE_S,
    ) -> None:
        """`announced`: a file of its own, in which it notes how far the announcements have come.

        forks: keeps the proofs of keys that signed two releases of one number.
        grace_s: how long a host of a site may be away before another is asked to take its place.
        """
        rng = random.Random()  # noqa: S311 - spreads timers
        core = FederationCore(
            lambda signed: gate.may_host(signed).allowed, rng, network.local_peer, kept=self._is_kept, grace_s=grace_s
        )
        self._announced = AnnouncedThrough(announced)
        self.forks = forks
        self.context = Context(store=store, network=network, gate=gate, core=core, tell=self.tell, start=self._start)
        self.context.standing.on_shunned = lambda peer: network.ban(peer, for_s=BAN_S)
        self.care: Care | None = None
        """Set before `run` by whoever takes part in the membership; without it, all peers are offered everything."""
        network.withholds = self._withholds
        network.refuses = self._refuses
        gate.others_bytes = self.context.others_bytes
        self._withheld: frozenset[bytes] = frozenset()
        self._nursery: trio.Nursery | None = None
        self._fetches: dict[SiteId, tuple[SignedRelease, PeerId, trio.CancelScope]] = {}
        self._syncing: dict[PeerId, bool] = {}
        """With whom heads are compared now, and whether once more afterwards."""
        self._looking: set[SiteId] = set()
        self._fetch_slots = FetchSlots(FETCHES_MAX, FETCHES_ASIDE_MAX)
        self._exchange_limit = trio.CapacityLimiter(EXCHANGES_MAX)
        self._send_limit = trio.CapacityLimiter(SENDS_MAX)
        self._dht_limit = trio.CapacityLimiter(DHT_CALLS_MAX)
        self._head_writes, self._head_reads = trio.open_memory_channel[fx.RecordHead | fx.EndSite](4096)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled. What is known from the store is taken up before it reports as started."""
        records = await self.context.in_store(lambda: list(self.context.store.sites()))
        self.context.published.update(record.site for record in records if record.origin is Origin.PUBLISHED)
        self.context.core.restore(
            trio.current_time(),
            ((record.head, record.held) for record in records),
            wall_s=time.time(),
            announced_through_s=await trio.to_thread.run_sync(self._announced.load),
        )
        events = self.context.network.events()
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._write_heads)
            nursery.start_soon(self._tick)
            nursery.start_soon(self._sweep_holds)
            nursery.start_soon(self._note_announced)
            nursery.start_soon(self._follow_network, events)
            for info in self.context.network.peers():
                self.tell(ins.PeerUp(info.peer))
            task_status.started()

    def tell(self, event: ins.Input) -> None:
        """One step of the core; its effects are started, not awaited."""
        for effect in self.context.core.handle(trio.current_time(), event):
            self._carry_out(effect)

    def fetching(self) -> list[tuple[SignedRelease, PeerId | None]]:
        """What is being fetched now, and from whom."""
        return [(signed, source) for signed, source, _ in self._fetches.values()]

    def announcing(self) -> AnnouncingReport:
        """Whether the announcements keep up."""
        return self.context.core.announcing.report(trio.current_time())

    def _is_kept(self, site: SiteId) -> bool:
        """The operator wants it here, however many others host it."""
        return site in self.context.gate.policy.hosting.follow or site in self.context.published

    def policy_changed(self) -> None:
        """To be called after the gate got another policy: takes effect on fetches that run and on the DHT."""
        self._withheld = self._refused_names()
        self.context.network.leave_refused()
        self.context.policy_changed.set()
        self.context.policy_changed = trio.Event()
        self.tell(ins.PolicyChanged())

    def _withholds(self, multihash: bytes) -> bool:
        return multihash in self._withheld or not self.context.gate.may_point_to(multihash).allowed

    def _refuses(self, peer: PeerId) -> bool:
        return not self.context.gate.may_deal_with(peer).allowed

    def _refused_names(self) -> frozenset[bytes]:
        """Names and roots under which sites were announced that now may not be, whatever part of them a rule is on."""
        allowed: set[bytes] = set()
        refused: set[bytes] = set()
        for site in self.context.core.sites():
            state = self.context.core.state_of(site)
            held = state.held if state else None
            if held is not None and held.release.root is not None:
                told = allowed if self.context.gate.may_announce(held).allowed else refused
                told.update((dht_key(site), held.release.root.multihash))
        return frozenset(refused - allowed)

    def follow(self, site: SiteId) -> None:
        """Looks for the site now, unless it is held already."""
        state = self.context.core.state_of(site)
        if state is None or state.held is None:
            self.tell(ins.Followed(site))

    async def drop(self, sites: list[SiteId]) -> int:
        """Deletes the blocks of these sites; returns how many bytes that freed. OperatorError of the store."""
        freed_bytes = 0
        for site in sites:
            self.cancel_fetch(site)
            async with self.context.lock_of(site):
                freed_bytes += await self._drop(site)
        return freed_bytes

    async def _drop(self, site: SiteId) -> int:
        """The core hears of it when the store has done it: they must not differ in what is held here."""
        store = self.context.store
        try:
            freed_bytes = await self.context.in_store(store.drop_site, site)
        except OperatorError:
            record = await self.context.in_store(store.site, site)
            if record is None or record.held is None:  # it was done, but for what the room is freed with
                self.tell(ins.Dropped(site))
            raise
        self.tell(ins.Dropped(site))
        return freed_bytes

    def offer(self, site: SiteId) -> None:
        """Tells all peers once more that the site is here: those that have it say so, others may take it."""
        state = self.context.core.state_of(site)
        if state is not None and state.held is not None:
            for info in self.context.network.peers():
                self._carry_out(fx.SendHead(info.peer, state.held))

    def cancel_fetch(self, site: SiteId) -> None:
        """Stops the site's fetch, if one runs, because this node has something else to do with the site now."""
        if (running := self._fetches.get(site)) is not None:
            self._stop_fetch(site)
            self.tell(ins.FetchFailed(running[0], running[1], "local"))

    def _stop_fetch(self, site: SiteId) -> None:
        if site in self._fetches:
            self._fetches.pop(site)[2].cancel()

    def _carry_out(self, effect: fx.Effect) -> None:
        match effect:
            case fx.SyncHeads(peer):
                if peer in self._syncing:
                    self._syncing[peer] = True
                else:
                    self._syncing[peer] = False
                    self._start(self._sync_heads, peer)
            case fx.SendHead(peer, signed):
                if self.context.gate.may_announce(signed).allowed:
                    self._start(self._send_head, peer, signed)
            case fx.RecordHead() | fx.EndSite():
                self._queue_head(effect)
            case fx.KeepFork(first, second):
                if self.forks is not None:
                    self._start(trio.to_thread.run_sync, self.forks.keep, first, second)
            case fx.StartFetch(signed, source):
                self._start_fetch(signed, source)
            case fx.CancelFetch(site):
                self._stop_fetch(site)
            case fx.AskToHost() | fx.Audit() | fx.LetGo():
                if self.care is not None:
                    self._start(self.care.carry_out, effect)
            case _:
                self._ask_dht(effect)

    def _ask_dht(self, effect: fx.FindHosts | fx.Announce | fx.CheckAnnounced) -> None:
        match effect:
            case fx.FindHosts(site):
                if site not in self._looking:
                    self._looking.add(site)
                    self._start(self._find_hosts, site)
            case fx.Announce(site):
                self._start(self._announce, site)
            case fx.CheckAnnounced(site):
                self._start(self._check_announced, site)

    def _start(self, task: Callable[..., Awaitable[None]], *args: object) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(self._contained, task, *args)

    async def _contained(self, task: Callable[..., Awaitable[None]], *args: object) -> None:
        """The root of every task that effects start: what fails here is logged and fails alone."""
        try:
            await task(*args)
        except PeerError as error:
            log.info("%s: %s", task.__name__.strip("_"), error)
        except OperatorError as error:
            log.error("%s: %s", task.__name__.strip("_"), error)
        except Exception:
            log.exception("%s failed", task.__name__.strip("_"))

    def _queue_head(self, effect: fx.RecordHead | fx.EndSite) -> None:
        try:
            self._head_writes.send_nowait(effect)
        except trio.WouldBlock:
            log.error("too many heads wait to be written; %s is dropped and will be offered again", effect)

    async def _write_heads(self) -> None:
        """Heads are written in the order in which the core decided them."""
        store = self.context.store
        async for effect in self._head_reads:
            write = store.end_site if isinstance(effect, fx.EndSite) else store.set_head
            try:
                await self.context.in_store(write, effect.signed)
            except FednodeError as error:
                log.error("could not record the head of %s: %s", effect.signed.site, error)

    async def _tick(self) -> None:
        while True:
            await trio.sleep(TICK_S)
            self.tell(ins.Tick(time.time()))

    async def _sweep_holds(self) -> None:
        """Gives up transfers that nobody has gone on with for a day, so that they do not keep quota for ever."""
        while True:
            await self._contained(self._sweep_holds_once)
            await trio.sleep(SWEEP_S)

    async def _sweep_holds_once(self) -> None:
        store = self.context.store
        for info in await self.context.in_store(store.holds):
            site = info.hold.site
            if info.started_s + HOLD_MAX_AGE_S < time.time() and not self.context.lock_of(site).locked():
                log.info("giving up the unfinished release %d of %s", info.hold.signed.seq, site)
                await self.context.in_store(store.abort_hold, info.hold)

    async def _follow_network(self, events: trio.MemoryReceiveChannel[object]) -> None:
        async for event in events:
            match event:
                case PeerConnected(peer):
                    self.tell(ins.PeerUp(peer))
                case PeerDisconnected(peer):
                    self.tell(ins.PeerDown(peer))

    async def _sync_heads(self, peer: PeerId) -> None:
        """Tells the peer what we have, takes what it offers beyond that."""
        try:
            async with self._exchange_limit:
                with trio.fail_after(EXCHANGE_MAX_S):
                    await self._exchange(peer)
            await self._remember(peer)
        except trio.TooSlowError:
            log.info("comparing heads with %s takes too long; the next comparison goes on", peer)
        except PeerUnreachable as error:
            log.debug("cannot compare heads with %s: %s", peer, error)
        except ProtocolUnsupported:
            # A publisher that only hands something in, or another kind of libp2p node: nobody to compare heads with.
            self.tell(ins.PeerDown(peer))
        finally:
            if self._syncing.pop(peer):
                self._carry_out(fx.SyncHeads(peer))

    async def _exchange(self, peer: PeerId) -> None:
        if self.care is not None:
            await self.care.meet(peer)
        # Who has left is not dialled: the addresses that a stranger claims to have may be those of others.
        open_stream = self.context.network.open
        stream = await open_stream(peer, SYNC_PROTOCOL, deadline_s=OPEN_DEADLINE_S, dial=False)
        async with FrameChannel(stream, idle_s=IDLE_S, write_s=IDLE_S) as channel:
            await compare_heads(self.context, channel, peer)

    async def _remember(self, peer: PeerId) -> None:
        """Writes the peer down for the next start: not before it has shown that it is a node, and no mere visitor."""
        if addresses := self.context.network.known_addresses(peer):
            await self.context.in_store(self.context.store.save_peer, peer, addresses, int(time.time()))

    async def _send_head(self, peer: PeerId, signed: SignedRelease) -> None:
        async with self._send_limit:
            stream = await self.context.network.open(peer, SYNC_PROTOCOL, deadline_s=OPEN_DEADLINE_S)
            async with FrameChannel(stream, idle_s=IDLE_S, write_s=IDLE_S) as channel:
                await channel.send(msg.Offer(signed))
                answer = await channel.receive()
        node = key_of(peer)
        if isinstance(answer, msg.Have) and answer.seq >= signed.seq and node is not None:
            self.tell(ins.AskedToHost(signed.site, node, "has"))
        if isinstance(answer, msg.Refuse):
            log.info("peer %s refuses %s: %s", peer, signed.site, answer.code)

    async def _find_hosts(self, site: SiteId) -> None:
        try:
            if not self.context.gate.may_ask_for(site).allowed:
                return
            async with self._dht_limit:
                await find_heads(self.context, site, lambda peer, head: self.tell(ins.HeadSeen(peer, head)))
        finally:
            self._looking.discard(site)

    async def _announce(self, site: SiteId) -> None:
        took = None
        try:
            if (held := self._announceable(site)) is not None:
                took = 0
                async with self._dht_limit:
                    took = await self.context.network.provide(dht_key(site))
                    await announce_to_ipfs(self.context.network, held)
                log.debug("announced %s to %d DHT nodes", site, took)
        finally:
            self.tell(ins.Announced(site, took))

    async def _check_announced(self, site: SiteId) -> None:
        seen = None
        try:
            if self._announceable(site) is not None:
                async with self._dht_limit:
                    seen = await self.context.network.count_provided(dht_key(site), deadline_s=CHECK_DEADLINE_S)
                log.debug("%d DHT nodes name this node as a host of %s", seen, site)
        finally:
            self.tell(ins.Checked(site, seen))

    def _announceable(self, site: SiteId) -> SignedRelease | None:
        """The held release, if others may be told of it."""
        state = self.context.core.state_of(site)
        held = state.held if state else None
        return held if held is not None and self.context.gate.may_announce(held).allowed else None

    async def _note_announced(self) -> None:
        while True:
            await trio.sleep(ANNOUNCED_SAVE_S)
            through_s = self.context.core.announcing.through_wall_s(trio.current_time())
            await trio.to_thread.run_sync(self._announced.save, through_s)

    def _start_fetch(self, signed: SignedRelease, source: PeerId) -> None:
        scope = trio.CancelScope()
        self._fetches[signed.site] = (signed, source, scope)
        self._start(self._fetch, signed, source, scope)

    async def _fetch(self, signed: SignedRelease, source: PeerId, scope: trio.CancelScope) -> None:
        """However it ends, the core hears of it, unless it had the fetch stopped itself."""
        outcome: Fetched = "source"
        try:
            with scope:
                outcome = await self._fetch_in_turn(signed, source)
        except* OSError:
            log.exception("fetching %s failed", signed.site)
            outcome = "local"
        except* Exception:  # another host's answers may not bring it about
            log.exception("fetching %s failed", signed.site)
        was_stopped = self._fetches.get(signed.site) != (signed, source, scope)
        if not was_stopped:
            del self._fetches[signed.site]
        if outcome == "stored":  # too late to be stopped: the store has it, and the core must know
            self.tell(ins.Stored(signed))
        elif not was_stopped:
            self.tell(ins.FetchFailed(signed, source, outcome))

    async def _fetch_in_turn(self, signed: SignedRelease, source: PeerId) -> Fetched:
        outcome: Fetched = "source"
        async with self.context.lock_of(signed.site), self._fetch_slots.slot() as slot:
            with slot.scope:
                outcome = await fetch_release(self.context, signed, source, partial(self._other_hosts, signed), slot)
            if slot.scope.cancelled_caught:
                log.info("fetching %s waits: it was slow, and others are in line", signed.site)
        return outcome

    def _other_hosts(self, signed: SignedRelease) -> list[PeerId]:
        """Who else may have the release: those that said so, latest first, and connected hosts of the site."""
        state = self.context.core.state_of(signed.site)
        said = [peer for peer, offered in state.sources.items() if offered == signed] if state else []
        copies = {peer_of(node) for node in self.context.core.keeping.copies.of_site(signed.site)}
        connected = [info.peer for info in self.context.network.peers() if info.peer in copies]
        return [*reversed(said), *connected]
