"""The band: kept through deaths, reboots, liars, refusals and departures, at the cost of what was lost and no more."""

import pytest

from protocol.release import Band, SignedRelease
from protocol.statement import Takes
from tests.simulation.town import Node, Town, release_of

BAND = Band(3, 5)
SITES = 12
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.large) for seed in range(1, 40))]


def town(seed: int, count: int = 14) -> tuple[Town, list[SignedRelease]]:
    made = Town(seed, count)
    releases = [release_of(number, BAND) for number in range(SITES)]
    for signed in releases:
        made.publish(made.rng.choice(list(made.nodes.values())), signed)
    made.run(1200)
    return made, releases


def sizes(made: Town, releases: list[SignedRelease]) -> list[int]:
    return [len(made.hosts(signed)) for signed in releases]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_new_site_gets_its_hosts_and_those_too_many_go(seed: int) -> None:
    made, releases = town(seed)
    assert all(size >= BAND.min_hosts for size in sizes(made, releases))
    made.run(2 * 3600)
    assert all(BAND.min_hosts <= size <= BAND.max_hosts for size in sizes(made, releases))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_reboot_moves_nothing(seed: int) -> None:
    made, releases = town(seed)
    made.run(2 * 3600)
    before = made.copied
    for node in list(made.nodes.values()):
        made.kill(node)
        made.run(made.grace_s / 3)
        made.start(node)
    made.run(3600)
    assert (made.copied, made.let_go) == (before, made.let_go)
    assert all(size >= BAND.min_hosts for size in sizes(made, releases))


@pytest.mark.parametrize("seed", SEEDS)
def test_what_dies_is_made_good_and_what_comes_back_is_too_much_nowhere(seed: int) -> None:
    made, releases = town(seed)
    made.run(2 * 3600)
    nodes = list(made.nodes.values())
    dead = nodes[:4]
    for node in dead:
        made.kill(node, disk_too=node is dead[0])
    lost = sum(max(0, BAND.min_hosts - size) for size in sizes(made, releases))
    survivors = [signed for signed in releases if made.hosts(signed)]
    before = made.copied
    made.run(made.grace_s + 900)
    assert all(size >= BAND.min_hosts for size in sizes(made, survivors))
    assert lost <= made.copied - before <= lost + 2, "copies that nobody needed"
    for node in dead:
        made.start(node)
    made.run(3 * 3600)
    assert all(BAND.min_hosts <= size <= BAND.max_hosts for size in sizes(made, survivors))


@pytest.mark.parametrize("seed", SEEDS)
def test_who_only_says_that_he_holds_everything_takes_no_copy(seed: int) -> None:
    made, releases = town(seed)
    for node in list(made.nodes.values())[:3]:
        liar(made, node)
    made.run(4 * 3600)
    assert all(len(made.hosts(signed)) >= BAND.min_hosts for signed in releases if made.hosts(signed))


def liar(made: Town, node: Node) -> None:
    node.held.clear()
    made.kill(node)
    node.claims_all = True
    made.start(node)


@pytest.mark.parametrize("seed", SEEDS)
def test_refusals_move_a_site_to_others(seed: int) -> None:
    made = Town(seed, 14)
    signed = release_of(1, BAND)
    nodes = list(made.nodes.values())
    for node in nodes[:9]:
        node.refuses.add(signed.site)
    made.publish(nodes[10], signed)
    made.run(3600)
    assert len(made.hosts(signed)) >= BAND.min_hosts


@pytest.mark.parametrize("seed", SEEDS)
def test_who_leaves_hands_over_first(seed: int) -> None:
    made, releases = town(seed)
    made.run(2 * 3600)
    node = made.hosts(releases[0])[0]
    node.takes = Takes.LEAVING
    assert node.keeping is not None
    node.keeping.leaving = True
    made.state(node)
    made.run(made.grace_s + 600)
    made.kill(node, disk_too=True)
    assert all(size >= BAND.min_hosts for size in sizes(made, releases))
