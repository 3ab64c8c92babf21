"""Refusing: at once, on every path in and out, over a restart, and undone without the network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.demo.nodes import DemoFailed, fednode
from protocol import messages as msg
from protocol.bundle import BundleReader
from protocol.cid import Cid
from protocol.messages import PUBLISH_PROTOCOL, SYNC_PROTOCOL
from protocol.release import SignedRelease
from protocol.site_id import SiteId
from tests.integration.daemons import DEADLINE_S, Daemon, Site, eventually, federation, sample_site
from tests.integration.peers import head_of, offered_heads, peer_of, say

pytestmark = [pytest.mark.integration]


@pytest.fixture(scope="module")
def daemons() -> Iterator[list[Daemon]]:
    with federation(2) as found:
        yield found


@pytest.fixture
def site(daemons: list[Daemon], tmp_path: Path) -> Site:
    """On both nodes."""
    made = sample_site(tmp_path)
    made.publish(daemons[0])
    made.wait_on(daemons[1])
    return made


def status_of(daemon: Daemon, site: Site, path: str = "/") -> int:
    return daemon.get(site.id, path).status


def wait_status(daemon: Daemon, site: Site, status: int, path: str = "/", deadline_s: float = 1.0) -> None:
    def check() -> None:
        assert status_of(daemon, site, path) == status

    eventually(check, deadline_s)


async def check_refused_to_peers(daemon: Daemon, site: Site, code: str, root: Cid, release: Cid) -> None:
    """Ask, exchange of heads, fetch, offer and publish."""
    site_id = SiteId.from_text(site.id)
    async with peer_of(daemon) as (network, peer):
        asked = await say(network, peer, SYNC_PROTOCOL, msg.Ask(site_id))
        assert isinstance(asked, msg.Refuse), asked
        assert asked.code == code
        assert site_id not in [signed.site for signed in await offered_heads(network, peer)]
        fetched = await say(network, peer, SYNC_PROTOCOL, msg.Fetch(site_id, release), msg.Want((root,)))
        assert isinstance(fetched, msg.Refuse), fetched


async def test_block_refuses_on_every_path_and_unblock_undoes_it(daemons: list[Daemon], site: Site) -> None:
    blocking, other = daemons
    async with peer_of(blocking) as (network, peer):
        head = await head_of(network, peer, site.id)
    assert head.release.root is not None
    fednode("block", site.id, "--reason", "not here", *blocking.at)
    wait_status(blocking, site, 410)
    body = blocking.get(site.id, "/").body.decode()
    assert "not here" in body
    for path in site.files():
        assert status_of(blocking, site, path) == 410
    await check_refused_to_peers(blocking, site, "quarantined", head.release.root, head.cid)
    with pytest.raises(DemoFailed, match="publish failed"):
        site.publish(blocking, "--force")
    site.check_on(other)

    blocking.stop()
    blocking.start()
    wait_status(blocking, site, 410)
    await check_refused_to_peers(blocking, site, "quarantined", head.release.root, head.cid)

    other.stop()
    fednode("unblock", site.id, *blocking.at)
    site.wait_on(blocking, 1.0)
    other.start()


async def test_a_refused_update_leaves_the_node_as_it_was(daemons: list[Daemon], site: Site) -> None:
    blocking, other = daemons
    fednode("block", site.id, *blocking.at)
    before = blocking.status()["store"]["used_bytes"]
    site.write("more.html", "an update that the other node takes")
    site.publish(other)
    site.check_on(other)
    with pytest.raises(DemoFailed):
        site.publish_to(blocking.address)
    assert blocking.status()["store"]["used_bytes"] == before
    fednode("unblock", site.id, *blocking.at)
    site.wait_on(blocking)


def test_a_legal_ground_answers_451_and_says_who_blocks(daemons: list[Daemon], site: Site) -> None:
    fednode("block", site.id, "--legal", "--reason", "court order 12/34", *daemons[0].at)
    wait_status(daemons[0], site, 451)
    fednode("unblock", site.id, *daemons[0].at)
    wait_status(daemons[0], site, 200)


def test_drop_deletes_the_blocks_and_unblock_fetches_them_again(daemons: list[Daemon], tmp_path: Path) -> None:
    site = sample_site(tmp_path)
    site.write("only here.bin", b"a" * 3_000_000)
    site.publish(daemons[0])
    site.wait_on(daemons[1])
    before = daemons[0].status()["store"]["used_bytes"]
    result = fednode("block", site.id, "--drop", "--yes", *daemons[0].at)
    assert result["freed_bytes"] > 1_000_000
    wait_status(daemons[0], site, 410)
    assert daemons[0].status()["store"]["used_bytes"] <= before - 1_000_000
    fednode("unblock", site.id, *daemons[0].at)
    site.wait_on(daemons[0])


def test_one_path_can_be_refused_by_its_cid(daemons: list[Daemon], site: Site) -> None:
    root = daemons[0].site(site.id)["held"]["root"]
    fednode("block", f"/ipfs/{root}/pages/1.html", *daemons[0].at)
    wait_status(daemons[0], site, 410, "/pages/1.html")
    assert status_of(daemons[0], site, "/pages/2.html") == 200
    fednode("unblock", f"/ipfs/{root}/pages/1.html", *daemons[0].at)
    wait_status(daemons[0], site, 200, "/pages/1.html")


def test_a_blocklist_takes_effect_when_its_file_changes(daemons: list[Daemon], site: Site, tmp_path: Path) -> None:
    deny = tmp_path / "list.deny"
    deny.write_text("# nothing yet\n")
    fednode("blocklist", "add", str(deny), *daemons[0].at)
    assert status_of(daemons[0], site) == 200
    replacement = tmp_path / "new.deny"
    replacement.write_text(f"/ipns/{site.id}\n")
    replacement.rename(deny)
    wait_status(daemons[0], site, 410, deadline_s=DEADLINE_S)
    fednode("blocklist", "remove", str(deny), *daemons[0].at)
    wait_status(daemons[0], site, 200)


async def test_blocks_of_a_refused_site_are_not_given_away_under_another_name(
    daemons: list[Daemon], site: Site, tmp_path: Path
) -> None:
    """A peer that fetches an allowed site may not ask it for the blocks of a refused one."""
    allowed = Site(tmp_path / "allowed")
    allowed.write("index.html", "allowed")
    allowed.publish(daemons[0])
    async with peer_of(daemons[0]) as (network, peer):
        head = await head_of(network, peer, allowed.id)
        secret = (await head_of(network, peer, site.id)).release.root
        assert secret is not None
        fednode("block", site.id, *daemons[0].at)
        answer = await say(
            network, peer, SYNC_PROTOCOL, msg.Fetch(SiteId.from_text(allowed.id), head.cid), msg.Want((secret,))
        )
        assert isinstance(answer, msg.Missing), answer
    fednode("unblock", site.id, *daemons[0].at)


@pytest.mark.parametrize(("mode", "code"), [("none", "not-hosting"), ("follow", "not-following")])
async def test_hosting_modes_refuse_strangers_and_take_the_operators_own(mode: str, code: str, tmp_path: Path) -> None:
    with federation(1, hosting_mode=mode) as (daemon,):
        stranger = sample_site(tmp_path / "stranger")
        with pytest.raises(DemoFailed):
            stranger.publish_to(daemon.address)
        async with peer_of(daemon) as (network, peer):
            # A probe with a real release that is offered but never sent.
            own = sample_site(tmp_path / "own")
            own.publish(daemon)
            own.check_on(daemon)
            probe = sample_site(tmp_path / "probe")
            bundle = tmp_path / "probe.car"
            fednode("bundle", str(probe.dir), "-o", str(bundle), "--key", str(probe.key))
            signed = _release_in(bundle)
            answer = await say(network, peer, PUBLISH_PROTOCOL, msg.Offer(signed))
            assert isinstance(answer, msg.Refuse)
            assert answer.code == code
        if mode == "follow":
            fednode("follow", stranger.id, *daemon.at)
            stranger.publish_to(daemon.address)
            stranger.check_on(daemon)


def test_a_full_quota_is_refused_and_the_rest_is_served(tmp_path: Path) -> None:
    with federation(1, hosting_quota_bytes="4 MiB") as (daemon,):
        small = sample_site(tmp_path / "small")
        small.publish(daemon)
        large = Site(tmp_path / "large")
        large.write("index.html", "large")
        large.write("large.bin", bytes(5_000_000))
        for index in range(6):
            large.write(f"{index}.bin", bytes([index]) * 1_000_000)
        with pytest.raises(DemoFailed, match="publish failed"):
            large.publish(daemon)
        assert daemon.status()["store"]["used_bytes"] <= 4 * 1024 * 1024
        small.check_on(daemon)
        assert daemon.get(large.id, "/").status == 404


def _release_in(bundle: Path) -> SignedRelease:
    reader = BundleReader()
    reader.feed(bundle.read_bytes())
    assert reader.release is not None
    return reader.release
