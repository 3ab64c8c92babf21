"""What the policy in force is made of: the settings, the operator's rules, lists, invitations."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from config import Config, Paths
from config.schema import HostingSettings, NetworkSettings
from node.decisions.log import DecisionLog
from node.policy.invitations import Invitations
from node.policy.model import Rule
from node.policy.rules import read_target, row_of
from node.policy.subscriptions import Subscriptions
from node.policy_loader import PolicyLoader
from node.store.memory import MemoryStore
from protocol.site_id import SiteId

NAMED = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5"
OTHER = "12D3KooWJWoaqZhDaoEFshF7Rh1bpY9ohihFhzcW6d69Lr2NASuq"
SITE = SiteId(b"\x09" * 32)


class World:
    """A node's rules and lists, without the node."""

    def __init__(self, folder: Path) -> None:
        bootstrap = (f"/ip4/192.0.2.1/tcp/4101/p2p/{NAMED}",)
        self.config = Config(
            data_dir=folder,
            network=NetworkSettings(bootstrap=bootstrap),
            hosting=HostingSettings(mode="invite", publisher_quota_bytes=7, media_types=("text/*",)),
        )
        paths = Paths(folder)
        self.store = MemoryStore(quota_bytes=10**9)
        self.invitations = Invitations(paths.invitations, now_s=lambda: int(time.time()))
        key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
        self.log = DecisionLog(paths.decisions, key, now_s=lambda: int(time.time()))
        self.lists = Subscriptions(self.store, paths.lists_dir, now_s=lambda: int(time.time()))
        self.loader = PolicyLoader(self.config, self.store, self.log, self.invitations)

    def deals_with(self, peer: str) -> bool:
        return self.loader.gate.may_deal_with(peer).allowed


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    found = World(tmp_path)
    yield found
    found.invitations.close()
    found.log.close()


async def test_no_list_cuts_off_a_node_that_the_settings_name(world: World, tmp_path: Path) -> None:
    deny = tmp_path / "peers.deny"
    deny.write_text(f"/p2p/{NAMED}\n/p2p/{OTHER}\n")
    world.lists.add(deny)
    await world.loader.reload()
    assert (world.deals_with(NAMED), world.deals_with(OTHER)) == (True, False)
    world.store.add_rules([row_of(Rule(read_target(f"/p2p/{NAMED}"), "refuse", "policy", "enough", 1))])
    await world.loader.reload()
    assert not world.deals_with(NAMED), "the operator does"


async def test_what_was_invited_is_invited_after_the_next_reload(world: World) -> None:
    _, secret = world.invitations.issue(note="", until_s=2**40, sites_max=1, quota_bytes=None)
    assert world.loader.hosting.invited == {}
    world.invitations.redeem(secret, SITE)
    await world.loader.reload()
    assert set(world.loader.hosting.invited) == {SITE}
    hosting = world.loader.hosting
    assert (hosting.mode, hosting.publisher_quota_bytes, hosting.media_types) == ("invite", 7, ("text/*",))
