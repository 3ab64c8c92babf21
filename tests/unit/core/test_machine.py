"""The federation core, one decision at a time."""

from __future__ import annotations

import itertools
import random

import pytest

from node.core import effects as fx
from node.core import inputs as ins
from node.core.announcing import ANNOUNCE_S, RELEASE_SPREAD_S, RELEASE_WAIT_S
from node.core.copies import GRACE_S
from node.core.machine import EAGER_PEERS, FAILURES_MAX, LAZY_S, RESYNC_S, RETRY_LOCAL_S, RETRY_MAX_S, FederationCore
from node.core.peers import peer_of
from protocol.errors import StaleRelease
from protocol.release import SignedRelease
from protocol.site_filter import SiteFilter
from protocol.site_id import SiteId
from tests.simulation.world import Publisher

SPREAD = 1.25


class Machine:
    """A core with a policy that a test can change, and a clock."""

    def __init__(self, *peers: str) -> None:
        self.refused: set[bytes] = set()
        self.now_s = 1000.0
        self.core = FederationCore(lambda signed: signed.site not in self.refused, random.Random(1))
        for peer in peers:
            self.feed(ins.PeerUp(peer))

    def feed(self, event: ins.Input) -> list[fx.Effect]:
        return self.core.handle(self.now_s, event)

    def after(self, seconds: float) -> list[fx.Effect]:
        self.now_s += seconds
        return self.feed(ins.Tick())

    def hold(self, signed: SignedRelease) -> None:
        self.feed(ins.Stored(signed))


@pytest.fixture
def publisher() -> Publisher:
    return Publisher(5)


def fetches(found: list[fx.Effect]) -> list[fx.StartFetch]:
    return [effect for effect in found if isinstance(effect, fx.StartFetch)]


def test_a_peer_that_connects_is_asked_at_once_and_again_later() -> None:
    machine = Machine()
    assert machine.feed(ins.PeerUp("a")) == [fx.SyncHeads("a")]
    assert machine.after(1) == []
    assert machine.after(RESYNC_S * SPREAD) == [fx.SyncHeads("a")]
    machine.feed(ins.PeerDown("a"))
    assert machine.after(RESYNC_S * SPREAD) == []


def test_a_new_head_is_fetched_once_from_who_offers_it(publisher: Publisher) -> None:
    machine = Machine("a", "b")
    signed = publisher.publish()
    assert machine.feed(ins.HeadSeen("a", signed)) == [fx.StartFetch(signed, "a")]
    assert machine.feed(ins.HeadSeen("b", signed)) == []
    assert machine.feed(ins.FetchFailed(signed, "a", "source")) == [fx.StartFetch(signed, "b")]


def test_what_is_stored_is_told_to_all_peers_and_announced_again_in_time(publisher: Publisher) -> None:
    machine = Machine("a", "b")
    signed = publisher.publish()
    found = machine.feed(ins.Stored(signed))
    assert found == [fx.SendHead("a", signed), fx.SendHead("b", signed)]
    assert fx.Announce(signed.site) in machine.after(RELEASE_WAIT_S + RELEASE_SPREAD_S)
    machine.feed(ins.Announced(signed.site, 20))
    assert fx.Announce(signed.site) in machine.after(ANNOUNCE_S)


def test_what_came_from_a_peer_goes_to_a_few_at_once_and_to_the_others_later(publisher: Publisher) -> None:
    peers = [f"peer {number}" for number in range(20)]
    machine = Machine(*peers)
    signed = publisher.publish()
    machine.feed(ins.HeadSeen(peers[0], signed))
    at_once = [effect.peer for effect in machine.feed(ins.Stored(signed)) if isinstance(effect, fx.SendHead)]
    assert len(set(at_once)) == EAGER_PEERS
    assert peers[0] not in at_once
    rest = set(peers[1:]) - set(at_once)
    heard, gone = rest.pop(), rest.pop()
    machine.feed(ins.HeadSeen(heard, signed))
    machine.feed(ins.PeerDown(gone))
    later = [effect for effect in machine.after(LAZY_S * SPREAD) if isinstance(effect, fx.SendHead)]
    assert {effect.peer for effect in later} == rest
    assert {effect.signed for effect in later} == {signed}


