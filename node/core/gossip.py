"""When a node states anew, and to whom it passes on what others state (docs/spec/membership.md, 2 and 10). Pure."""

import random
from collections.abc import Collection, Mapping

from node.core.inputs import PeerId
from protocol.site_id import SiteId

# A statement is valid for three times as long.
RENEW_S = 12 * 3600.0
# What has changed is stated so much later at the soonest, with all that changes meanwhile.
SOON_S = 15.0
# All members together make no more in the long run, however many they are and whatever changes: each reaches everybody.
STATEMENTS_A_S = 10.0
# Each news goes on to so many peers: enough to reach nearly everybody in a few steps, few enough to be cheap.
SPREAD_PEERS = 3
NEWS_MAX = 1000


def apart_s(members: int, soon_s: float = SOON_S) -> float:
    """How far apart a node's statements are at least, if all that has changed is what it holds."""
    return max(soon_s, members / STATEMENTS_A_S)


class Restating:
    """When the next statement is due. What few change seldom and others must know (where a node is, whether it still
    takes sites) is stated soon; which sites it holds, and its room, no more often than all members can be told of it.
    """

    def __init__(self, rng: random.Random, *, soon_s: float = SOON_S) -> None:
        self._rng = rng
        self._soon_s = soon_s
        self._made_s = float("-inf")
        self._renew_s = float("-inf")

    def made(self, now_s: float) -> None:
        """A statement has just been made."""
        self._made_s = now_s
        self._renew_s = now_s + RENEW_S * self._rng.uniform(0.75, 1.0)

    def due(self, now_s: float, members: int, *, urgent: bool, changed: bool) -> bool:
        """Whether to make one now. urgent, changed: something is not as it was last stated, of either kind."""
        if now_s >= self._renew_s:
            return True
        # A bit less than whole steps: who looks every `soon_s` shall not miss the step by a hair.
        wait_s = self._soon_s if urgent else apart_s(members, self._soon_s)
        return (urgent or changed) and now_s - self._made_s >= 0.9 * wait_s


class News:
    """Members with something new, and who told of it."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._senders: dict[SiteId, PeerId | None] = {}

    def note(self, node: SiteId, sender: PeerId | None) -> None:
        """sender: None for what this node says itself. What is too much is found when members are compared."""
        self._senders[node] = sender
        if len(self._senders) > NEWS_MAX:
            del self._senders[next(iter(self._senders))]

    def clear(self) -> None:
        self._senders.clear()

    def take(self, peers: Collection[PeerId]) -> Mapping[PeerId, list[SiteId]]:
        """What to tell which of the connected peers now; nothing of it is left after that."""
        if not self._senders:
            return {}
        news, self._senders = self._senders, {}
        chosen = self._rng.sample(list(peers), min(SPREAD_PEERS, len(peers)))
        told = {peer: [node for node, sender in news.items() if sender != peer] for peer in chosen}
        return {peer: nodes for peer, nodes in told.items() if nodes}
