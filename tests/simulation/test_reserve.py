"""Full nodes: what need not be taken leaves the reserve free, and repair has it when hosts die."""

import pytest

from node.core import effects as fx
from node.core.keeping import RESERVE_SHARE
from protocol.release import Band, SignedRelease
from tests.simulation.town import Node, Town, release_of

SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.large) for seed in range(1, 20))]
QUOTA_BYTES = 200
RESERVE_BYTES = RESERVE_SHARE * QUOTA_BYTES
BAND = Band(2, 8)
SITES = 28


class Tight(Town):
    """Every node has room for twenty sites, two of which are the reserve."""

    used_reserve = 0

    def note_room(self, node: Node) -> float:
        assert node.keeping is not None
        free_bytes = QUOTA_BYTES - sum(signed.release.size_bytes for signed in node.held.values())
        assert free_bytes >= 0, "more than the quota"
        node.keeping.room_bytes, node.keeping.reserve_bytes = free_bytes, RESERVE_BYTES
        node.keeping.pressed = free_bytes < RESERVE_BYTES
        return free_bytes

    def start(self, node: Node) -> None:
        super().start(node)
        self.note_room(node)

    def store(self, node: Node, signed: SignedRelease) -> None:
        super().store(node, signed)
        self.note_room(node)

    def carry_out(self, node: Node, effect: fx.Effect) -> None:
        super().carry_out(node, effect)
        self.note_room(node)

    def offer(self, giver: Node, taker: Node, signed: SignedRelease, *, wanted: bool) -> str:
        took_before = signed.site in taker.held
        answer = super().offer(giver, taker, signed, wanted=wanted)
        if signed.site in taker.held and not took_before:
            assert taker.keeping is not None
            order = [m.node for m in taker.keeping.members.orders.first(signed.site, BAND.min_hosts)]
            if self.note_room(taker) < RESERVE_BYTES:
                assert wanted or taker.key in order, "the reserve went to a copy that nobody needed"
                self.used_reserve += 1
        return answer


@pytest.mark.parametrize("seed", SEEDS)
def test_the_reserve_is_there_when_hosts_die(seed: int) -> None:
    town = Tight(seed, 12)
    releases = [release_of(number, BAND) for number in range(SITES)]
    for signed in releases:
        town.publish(max(town.nodes.values(), key=town.note_room), signed)
    town.run(3600)
    nodes = list(town.nodes.values())
    assert sum(len(node.held) for node in nodes) > 12 * 15, "the nodes were not nearly full"
    for node in nodes[:4]:
        town.kill(node, disk_too=True)
    survivors = [signed for signed in releases if town.hosts(signed)]
    town.run(3 * 3600)
    assert town.used_reserve
    assert all(len(town.hosts(signed)) >= BAND.min_hosts for signed in survivors)
