"""What a node's watch over its lists does, one after the other."""

from __future__ import annotations

from node.policy.subscriptions import Subscriptions


def poll(lists: Subscriptions) -> bool:
    """One look at every source that is due; True when something changed."""
    changes = [lists.look(each.name) for each in lists.due()]
    return any([*changes, lists.end_sparing()])
