"""The whole job between real processes: publish, replicate, catch up, update, end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli.demo.nodes import fednode
from tests.integration.daemons import Daemon, Site, daemon_folder, eventually, federation, sample_site

pytestmark = [pytest.mark.integration]


@pytest.fixture(scope="module")
def daemons() -> Iterator[list[Daemon]]:
    with federation(3) as found:
        yield found


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return sample_site(tmp_path)


def test_a_published_site_arrives_on_all_nodes(daemons: list[Daemon], site: Site) -> None:
    result = site.publish(daemons[0])
    assert result["seq"] == 1
    for daemon in daemons:
        site.wait_on(daemon)
        assert daemon.site(site.id)["held"]["root"] == result["root"]


def test_an_update_sends_only_changed_blocks(daemons: list[Daemon], site: Site) -> None:
    first = site.publish(daemons[0])
    site.wait_on(daemons[1])
    site.write("pages/1.html", "<p>changed</p>")
    second = site.publish(daemons[0])
    assert second["seq"] == 2
    assert second["root"] != first["root"]
    site.wait_on(daemons[1])
    node = second["nodes"][0]
    # The page, its folder and the root folder.
    assert node["new_blocks"] == 3, second


def test_a_node_that_was_away_catches_up(daemons: list[Daemon], site: Site) -> None:
    site.publish(daemons[0])
    site.wait_on(daemons[2])
    daemons[2].kill()
    site.write("late.html", "while you were away")
    site.publish(daemons[0])
    daemons[2].start()
    site.wait_on(daemons[2])


def test_a_new_node_gets_what_was_published_before(daemons: list[Daemon], site: Site) -> None:
    site.publish(daemons[0])
    with _joined(daemons[0]) as late:
        site.wait_on(late)


def test_publishing_straight_to_a_remote_node(daemons: list[Daemon], site: Site) -> None:
    result = site.publish_to(daemons[1].address, daemons[2].address)
    assert {node["state"] for node in result["nodes"]} <= {"accepted", "already"}
    for daemon in daemons:
        site.wait_on(daemon)


def test_unpublish_ends_the_site_everywhere(daemons: list[Daemon], site: Site) -> None:
    site.publish(daemons[0])
    for daemon in daemons:
        site.wait_on(daemon)
    fednode("unpublish", "--yes", "--key", str(site.key), *daemons[0].at)
    for daemon in daemons:
        eventually(lambda daemon=daemon: _assert_status(daemon, site, 410))  # type: ignore[misc]
        assert daemon.site(site.id)["state"] == "ended"


def test_a_bundle_made_offline_needs_no_key_to_be_published(daemons: list[Daemon], site: Site, tmp_path: Path) -> None:
    bundle = tmp_path / "site.car"
    fednode("bundle", str(site.dir), "-o", str(bundle), "--key", str(site.key))
    site.key.unlink()
    fednode("publish", str(bundle), *daemons[0].at)
    site.wait_on(daemons[1])


def _assert_status(daemon: Daemon, site: Site, status: int) -> None:
    assert daemon.get(site.id, "/").status == status


@contextmanager
def _joined(first: Daemon) -> Iterator[Daemon]:
    with daemon_folder() as folder:
        late = Daemon("late", folder, bootstrap=first.address)
        try:
            late.start()
            yield late
        finally:
            late.stop()