def test_an_old_head_is_answered_with_the_newer_one(publisher: Publisher) -> None:
    machine = Machine("a")
    old, new = publisher.publish(), publisher.publish()
    machine.hold(new)
    assert machine.feed(ins.HeadSeen("a", old)) == [fx.SendHead("a", new)]
    with pytest.raises(StaleRelease):
        machine.core.check(old)


def test_a_newer_head_replaces_a_running_fetch(publisher: Publisher) -> None:
    machine = Machine("a")
    old, new = publisher.publish(), publisher.publish()
    machine.feed(ins.HeadSeen("a", old))
    assert machine.feed(ins.HeadSeen("b", new)) == [fx.CancelFetch(new.site), fx.StartFetch(new, "b")]
    assert machine.feed(ins.FetchFailed(old, "a", "source")) == []


def test_while_nobody_gives_the_head_the_release_before_it_is_fetched(publisher: Publisher) -> None:
    machine = Machine("a", "b")
    first, second, third = (publisher.publish() for _ in range(3))
    machine.core.restore(machine.now_s, [(third, first)])
    assert machine.feed(ins.HeadSeen("a", second)) == [fx.StartFetch(second, "a")]
    found = machine.feed(ins.Stored(second))
    assert fx.SendHead("b", second) in found
    assert machine.core.known_heads() == [second]
    assert machine.core.newer_than({second.site: first.seq}, "a", machine.core.sites()) == [second]
    with pytest.raises(StaleRelease):
        machine.core.check(second)
    assert fx.FindHosts(second.site) in machine.after(RETRY_MAX_S * SPREAD)
    assert fetches(machine.feed(ins.HeadSeen("b", third))) == [fx.StartFetch(third, "b")]


def test_the_release_before_the_head_is_fetched_when_the_heads_only_host_fails(publisher: Publisher) -> None:
    machine = Machine("a", "b")
    first, second, third = (publisher.publish() for _ in range(3))
    machine.hold(first)
    assert fetches(machine.feed(ins.HeadSeen("a", third))) == [fx.StartFetch(third, "a")]
    assert machine.feed(ins.HeadSeen("b", second)) == []
    assert fetches(machine.feed(ins.FetchFailed(third, "a", "source"))) == [fx.StartFetch(second, "b")]
    assert machine.feed(ins.HeadSeen("a", third)) == [fx.CancelFetch(third.site), fx.StartFetch(third, "a")]
    assert machine.feed(ins.FetchFailed(second, "b", "source")) == []


def test_what_is_refused_in_the_head_does_not_keep_the_release_before_it_out(publisher: Publisher) -> None:
    machine = Machine("a", "b")
    first, second = publisher.publish(), publisher.publish()
    machine.feed(ins.HeadSeen("a", second))
    machine.feed(ins.HeadSeen("b", first))
    assert fetches(machine.feed(ins.FetchFailed(second, "a", "refused"))) == [fx.StartFetch(first, "b")]
    assert fx.RecordHead(second) in machine.feed(ins.Stored(first))


def test_who_did_not_answer_is_the_last_to_be_fetched_from(publisher: Publisher) -> None:
    first, silent, other = (peer_of(SiteId(bytes([number]) * 32)) for number in (1, 2, 3))
    machine = Machine(first, silent, other)
    signed = publisher.publish()
    machine.feed(ins.HeadSeen(first, signed))
    machine.feed(ins.HeadSeen(other, signed))
    machine.feed(ins.HeadSeen(silent, signed))
    machine.feed(ins.Unreached(silent))
    assert machine.feed(ins.FetchFailed(signed, first, "source")) == [fx.StartFetch(signed, other)]
    assert machine.feed(ins.FetchFailed(signed, other, "source")) == [fx.StartFetch(signed, silent)]


