"""Hosts of a site between real daemons: who proves it counts, who lies does not, and is not asked in earnest again.

What takes minutes (repair, letting go, partitions, a full disk) is in tests/large/test_federation_netns.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.daemons import Daemon, eventually, federation, sample_site
from tests.integration.netns_liar import running_liar

pytestmark = [pytest.mark.integration]
# An audit comes 15 to 45 s after a host is first heard of.
FOUND_OUT_S = 75.0


def test_hosts_prove_what_they_have_and_a_liar_counts_for_nobody(tmp_path: Path) -> None:
    site = sample_site(tmp_path)
    with federation(3) as daemons, running_liar("/ip4/127.0.0.1/tcp/0", [node.address for node in daemons]) as liar:
        eventually(lambda: knows(daemons[0], liar))
        site.publish(daemons[0], "--min-hosts", "3", "--max-hosts", "4")
        for daemon in daemons:
            site.wait_on(daemon)
        honest = {daemon.address.rpartition("/")[2] for daemon in daemons}
        for daemon in daemons:
            eventually(lambda daemon=daemon: counts_only(daemon, site.id, honest, liar), FOUND_OUT_S)  # type: ignore[misc]
            assert daemon.faults() == {"audit-failed": 1}


def knows(daemon: Daemon, peer: str) -> None:
    with daemon.admin() as client:
        assert peer in {member["peer"] for member in client.members()}


def counts_only(daemon: Daemon, site: str, honest: set[str], liar: str) -> None:
    """All honest hosts have proved the site, and the liar was asked in vain."""
    with daemon.admin() as client:
        hosts = {host["peer"]: host for host in client.resilience(site)["hosts"]}
    assert {peer for peer, host in hosts.items() if host["counts"]} == honest
    assert all(hosts[peer]["proved_s_ago"] is not None for peer in honest)
    assert hosts[liar]["why_not"] == "could not prove that it has the site"
