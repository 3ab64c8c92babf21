"""Ring A: the core under faults from one seed: first safety while all goes wrong, then healing and convergence.

Repeat one seed with: FEDNODE_SEED=17 ./dev pytest tests/simulation
"""

import os
import random

import pytest

from node.core import inputs as ins
from tests.simulation.world import Publisher, SimNode, World

SEEDS = [int(os.environ["FEDNODE_SEED"])] if "FEDNODE_SEED" in os.environ else list(range(50))
CHAOS_S = 300.0
# Longest wait of any timer in the core (RESYNC_S, RETRY_MAX_S) with its spread, and time for several hops.
HEAL_S = 2000.0


def up_nodes(world: World) -> list[SimNode]:
    return [node for node in world.nodes.values() if node.core is not None]


def disturb(world: World, rng: random.Random, publishers: list[Publisher]) -> None:
    """One random event: something is published, dies, comes back, is cut off, blocked, replayed or filled up."""
    node = rng.choice(list(world.nodes.values()))
    publisher = rng.choice(publishers)
    site = publisher.site
    match rng.choice(
        ["publish", "publish", "crash", "start", "cut", "mend", "block", "unblock", "replay", "full", "end"]
    ):
        case "publish" if node.core is not None and site not in node.disk.blocked and not ended(publisher):
            node.store(publisher.publish())
        case "end" if node.core is not None and site in node.disk.held and rng.random() < 0.1 and not ended(publisher):
            node.store(publisher.publish(ended=True))
        case "crash" if node.core is not None and len(up_nodes(world)) > 1:
            node.crash()
        case "start" if node.core is None:
            node.start()
        case "cut":
            world.partition({name: rng.randrange(2) for name in world.nodes})
        case "mend":
            world.partition(dict.fromkeys(world.nodes, 0))
        case "block":
            node.disk.blocked.add(site)
            node.feed(ins.PolicyChanged())
        case "unblock":
            node.disk.blocked.discard(site)
            node.feed(ins.PolicyChanged())
        case "replay" if publisher.releases:
            node.feed(ins.HeadSeen("liar", rng.choice(publisher.releases)))
        case "full":
            node.disk.full = not node.disk.full
        case _:
            pass


def ended(publisher: Publisher) -> bool:
    return bool(publisher.releases) and publisher.releases[-1].release.ended


def heal(world: World) -> None:
    world.drop = 0.0
    world.partition(dict.fromkeys(world.nodes, 0))
    for node in world.nodes.values():
        node.disk.full = False
        if node.core is None:
            node.start()


@pytest.mark.parametrize("seed", SEEDS)
def test_willing_nodes_converge_on_the_newest_release_that_survived(seed: int) -> None:
    rng = random.Random(seed)
    world = World(seed, nodes=rng.randint(2, 9))
    publishers = [Publisher(1 + i) for i in range(rng.randint(1, 4))]
    world.drop = rng.choice([0.0, 0.1, 0.4])
    while world.now_s < CHAOS_S:
        disturb(world, rng, publishers)
        world.run(world.now_s + rng.expovariate(0.5))
    heal(world)
    world.run(world.now_s + HEAL_S)
    for publisher in publishers:
        check_converged(world, publisher, seed)


def check_converged(world: World, publisher: Publisher, seed: int) -> None:
    """Every willing node holds the best release that any willing node can give away."""
    willing = [n for n in world.nodes.values() if publisher.site not in n.disk.blocked]
    again = f"seed {seed}: FEDNODE_SEED={seed}"
    known = [n.disk.heads[publisher.site] for n in willing if publisher.site in n.disk.heads]
    ends = [head for head in known if head.release.ended]
    if ends:
        touched = [n for n in willing if publisher.site in n.disk.heads]
        assert all(n.disk.heads[publisher.site].release.ended for n in touched), again
        return
    held = [n.disk.held[publisher.site] for n in willing if publisher.site in n.disk.held]
    if held:
        best = max(held, key=lambda signed: signed.seq)
        for node in willing:
            got = node.disk.held.get(publisher.site)
            assert got is not None, f"{node.name} has nothing, {again}"
            assert got.seq == best.seq, f"{node.name} holds {got.seq}, best is {best.seq}, {again}"


def test_the_same_seed_gives_the_same_history() -> None:
    def history() -> list[tuple[str, int]]:
        rng = random.Random(99)
        world = World(99, nodes=5)
        publishers = [Publisher(1), Publisher(2)]
        for _ in range(60):
            disturb(world, rng, publishers)
            world.run(world.now_s + 1.0)
        return [(n.name, signed.seq) for n in world.nodes.values() for signed in n.disk.heads.values()]

    assert history() == history()