def test_who_asks_this_node_for_proofs_has_been_there(publisher: Publisher) -> None:
    asker = SiteId(bytes([1]) * 32)
    machine = Machine(peer_of(asker))
    machine.core.keeping.copies.statement(machine.now_s, asker, SiteFilter.of([]), leaving=False)
    machine.feed(ins.PeerDown(peer_of(asker)))
    machine.feed(ins.Unreached(peer_of(asker)))
    machine.now_s += 2 * GRACE_S
    copies = machine.core.keeping.copies
    assert not copies.alive(machine.now_s, asker)
    machine.feed(ins.Heard(peer_of(asker)))
    assert copies.alive(machine.now_s, asker)
    assert not machine.core.is_silent(peer_of(asker))


def test_an_older_release_than_the_held_one_is_never_fetched(publisher: Publisher) -> None:
    machine = Machine("a")
    first, second, third = (publisher.publish() for _ in range(3))
    machine.core.restore(machine.now_s, [(third, second)])
    assert machine.feed(ins.HeadSeen("a", first)) == [fx.SendHead("a", second)]
    assert machine.feed(ins.HeadSeen("a", second)) == []


def test_a_refused_site_is_neither_fetched_nor_remembered(publisher: Publisher) -> None:
    machine = Machine("a")
    signed = publisher.publish()
    machine.refused.add(signed.site)
    assert machine.feed(ins.HeadSeen("a", signed)) == []
    assert machine.core.state_of(signed.site) is None


def test_a_newer_head_of_a_refused_site_is_kept_so_that_no_older_one_gets_in(publisher: Publisher) -> None:
    machine = Machine("a")
    first, second = publisher.publish(), publisher.publish()
    machine.hold(first)
    machine.refused.add(first.site)
    assert machine.feed(ins.HeadSeen("a", second)) == [fx.RecordHead(second)]
    with pytest.raises(StaleRelease):
        machine.core.check(first)


def test_a_refusal_cancels_and_its_end_looks_for_hosts_again(publisher: Publisher) -> None:
    machine = Machine("a")
    first, second = publisher.publish(), publisher.publish()
    machine.hold(first)
    machine.feed(ins.HeadSeen("a", second))
    machine.refused.add(first.site)
    assert fx.CancelFetch(first.site) in machine.feed(ins.PolicyChanged())
    machine.refused.clear()
    assert fetches(machine.feed(ins.PolicyChanged())) == [fx.StartFetch(second, "a")]


def test_a_fault_of_this_node_pauses_the_site_whoever_offers_it(publisher: Publisher) -> None:
    machine = Machine("a")
    signed = publisher.publish()
    machine.feed(ins.HeadSeen("a", signed))
    machine.feed(ins.FetchFailed(signed, "a", "local"))
    for peer in "abcdef":
        assert machine.feed(ins.HeadSeen(peer, signed)) == []
    assert fetches(machine.after(RETRY_LOCAL_S * SPREAD)) == [fx.StartFetch(signed, "f")]


def test_without_sources_it_looks_for_hosts_ever_more_rarely(publisher: Publisher) -> None:
    machine = Machine()
    first, second = publisher.publish(), publisher.publish()
    machine.hold(first)
    machine.feed(ins.HeadSeen("a", second))
    assert machine.feed(ins.FetchFailed(second, "a", "source")) == []
    looks = []
    for _ in range(3000):
        if fx.FindHosts(second.site) in machine.after(1.0):
            looks.append(machine.now_s)
    gaps = [later - earlier for earlier, later in itertools.pairwise(looks)]
    assert gaps[0] <= 6
    assert max(gaps) <= RETRY_MAX_S * SPREAD + 1
    assert len(looks) < 25


def test_a_site_that_was_never_here_and_that_nobody_gives_is_forgotten(publisher: Publisher) -> None:
    machine = Machine()
    signed = publisher.publish()
    machine.feed(ins.HeadSeen("a", signed))
    machine.feed(ins.FetchFailed(signed, "a", "source"))
    for _ in range(FAILURES_MAX + 2):
        machine.after(RETRY_MAX_S * SPREAD)
    assert machine.core.state_of(signed.site) is None


