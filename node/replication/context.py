"""What every part of replication shares: store, gate, network, standing, and the core that is told what happened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar, TypeVarTuple

import trio

from node.core.inputs import Input
from node.core.keeping import RESERVE_SHARE
from node.core.machine import FederationCore
from node.net.port import Network
from node.replication.gate import Gate
from node.replication.speeds import Speeds
from node.replication.standing import Standing
from node.store.port import Hold, Store
from protocol.release import SignedRelease
from protocol.site_id import SiteId

OPEN_DEADLINE_S = 10.0
# A peer that says nothing for this long in mid-exchange has gone or stalls; publishers on poor lines get as much.
IDLE_S = 30.0

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@dataclass(slots=True)
class Context:
    """Shared state of replication; everything in it belongs to the trio thread except `store`."""

    store: Store
    network: Network
    gate: Gate
    core: FederationCore
    tell: Callable[[Input], None]
    start: Callable[..., None]
    """Starts a task with its arguments; what fails in it is logged and fails alone."""
    standing: Standing = field(default_factory=Standing)
    speeds: Speeds = field(default_factory=Speeds)
    # Set and replaced whenever the gate has got another policy.
    policy_changed: trio.Event = field(default_factory=trio.Event)
    # Sites that were handed in here by a publisher, and are kept however many others host them.
    published: set[SiteId] = field(default_factory=set)
    # Sites that are being written, so that a fetch and a publish of one site never interleave.
    busy: dict[SiteId, trio.Lock] = field(default_factory=dict)
    # Sizes of the releases that are coming in.
    incoming_bytes: Counter[SiteId] = field(default_factory=Counter)
    # The store has one writer; a second waiting thread would only hold memory.
    store_threads: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(2))

    @contextmanager
    def taking(self, signed: SignedRelease) -> Iterator[None]:
        """While a release comes in, it counts for its publisher (`others_bytes`)."""
        self.incoming_bytes[signed.site] = signed.release.size_bytes
        try:
            yield
        finally:
            del self.incoming_bytes[signed.site]

    def others_bytes(self, site: SiteId) -> int:
        """What other sites of the same publisher have here, those included that are coming in."""
        publisher = self.gate.policy.hosting.invited.get(site)
        if publisher is None:
            return 0
        return sum(self.size_bytes(other) for other in publisher.sites if other != site)

    def size_bytes(self, site: SiteId) -> int:
        """Of the release that is held or comes in; 0: none."""
        state = self.core.state_of(site)
        held = state.held.release.size_bytes if state is not None and state.held is not None else 0
        return max(held, self.incoming_bytes[site])

    async def in_store(self, call: Callable[[*Ts], T], *args: *Ts) -> T:
        """Runs a store call that may block in a worker thread."""
        return await trio.to_thread.run_sync(call, *args, limiter=self.store_threads)

    def begin_hold(self, signed: SignedRelease, *, may_use_reserve: bool) -> Hold:
        """Of the store; for a worker thread. A tenth of the quota is kept for sites that lack hosts."""
        reserve_bytes = 0 if may_use_reserve else int(RESERVE_SHARE * self.store.usage().quota_bytes)
        return self.store.begin_hold(signed, leave_bytes=reserve_bytes)

    def lock_of(self, site: SiteId) -> trio.Lock:
        """The site's lock; unused ones are thrown away so that the table does not grow."""
        if len(self.busy) > 1024:
            self.busy = {key: lock for key, lock in self.busy.items() if lock.locked()}
        return self.busy.setdefault(site, trio.Lock())
