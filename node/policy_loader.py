"""Builds the policy in force from stored rules, follows and settings, swaps it into the gate, and logs the change."""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from config import Config, Paths
from node.decisions.files import LogFailed
from node.decisions.log import DecisionLog, ListState
from node.policy.decide import Policy
from node.policy.invitations import Invitations
from node.policy.list_files import ListFiles
from node.policy.model import Hosting, HostingMode, Rule
from node.policy.rules import read_target, rules_of
from node.replication.gate import Gate
from node.store.port import Store

LOG_RETRY_S = 30.0
_MODES: dict[str, HostingMode] = {
    "open": "open",
    "follow": "follow",
    "invite": "invite",
    "none": "none",
    "leaving": "none",
}

log = logging.getLogger(__name__)


class PolicyLoader:
    """`reload` after every change of rules or follows; `on_change` is told afterwards."""

    def __init__(
        self, config: Config, store: Store, decisions: DecisionLog, invitations: Invitations | None = None
    ) -> None:
        self._config = config
        self._store = store
        self._decisions = decisions
        self._invitations = invitations
        self._lists = ListFiles(Paths(config.data_dir).lists_dir)
        self._lock = trio.Lock()
        self.on_change: Callable[[], None] = lambda: None
        self.gate = Gate(self._build())

    @property
    def hosting(self) -> Hosting:
        """The hosting settings in force, follows by command included."""
        return self.gate.policy.hosting

    async def reload(self) -> list[int]:
        """Reads everything anew; the numbers of the log's new entries.

        When this returns, every later question is answered by the new policy, and the log says so. LogFailed: the new
        policy is in force, and the next call writes down what is missing.
        """
        async with self._lock:
            self.gate.policy = await trio.to_thread.run_sync(self._build)
            self.on_change()
            return await trio.to_thread.run_sync(self._settle)

    async def reload_alone(self) -> None:
        """The same where nobody waits for it: tried again until the log can be written."""
        while True:
            try:
                await self.reload()
            except LogFailed as error:
                log.error("%s; it is tried again", error)
                await trio.sleep(LOG_RETRY_S)
            else:
                return

    def _settle(self) -> list[int]:
        return self._decisions.settle(
            (row for row in self._store.rules() if row.list_name is None),
            [
                ListState(each.name, bytes.fromhex(each.current.digest), each.current.rule_count)
                for each in self._lists.catalog()
                if each.current.digest
            ],
            self.hosting.follow,
        )

    def _build(self) -> Policy:
        settings = self._config.hosting
        hosting = Hosting(
            mode=_MODES[settings.mode],
            follow=frozenset(settings.follow) | self._store.follows(),
            max_site_bytes=settings.max_site_bytes,
            invited=self._invitations.publishers() if self._invitations is not None else {},
            publisher_quota_bytes=settings.publisher_quota_bytes,
            media_types=settings.media_types,
            other_media_percent=settings.other_media_percent,
        )
        return Policy(rules_of(self._store.rules()) + self._named_by_settings(), hosting, self._lists.active())

    def _named_by_settings(self) -> list[Rule]:
        """The operator named these nodes, so that no list cuts them off; a rule of its own does."""
        reason = "network.bootstrap names it"
        return [Rule(read_target(f"/p2p/{peer}"), "allow", "policy", reason, 0) for peer in named_peers(self._config)]


def named_peers(config: Config) -> list[str]:
    """Those of `network.bootstrap`, in base58."""
    return [address.rpartition("/p2p/")[2] for address in config.network.bootstrap]
