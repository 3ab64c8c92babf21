"""A reader asks a node for a site that it does not host."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.demo.nodes import fednode
from tests.integration.daemons import Daemon, daemon_folder, eventually, federation, sample_site

pytestmark = [pytest.mark.integration]


def test_a_site_hosted_elsewhere_is_fetched_verified_and_answered(tmp_path: Path) -> None:
    site = sample_site(tmp_path)
    with federation(1) as (host,), daemon_folder() as folder:
        # Full of nothing: it may host any site, and has room for none, so that every answer is fetched.
        reader = Daemon("reader", folder, bootstrap=host.address, hosting_quota_bytes="1 KiB")
        reader.start()
        try:
            site.publish(host)
            site.wait_on(reader)
            assert reader.status()["sites"]["hosted"] == 0
            assert reader.status()["store"]["used_bytes"] <= 1024
            site.write("index.html", "second release")
            site.publish(host)
            eventually(lambda: site.check_on(reader), 60.0)
            fednode("block", site.id, *reader.at)
            assert reader.get(site.id, "/").status == 410
            fednode("unblock", site.id, *reader.at)
            fednode("block", site.id, *host.at)
            assert host.get(site.id, "/").status == 410
        finally:
            reader.stop()


def test_switched_off_it_is_not_fetched(tmp_path: Path) -> None:
    site = sample_site(tmp_path)
    with federation(1) as (host,), daemon_folder() as folder:
        reader = Daemon("reader", folder, bootstrap=host.address, hosting_mode="none", gateway_fetch_on_miss="off")
        reader.start()
        try:
            site.publish(host)
            assert reader.get(site.id, "/").status == 404
        finally:
            reader.stop()
