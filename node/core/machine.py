"""The federation core: which heads to take, what to fetch from whom, whom to tell.

Pure: no I/O, no clock, no randomness but the generator that is handed in. The driver feeds inputs one at a time and
carries out every returned effect; effects may be carried out concurrently and in any order. Safety does not rest on
the driver's timing: a head is only ever replaced by one with a higher sequence (protocol.release.check_successor), and
so is a held release. What is fetched is the newest release above the held one that somebody offers: the head, or an
earlier one while nobody gives the head.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable

from node.core import effects as fx
from node.core import inputs as ins
from node.core.agenda import Agenda
from node.core.announcing import Announcing
from node.core.copies import GRACE_S
from node.core.inputs import PeerId
from node.core.keeping import Keeping
from node.core.peers import key_of, peer_of
from node.core.state import SiteState
from protocol.errors import StaleRelease
from protocol.release import SignedRelease, check_may_hold, check_successor
from protocol.site_id import SiteId

TICK_S = 1.0
# A missed announcement is healed within this time by comparing heads again.
RESYNC_S = 120.0
# In a full mesh everybody told by everybody would be n² offers; six at once reach thousands in a few steps.
EAGER_PEERS = 6
LAZY_S = 5.0
RETRY_FIRST_S = 2.0
RETRY_MAX_S = 300.0
# A full disk or quota does not empty itself within seconds.
RETRY_LOCAL_S = 60.0
# A restart with many unfinished sites, or a change of policy, must not start them all within one step.
RETRIES_PER_TICK = 200
# A site that was never held here and cannot be fetched is forgotten after so many rounds; a host will offer it again.
FAILURES_MAX = 8
# Strangers can sign any number of sites; more than this many are not looked at.
SITES_MAX = 200_000

Wants = Callable[[SignedRelease], bool]
Kept = Callable[[SiteId], bool]


class FederationCore:
    """One node's view of the federation.

    `wants(signed)` is the policy gate: may this node fetch and host that release now? It must be pure within one call
    of `handle`. `rng` only spreads timers. `node` is this node's peer id. `kept(site)`: the operator wants it here,
    however many others host it.
    """

    def __init__(
        self, wants: Wants, rng: random.Random, node: PeerId = "", *, kept: Kept | None = None, grace_s: float = GRACE_S
    ) -> None:
        self._wants = wants
        self._kept = kept or (lambda _: False)
        self._rng = rng
        self._sites: dict[SiteId, SiteState] = {}
        self._peers: dict[PeerId, None] = {}
        self._resyncs: Agenda[PeerId] = Agenda()
        self._retries: Agenda[SiteId] = Agenda()
        self._offers: Agenda[tuple[SiteId, PeerId]] = Agenda()
        self._followed: Agenda[SiteId] = Agenda()
        self.announcing = Announcing(node.encode())
        self.audits: Counter[str] = Counter()
        """Sites whose hosts proved them, or did not; and nodes that said nothing."""
        self.keeping = Keeping(key_of(node) or SiteId(bytes(32)), rng, grace_s=grace_s)

    def restore(
        self,
        now_s: float,
        heads: Iterable[tuple[SignedRelease, SignedRelease | None]],
        *,
        wall_s: float = 0.0,
        announced_through_s: float = 0.0,
    ) -> None:
        """Takes up what the store knows at start: (head, held) pairs, and what `Announcing.through_wall_s` last was."""
        held_sites = []
        for head, held in heads:
            state = self._sites[head.site] = SiteState(head=head, held=held, recorded=True)
            if held is not None:
                held_sites.append(head.site)
                self.keeping.hosted(held, kept=self._kept(head.site), restored=True)
            if not state.complete and self._wants(head):
                self._retries.set(head.site, now_s)
        self.announcing.restore(now_s, wall_s, announced_through_s, held_sites)

    def known_heads(self, peer: PeerId = "") -> list[SignedRelease]:
        """What this node holds, and the ends that it knows, of the sites that the peer may host too.

        Of a peer that is no member nothing is known: then it is all.
        """
        node = key_of(peer)
        may_hold = self.keeping.holdings_of(node) if node is not None else None
        best = ((site, state.best) for site, state in self._sites.items())
        return [signed for site, signed in best if signed is not None and (may_hold is None or may_hold(site))]

    def newer_than(self, known: dict[SiteId, int], peer: PeerId, among: Iterable[SiteId]) -> list[SignedRelease]:
        """What a peer that has these heads lacks of these sites and this node could give it: held releases and ends.

        Sites that are not in `known` are offered only to a peer whom they concern.
        """
        newer = []
        for site in among:
            state = self._sites.get(site)
            best = state.best if state else None
            if best is None or best.seq <= known.get(site, 0):
                continue
            if site in known or self._concerns(peer, best):
                newer.append(best)
        return newer

    def sites(self) -> list[SiteId]:
        """All that it knows of."""
        return list(self._sites)

    def state_of(self, site: SiteId) -> SiteState | None:
        """The live state of a site, to be read only."""
        return self._sites.get(site)

    def check(self, signed: SignedRelease) -> None:
        """Raises `StaleRelease` if a publisher may not hand in this release after the head that is known.

        Another release of the head's sequence is refused, whatever its rank: the publisher can choose a higher one.
        """
        state = self._sites.get(signed.site)
        head = state.head if state else None
        check_successor(head, signed)
        if signed.contradicts(head):
            raise StaleRelease(f"another release {signed.seq} of this site is known already")

    def check_offer(self, signed: SignedRelease) -> None:
        """Raises `StaleRelease` if this node has no use for a host of this release."""
        state = self._sites.get(signed.site)
        if state is not None:
            check_may_hold(state.head, state.held, signed)

    def handle(self, now_s: float, event: ins.Input) -> list[fx.Effect]:
        """One step. `now_s` is monotonic seconds."""
        match event:
            case ins.PeerUp(peer):
                return self._on_peer_up(now_s, peer)
            case ins.PeerDown(peer):
                return self._on_peer_down(now_s, peer)
            case ins.HeadSeen():
                return self._on_head_seen(now_s, event)
            case ins.Stored(signed):
                return self._on_stored(now_s, signed)
            case ins.FetchFailed():
                return self._on_fetch_failed(now_s, event)
            case ins.Followed(site):
                self._followed.set(site, now_s + self._spread(RETRY_FIRST_S))
                return [fx.FindHosts(site)]
            case ins.Dropped(site):
                return self._on_dropped(site)
            case ins.PolicyChanged():
                return self._on_policy_changed(now_s)
            case ins.Tick(wall_s):
                return self._on_tick(now_s) + self.keeping.due(now_s, wall_s)
            case _:
                self._take_note(now_s, event)
                return []

    def _take_note(
        self,
        now_s: float,
        event: ins.Heard | ins.Unreached | ins.Announced | ins.Checked | ins.AskedToHost | ins.Audited,
    ) -> None:
        """Of what has no effects by itself."""
        match event:
            case ins.Heard(peer):
                if (node := key_of(peer)) is not None:
                    self.keeping.copies.contact(now_s, node)
            case ins.Unreached(peer):
                if (node := key_of(peer)) is not None:
                    self.keeping.copies.unreached(now_s, node)
            case ins.Announced(site, took):
                self.announcing.announced(now_s, site, took)
            case ins.Checked(site, seen):
                self.announcing.checked(now_s, site, seen)
            case ins.AskedToHost(site, node, answer):
                self.keeping.answered(now_s, site, node, answer)
            case ins.Audited(node, proved, failed, silent):
                self.audits.update(proved=len(proved), failed=len(failed), silent=int(silent))
                self.keeping.auditing.answered(now_s, node, proved, failed, silent=silent)

    def _on_peer_up(self, now_s: float, peer: PeerId) -> list[fx.Effect]:
        self._resyncs.set(peer, now_s + self._spread(RESYNC_S))
        self._peers[peer] = None
        self.announcing.met_a_peer(now_s)
        if (node := key_of(peer)) is not None:
            self.keeping.connected(now_s, node)
        return [fx.SyncHeads(peer)]

    def _on_peer_down(self, now_s: float, peer: PeerId) -> list[fx.Effect]:
        self._peers.pop(peer, None)
        self._resyncs.drop(peer)
        if (node := key_of(peer)) is not None:
            self.keeping.copies.disconnected(now_s, node)
        return []

    def _on_head_seen(self, now_s: float, event: ins.HeadSeen) -> list[fx.Effect]:
        peer, signed = event.peer, event.signed
        state = self._sites.get(signed.site)
        found = self._prove_fork(state, signed)
        try:
            self.check_offer(signed)
        except StaleRelease:
            return found + self._correct(peer, signed, state)
        if signed.release.ended:
            # The end of a site that was never here is of no interest, and strangers could make any number of them.
            return found + (self._on_end(state, signed) if state is not None and state.head is not None else [])
        if (node := key_of(peer)) is not None:
            self.keeping.stated(now_s, signed.site, node)
        if not self._wants(signed) or not self._needed(now_s, state, signed, wanted=event.wanted):
            return found + self._take_unwanted(state, signed)
        if state is None:
            if len(self._sites) >= SITES_MAX:
                return []
            state = self._sites[signed.site] = SiteState()
        if event.wanted and not state.wanted:
            state.wanted, state.room_again_s = True, now_s
        found += self._advance(state, signed)
        state.add_source(peer, signed)
        return found + self._fetch_next(now_s, state)

    def may_use_reserve(self, signed: SignedRelease) -> bool:
        """Whether quota that is kept for sites that lack hosts may be used for a fetch of this release."""
        state = self._sites.get(signed.site)
        if state is not None and (state.wanted or state.held is not None):
            return True
        chosen = self._kept(signed.site) or signed.site in self._followed
        return chosen or self.keeping.may_use_reserve(signed)

    def _prove_fork(self, state: SiteState | None, signed: SignedRelease) -> list[fx.Effect]:
        """Two releases of one sequence: both together prove it, and the first such pair is enough."""
        if state is None or state.forked or signed.release.ended:
            return []
        for known in (state.head, state.held):
            if known is not None and signed.contradicts(known):
                state.forked = True
                return [fx.KeepFork(known, signed)]
        return []

    def _needed(self, now_s: float, state: SiteState | None, signed: SignedRelease, *, wanted: bool) -> bool:
        """Is this node to host the site, or does it already or is about to?"""
        if state is not None and (state.held is not None or state.fetching is not None):
            return True
        known = self._kept(signed.site) or signed.site in self._followed
        return known or self.keeping.should_take(now_s, signed, wanted=wanted)

    def _take_unwanted(self, state: SiteState | None, signed: SignedRelease) -> list[fx.Effect]:
        """A refused site's newer head is remembered where the site is known, so that no older one gets in later."""
        if state is None or state.head is None:
            return []
        return self._advance(state, signed)

    def _advance(self, state: SiteState, signed: SignedRelease) -> list[fx.Effect]:
        """Makes `signed` the head if it is newer than what is known."""
        if state.head is not None and signed.rank <= state.head.rank:
            return []
        self._take_head(state, signed)
        return [fx.RecordHead(signed)] if state.recorded else []

    def _correct(self, peer: PeerId, signed: SignedRelease, state: SiteState | None) -> list[fx.Effect]:
        """Answers an old head with the newer one that we hold, so that the peer catches up."""
        best = state.best if state else None
        if best is not None and best.rank > signed.rank and peer in self._peers:
            return [fx.SendHead(peer, best)]
        return []

    def _on_end(self, state: SiteState, signed: SignedRelease) -> list[fx.Effect]:
        if state.complete and state.head is not None and state.head.cid == signed.cid:
            return []
        found = self._stop_fetch(state, signed.site)
        self._take_head(state, signed)
        state.held = None
        state.sources.clear()
        state.recorded = True
        self.announcing.left(signed.site)
        self.keeping.left(signed.site)
        return [*found, fx.EndSite(signed), *self._tell_peers(signed)]

    def _on_stored(self, now_s: float, signed: SignedRelease) -> list[fx.Effect]:
        state = self._sites.setdefault(signed.site, SiteState())
        if signed.release.ended:
            return [effect for effect in self._on_end(state, signed) if not isinstance(effect, fx.EndSite)]
        has_ended = state.head is not None and state.head.release.ended
        if has_ended or (state.held is not None and state.held.rank > signed.rank):
            return []  # overtaken: the news of a later one came first
        # A publisher may have handed it in while a fetch was under way.
        found = self._stop_fetch(state, signed.site)
        if state.head is None or signed.rank >= state.head.rank:
            self._take_head(state, signed)
        elif not state.recorded:
            found.append(fx.RecordHead(state.head))
        state.take_held(signed)
        state.recorded = True
        self._followed.drop(signed.site)
        self.announcing.hosted(now_s, signed.site)
        if state.no_room_for is None:
            self.keeping.hosted(signed, kept=self._kept(signed.site))
        return [
            *found,
            *self._pass_on(now_s, state, signed),
            *self._go_on(now_s, state, signed.site),
            *self.announcing.due(now_s),
        ]

    def _on_fetch_failed(self, now_s: float, event: ins.FetchFailed) -> list[fx.Effect]:
        state = self._sites.get(event.signed.site)
        if state is None or state.fetching != (event.source, event.signed):
            return []
        state.fetching = None
        if event.blame == "refused":
            # An earlier release may have none of what is refused in this one.
            state.forget_sources_of(event.signed)
            return self._fetch_next(now_s, state)
        if event.blame == "full":
            return self._on_no_room(now_s, state, event.signed)
        if event.blame == "local":
            state.paused_until_s = now_s + self._spread(RETRY_LOCAL_S)
            self._retries.set(event.signed.site, state.paused_until_s)
            return []
        if state.sources.get(event.source) == event.signed:
            del state.sources[event.source]
        return self._go_on(now_s, state, event.signed.site)

    def _on_no_room(self, now_s: float, state: SiteState, signed: SignedRelease) -> list[fx.Effect]:
        """What is held is kept; without any, the newest release that fits is taken: it serves readers meanwhile.

        But who has not the newest is no host of it, and does not say so: others are to be asked.
        """
        state.no_room_for, state.room_again_s = signed, now_s + self._spread(RETRY_LOCAL_S)
        self._retries.set(signed.site, state.room_again_s)
        self.keeping.left(signed.site)
        return self._fetch_next(now_s, state)

    def _go_on(self, now_s: float, state: SiteState, site: SiteId) -> list[fx.Effect]:
        """After a fetch: the next one, or a look for other hosts in a while if something is still missing."""
        found = self._fetch_next(now_s, state)
        if not found and not state.complete and site not in self._retries:
            self._schedule_retry(now_s, site, state)
        return found

    def _stop_fetch(self, state: SiteState, site: SiteId) -> list[fx.Effect]:
        running, state.fetching = state.fetching, None
        return [] if running is None else [fx.CancelFetch(site)]

    def _on_dropped(self, site: SiteId) -> list[fx.Effect]:
        state = self._sites.get(site)
        if state is None:
            return []
        state.held = state.fetching = state.no_room_for = None
        state.paused_until_s = 0.0
        self._retries.drop(site)
        self.announcing.left(site)
        self.keeping.left(site)
        state.sources.clear()
        return [fx.CancelFetch(site)]

    def _on_policy_changed(self, now_s: float) -> list[fx.Effect]:
        found: list[fx.Effect] = []
        for site, state in self._sites.items():
            if state.head is None or state.complete:
                continue
            if state.fetching is not None and not self._wants(state.fetching[1]):
                found.extend(self._stop_fetch(state, site))
            if state.fetching is None:
                self._retries.set(site, now_s)
        # What was refused before may be welcome now, and only peers can tell of it.
        found.extend(fx.SyncHeads(peer) for peer in self._peers)
        return found + self._on_tick(now_s)

    def _on_tick(self, now_s: float) -> list[fx.Effect]:
        found: list[fx.Effect] = []
        for peer in self._resyncs.due(now_s):
            self._resyncs.set(peer, now_s + self._spread(RESYNC_S))
            found.append(fx.SyncHeads(peer))
        for site in self._retries.due(now_s, RETRIES_PER_TICK):
            found.extend(self._retry(now_s, site))
        for site in self._followed.due(now_s):
            self._followed.set(site, now_s + self._spread(RETRY_MAX_S))
            found.append(fx.FindHosts(site))
        for site, peer in self._offers.due(now_s):
            found.extend(self._offer_later(site, peer))
        return found + self.announcing.due(now_s)

    def _retry(self, now_s: float, site: SiteId) -> list[fx.Effect]:
        state = self._sites.get(site)
        if state is None or state.complete or state.head is None:
            return []
        found = self._fetch_next(now_s, state)
        if found or state.fetching is not None or not self._wants(state.head):
            return found
        if state.failures > FAILURES_MAX and not state.recorded:
            del self._sites[site]
            return []
        self._schedule_retry(now_s, site, state)
        return [fx.FindHosts(site)]

    def _schedule_retry(self, now_s: float, site: SiteId, state: SiteState) -> None:
        delay_s = min(RETRY_MAX_S, RETRY_FIRST_S * 2 ** min(state.failures, 16))
        state.failures += 1
        self._retries.set(site, now_s + self._spread(delay_s))

    def _take_head(self, state: SiteState, signed: SignedRelease) -> None:
        state.take_head(signed)
        self._retries.drop(signed.site)

    def _fetch_next(self, now_s: float, state: SiteState) -> list[fx.Effect]:
        """Starts a fetch of the newest release that somebody offers; one of an earlier release gives way to it."""
        if state.complete or state.paused_until_s > now_s:
            return []
        source = state.next_source(lambda signed: self._wants(signed) and state.fits(now_s, signed), self.is_silent)
        if source is None or (state.fetching is not None and state.fetching[1].rank >= source[1].rank):
            return []
        peer, signed = source
        found = self._stop_fetch(state, signed.site)
        state.fetching = source
        return [*found, fx.StartFetch(signed, peer)]

    def _pass_on(self, now_s: float, state: SiteState, signed: SignedRelease) -> list[fx.Effect]:
        """A publisher's release is told to all at once. One that came from a peer goes to a few now, to others later.

        Those who sent it to us need not hear of it, and many others will have heard by then.
        """
        if not state.sources:
            return self._tell_peers(signed)
        peers = [peer for peer in self._whom_to_tell(signed) if peer not in state.sources]
        self._rng.shuffle(peers)
        for peer in peers[EAGER_PEERS:]:
            self._offers.set((signed.site, peer), now_s + self._spread(LAZY_S))
        return [fx.SendHead(peer, signed) for peer in peers[:EAGER_PEERS]]

    def _offer_later(self, site: SiteId, peer: PeerId) -> list[fx.Effect]:
        state = self._sites.get(site)
        if state is None or state.held is None:
            return []
        if peer in state.sources or peer not in self._peers:
            return []
        return [fx.SendHead(peer, state.held)]

    def _tell_peers(self, signed: SignedRelease) -> list[fx.Effect]:
        return [fx.SendHead(peer, signed) for peer in self._whom_to_tell(signed)]

    def _whom_to_tell(self, signed: SignedRelease) -> list[PeerId]:
        """The connected peers whom the release concerns, and the site's other hosts."""
        connected = [peer for peer in self._peers if self._concerns(peer, signed)]
        hosts = (peer_of(node) for node in self.keeping.copies.of_site(signed.site))
        return [*connected, *(peer for peer in hosts if peer not in self._peers)]

    def _concerns(self, peer: PeerId, signed: SignedRelease) -> bool:
        """Does it host the site, or is it to? Of who is no member, and while there are few, that is taken as given."""
        node = key_of(peer)
        return node is None or self.keeping.concerns(node, signed)

    def is_silent(self, peer: PeerId) -> bool:
        """It did not answer when it was last asked: others are asked first."""
        node = key_of(peer)
        return node is not None and self.keeping.copies.silent(node)

    def _spread(self, base_s: float) -> float:
        return base_s * self._rng.uniform(0.75, 1.25)
