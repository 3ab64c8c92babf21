"""Blocks of kept trees are given away as those of sites are: one by one past the gate."""

from __future__ import annotations

from node.bitswap.blocks import Blocks
from node.policy.model import CidPath, Rule
from node.store.port import TreeOrigin
from protocol.cid import Cid
from tests.conformance.store_kit import blocks, tree
from tests.unit.replication.kit import ring


async def test_blocks_of_a_tree_are_given_away_unless_refused() -> None:
    content = tree(blocks(1, 6))
    root, first, second, *_ = content
    async with ring(1) as (_, (node,)):
        given = Blocks(node.replicator.context)
        hold = node.store.begin_tree(root)
        node.store.put_blocks(hold, list(content.items()))
        assert await given.here(list(content)) == set()
        node.store.finish_tree(hold, origin=TreeOrigin.IMPORTED)
        old = Cid(root.multihash)
        assert await given.here([*content, old]) == {*content, old}
        assert await given.read([old], enough_bytes=1, max_bytes=10**6) == [(old, content[root])]
        node.set_rules(Rule(CidPath(first.multihash, "", False), "refuse", "policy", "no", 1))
        assert await given.here([first, second]) == {second}
        found = dict(await given.read([first, second], enough_bytes=10**6, max_bytes=10**6))
        assert found == {first: None, second: content[second]}
        node.set_rules(Rule(CidPath(root.multihash, "", False), "quarantine", "policy", "no", 1))
        assert await given.here(list(content)) == set()