def test_an_end_is_kept_and_passed_on_and_nothing_follows_it(publisher: Publisher) -> None:
    machine = Machine("a", "b")
    first = publisher.publish()
    later = publisher.publish()
    end = publisher.publish(ended=True)
    machine.hold(first)
    found = machine.feed(ins.HeadSeen("a", end))
    assert found == [fx.EndSite(end), fx.SendHead("a", end), fx.SendHead("b", end)]
    assert machine.feed(ins.HeadSeen("a", end)) == []
    assert fetches(machine.feed(ins.HeadSeen("a", later))) == []


def test_a_release_that_was_stored_while_its_site_ended_is_not_held(publisher: Publisher) -> None:
    machine = Machine("a")
    first, second, end = publisher.publish(), publisher.publish(), publisher.publish(ended=True)
    machine.hold(first)
    machine.feed(ins.HeadSeen("a", end))
    assert machine.feed(ins.Stored(second)) == []
    state = machine.core.state_of(first.site)
    assert state is not None
    assert (state.held, state.head) == (None, end)
    assert machine.core.keeping.sites() == []


def test_the_end_of_an_unknown_site_is_nobodys_business(publisher: Publisher) -> None:
    machine = Machine("a")
    assert machine.feed(ins.HeadSeen("a", publisher.publish(ended=True))) == []


def test_a_dropped_site_is_fetched_again_only_when_policy_wants_it(publisher: Publisher) -> None:
    machine = Machine("a")
    signed = publisher.publish()
    machine.hold(signed)
    machine.refused.add(signed.site)
    machine.feed(ins.PolicyChanged())
    machine.feed(ins.Dropped(signed.site))
    assert fetches(machine.after(RETRY_MAX_S)) == []
    machine.refused.clear()
    assert fx.FindHosts(signed.site) in machine.feed(ins.PolicyChanged())


def test_what_the_store_knows_is_taken_up_again(publisher: Publisher) -> None:
    machine = Machine()
    first, second = publisher.publish(), publisher.publish()
    machine.core.restore(machine.now_s, [(second, first)])
    assert machine.core.known_heads() == [first]
    assert fx.FindHosts(first.site) in machine.after(1)


def test_only_what_is_held_is_offered(publisher: Publisher) -> None:
    machine = Machine("a")
    first, second = publisher.publish(), publisher.publish()
    machine.hold(first)
    machine.feed(ins.HeadSeen("a", second))
    assert machine.core.newer_than({}, "a", machine.core.sites()) == [first]
    assert machine.core.newer_than({first.site: 1}, "a", machine.core.sites()) == []


def forked(publisher: Publisher) -> tuple[SignedRelease, SignedRelease]:
    """Two releases of one sequence, the one that counts last."""
    publisher.publish()
    two = [publisher.publish(), publisher.fork()]
    low, high = sorted(two, key=lambda signed: signed.rank)
    return low, high


def test_a_fork_is_proved_once_and_the_higher_release_is_fetched(publisher: Publisher) -> None:
    machine = Machine("a")
    low, high = forked(publisher)
    machine.hold(low)
    found = machine.feed(ins.HeadSeen("a", high))
    assert fx.KeepFork(low, high) in found
    assert fx.RecordHead(high) in found
    assert fetches(found) == [fx.StartFetch(high, "a")]
    assert not any(isinstance(effect, fx.KeepFork) for effect in machine.feed(ins.HeadSeen("b", high)))


def test_the_lower_release_of_a_fork_changes_nothing_but_is_proof(publisher: Publisher) -> None:
    machine = Machine("a")
    low, high = forked(publisher)
    machine.hold(high)
    assert machine.feed(ins.HeadSeen("a", low)) == [fx.KeepFork(high, low), fx.SendHead("a", high)]
    with pytest.raises(StaleRelease):
        machine.core.check(low)


def test_a_publisher_cannot_hand_in_another_release_of_the_heads_sequence(publisher: Publisher) -> None:
    machine = Machine()
    low, high = forked(publisher)
    machine.hold(low)
    with pytest.raises(StaleRelease):
        machine.core.check(high)
