"""Nodes that no bootstrap node and no DHT helps: one finds the others by a release, another by DNS."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.daemons import Daemon, federation, sample_site
from tests.unit.gateway.dns_server import dns_server

pytestmark = [pytest.mark.integration]
SEED = "seed.example.org"


def test_a_host_is_found_by_the_release_that_names_it_and_by_a_name_in_dns(tmp_path: Path) -> None:
    site = sample_site(tmp_path)
    with federation(1, network_dht="false") as (named,), dns_server() as server:
        server.txt[f"_dnsaddr.{SEED}"] = [f"dnsaddr={named.address}"]
        alone = Daemon("alone", tmp_path, network_dht="false")
        seeded = Daemon(
            "seeded", tmp_path, network_dht="false", network_dns_seeds=SEED, gateway_dns_servers=server.address
        )
        try:
            for daemon in (alone, seeded):
                daemon.start()
            assert alone.status()["network"]["peers"] == 0
            site.publish(alone, "--host", named.address)
            assert alone.site(site.id)["head"]["hosts"] == [named.address]
            for daemon in (named, seeded):
                site.wait_on(daemon, 60.0)
        finally:
            seeded.stop()
            alone.stop()
