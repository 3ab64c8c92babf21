"""What of a walk is in the store already."""

from __future__ import annotations

from node.store.errors import BlockCorrupt, BlockMissing
from node.store.port import Hold, Store, TreeHold
from protocol.cid import Cid
from protocol.dag_walk import DagWalk


def link_known(store: Store, hold: Hold | TreeHold, cids: list[Cid], walk: DagWalk) -> list[Cid]:
    """References what is here, and goes on with the walk where inner nodes are; returns what is missing."""
    missing = store.link_blocks(hold, cids)
    lacking = set(missing)
    for cid in cids:
        if cid in lacking or DagWalk.is_leaf(cid):
            continue
        try:
            block = store.get_block(cid)
        except (BlockMissing, BlockCorrupt):
            missing.append(cid)
        else:
            walk.feed(cid, block)
    return missing
