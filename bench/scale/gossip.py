"""What statements cost when members change all the time: how many are made, and how they spread.

Real: `node.core.gossip` of every node, which says when a statement is due and to whom news goes. Modelled: connections
(each node dials eight others, at random), delays of 50 to 300 ms, and what changes. All nodes' statements are counted;
how a statement spreads is followed for a few, each by itself: they do not hinder each other.
"""

from __future__ import annotations

import argparse
import heapq
import random
import statistics
from dataclasses import dataclass

from node.core import gossip
from node.core.machine import RESYNC_S
from protocol.site_filter import SiteFilter
from protocol.site_id import SiteId
from protocol.summary import buckets_for

LOOK_S = 15.0
SPREAD_EVERY_S = 2.0
DIALS = 8
FOLLOWED = 5
DELAY_S = (0.05, 0.3)
# What a statement has beside its filter, as measured: addresses, keys, signature.
FRAME_BYTES = 350
HOURS = 2


@dataclass(frozen=True, slots=True)
class Spread:
    """messages: in all. reached: nodes that heard the statement before members were compared."""

    messages: int
    reached: int
    nearly_all_s: float
    """Until 90 % knew."""


def statements_a_s(rng: random.Random, nodes: int, every_s: float, *, members: int) -> float:
    """All nodes' statements in a second, over hours, when each takes or loses a site every `every_s` (on average).

    members: how many each thinks there are.
    """
    made = 0
    for _ in range(nodes):
        restating, changed = gossip.Restating(rng), False
        restating.made(-rng.random() * LOOK_S)
        now_s = rng.random() * LOOK_S
        while now_s < HOURS * 3600:
            changed = changed or rng.random() < LOOK_S / every_s
            if restating.due(now_s, members, urgent=False, changed=changed):
                restating.made(now_s)
                made, changed = made + 1, False
            now_s += LOOK_S
    return made / (HOURS * 3600)


def connections(rng: random.Random, nodes: int) -> list[list[int]]:
    peers: list[set[int]] = [set() for _ in range(nodes)]
    for node in range(nodes):
        for other in rng.sample(range(nodes), min(DIALS, nodes)):
            if other != node:
                peers[node].add(other)
                peers[other].add(node)
    return [sorted(found) for found in peers]


def spread(rng: random.Random, peers: list[list[int]]) -> Spread:
    """One statement, from a node drawn at random."""
    subject, messages = SiteId(rng.randbytes(32)), 0
    heard_s: dict[int, float] = {}
    news = [gossip.News(rng) for _ in peers]
    arriving = [(0.0, rng.randrange(len(peers)), -1)]
    telling: list[tuple[float, int]] = []
    while arriving or telling:
        if not telling or (arriving and arriving[0][0] <= telling[0][0]):
            now_s, node, sender = heapq.heappop(arriving)
            if node not in heard_s:
                heard_s[node] = now_s
                news[node].note(subject, str(sender) if sender >= 0 else None)
                heapq.heappush(telling, (now_s + rng.random() * SPREAD_EVERY_S, node))
            continue
        now_s, node = heapq.heappop(telling)
        for peer in news[node].take([str(number) for number in peers[node]]):
            messages += 1
            heapq.heappush(arriving, (now_s + rng.uniform(*DELAY_S), int(peer), node))
    times = sorted(heard_s.values())
    return Spread(messages, len(times), times[min(len(times) - 1, len(peers) * 9 // 10)])


def run(args: argparse.Namespace) -> dict[str, object]:
    """`--minutes`: how often each node takes or loses a site; `--sites`: how many it has."""
    rng = random.Random(args.seed)
    peers = connections(rng, args.nodes)
    followed = [spread(rng, peers) for _ in range(FOLLOWED)]
    size = len(SiteFilter.of([SiteId(rng.randbytes(32)) for _ in range(args.sites)])) + FRAME_BYTES
    each = statistics.mean(one.messages for one in followed) / args.nodes
    degree = statistics.mean(len(found) for found in peers)
    found: dict[str, object] = {
        "apart_s": gossip.apart_s(args.nodes),
        "reached_percent": round(100 * statistics.mean(one.reached for one in followed) / args.nodes, 1),
        "nearly_all_s": round(statistics.mean(one.nearly_all_s for one in followed), 1),
        "summaries_kbytes_a_s": round(2 * degree / RESYNC_S * 8 * buckets_for(args.nodes) / 1000, 2),
    }
    for name, members in (("unbounded", 0), ("bounded", args.nodes)):
        made = statements_a_s(rng, args.nodes, 60 * args.minutes, members=members)
        found[name] = {
            "statements_a_s": round(made, 3),
            "messages_a_node_and_s": round(made * each, 2),
            "kbytes_a_s": round(made * each * size / 1000, 1),
        }
    return found
