"""Whom hosts ask when others are gone: those that may answer first, and those that are known to be silent seldom."""

import pytest

from node.core import effects as fx
from node.core.repair import SILENT_S
from protocol.release import Band
from protocol.site_filter import SiteFilter
from protocol.site_id import SiteId
from protocol.statement import SignedStatement, Statement, Takes
from tests.simulation.town import WALL_S, Node, Town, release_of

SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.large) for seed in range(1, 20))]
SITES = 24


class Counting(Town):
    """Counts the asks of nodes that are not there."""

    in_vain = 0

    def carry_out(self, node: Node, effect: fx.Effect) -> None:
        if isinstance(effect, fx.AskToHost):
            target = self.nodes.get(effect.node)
            self.in_vain += target is None or not self.reach(node, target)
        super().carry_out(node, effect)


def town(seed: int, count: int, band: Band) -> Counting:
    made = Counting(seed, count)
    for number in range(SITES):
        made.publish(made.rng.choice(list(made.nodes.values())), release_of(number, band))
    made.run(2 * 3600)
    return made


@pytest.mark.parametrize("seed", SEEDS)
def test_when_most_nodes_are_gone_the_others_are_asked(seed: int) -> None:
    band = Band(6, 8)
    made = town(seed, 40, band)
    for node in list(made.nodes.values())[:25]:
        made.kill(node)
    lost = sum(max(0, band.min_hosts - len(made.hosts(release_of(number, band)))) for number in range(SITES))
    before, made.in_vain = made.asked, 0
    made.run(3 * 3600)
    left = [release_of(number, band) for number in range(SITES)]
    assert all(len(made.hosts(signed)) >= band.min_hosts for signed in left if made.hosts(signed))
    # 12,000 asks of a tree in which whoever came first was asked first, nearly all of them in vain.
    assert made.asked - before < 4 * lost + 400
    assert made.in_vain < 15 * 25


@pytest.mark.parametrize("seed", SEEDS)
def test_members_that_are_nowhere_do_not_stand_in_the_way(seed: int) -> None:
    """Two hundred in as many networks, with more room than anybody: they come before all others in every order."""
    band = Band(3, 5)
    made = town(seed, 14, band)
    for number in range(200):
        key, made_s = SiteId(made.rng.randbytes(32)), WALL_S + int(made.now_s)
        signed = SignedStatement(Statement(key, made_s, (), Takes.OPEN, 2**50, 0, SiteFilter.of([])), bytes(64))
        for node in made.nodes.values():
            assert node.keeping is not None
            node.keeping.heard(made.now_s, WALL_S + made.now_s, signed, f"network {number}")
    for node in list(made.nodes.values())[:5]:
        made.kill(node, disk_too=True)
    survivors = [release_of(number, band) for number in range(SITES) if made.hosts(release_of(number, band))]
    made.run(4 * 3600)
    assert all(len(made.hosts(signed)) >= band.min_hosts for signed in survivors)


def test_who_is_back_is_asked_within_minutes() -> None:
    """However long it was silent."""
    band = Band(3, 5)
    made = town(0, 4, band)
    gone = list(made.nodes.values())[:2]
    for node in gone:
        made.kill(node, disk_too=True)
    survivors = [release_of(number, band) for number in range(SITES) if made.hosts(release_of(number, band))]
    made.run(5 * 3600)
    for node in gone:
        made.start(node)
    made.run(SILENT_S + 60)
    assert survivors
    assert all(len(made.hosts(signed)) >= band.min_hosts for signed in survivors)
