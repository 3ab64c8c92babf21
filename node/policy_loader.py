"""Builds the policy in force from stored rules, follows and settings, and swaps it into the gate."""

from __future__ import annotations

from collections.abc import Callable

import trio

from config import Config
from node.policy.decide import Policy
from node.policy.model import Hosting, HostingMode
from node.policy.rules import rules_of
from node.replication.gate import Gate
from node.store.port import Store


class PolicyLoader:
    """`reload` after every change of rules or follows; `on_change` is told afterwards."""

    def __init__(self, config: Config, store: Store) -> None:
        self._config = config
        self._store = store
        self._lock = trio.Lock()
        self.on_change: Callable[[], None] = lambda: None
        self.gate = Gate(self._build())

    @property
    def hosting(self) -> Hosting:
        """The hosting settings in force, follows by command included."""
        return self.gate.policy.hosting

    async def reload(self) -> None:
        """Reads everything anew; when this returns, every later question is answered by the new policy."""
        async with self._lock:
            self.gate.policy = await trio.to_thread.run_sync(self._build)
        self.on_change()

    def _build(self) -> Policy:
        settings = self._config.hosting
        modes: dict[str, HostingMode] = {"open": "open", "follow": "follow", "none": "none"}
        hosting = Hosting(
            mode=modes[settings.mode],
            follow=frozenset(settings.follow) | self._store.follows(),
            max_site_bytes=settings.max_site_bytes,
        )
        return Policy(rules_of(self._store.rules()), hosting)
