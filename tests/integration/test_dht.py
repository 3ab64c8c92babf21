"""Finding a host that nobody one is connected to has told of: through the Kademlia DHT."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.daemons import Daemon, daemon_folder, federation, sample_site

pytestmark = [pytest.mark.integration]


def test_a_host_is_found_through_a_node_that_knows_nothing_of_the_site(tmp_path: Path) -> None:
    site = sample_site(tmp_path)
    # The node in the middle hosts nothing and fetches nothing: it only takes part in the DHT.
    with federation(1, hosting_mode="none", gateway_fetch_on_miss="off") as (middle,), daemon_folder() as folder:
        host = Daemon("host", folder, bootstrap=middle.address)
        reader = Daemon("reader", folder, bootstrap=middle.address, hosting_mode="none", gateway_fetch_on_miss="all")
        try:
            host.start()
            site.publish(host)
            reader.start()
            site.wait_on(reader, 60.0)
            assert middle.get(site.id, "/").status == 404
        finally:
            reader.stop()
            host.stop()


def test_a_followed_site_is_found_and_kept(tmp_path: Path) -> None:
    site = sample_site(tmp_path)
    with federation(1, hosting_mode="none") as (middle,), daemon_folder() as folder:
        host = Daemon("host", folder, bootstrap=middle.address)
        follower = Daemon("follower", folder, bootstrap=middle.address, hosting_mode="follow", hosting_follow=site.id)
        try:
            host.start()
            site.publish(host)
            follower.start()
            site.wait_on(follower, 60.0)
            host.kill()
            site.check_on(follower)
        finally:
            follower.stop()
            host.stop()
