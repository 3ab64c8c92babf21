"""Kubo and Helia read fednode sites from any host, and find them, without knowing what fednode is."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.demo.nodes import fednode
from protocol.cid import RAW, Cid
from tests.integration.daemons import Daemon, Site, daemon_folder, eventually, federation, sample_site
from tests.integration.ipfs_clients import MISSING, ClientFailed, digests, helia, installed, kubo

pytestmark = [pytest.mark.large, pytest.mark.skipif(not installed(), reason=MISSING)]

PROTOCOLS = {"public": "/ipfs/kad/1.0.0", "lan": "/ipfs/lan/kad/1.0.0"}


def helia_files(address: str, root: str, *, timeout_ms: int = 60_000) -> dict[str, str]:
    found = helia("helia_p2p_fetch.mjs", address, root, timeout_ms=timeout_ms)
    return {line["path"].removeprefix("/"): line["sha256"] for line in found if "path" in line}


def varied_site(folder: Path) -> Site:
    """Files of no, one and several blocks, an empty folder's neighbour, and a folder that is a HAMT."""
    site = sample_site(folder)
    site.write("empty.txt", b"")
    site.write("three blocks.bin", bytes(range(251)) * 10_000)
    for number in range(3000):
        site.write(f"many/{'x' * 60}-{number}.txt", f"{number}")
    return site


@pytest.mark.parametrize("key", ["ed25519", "rsa"])
def test_kubo_pins_a_site_from_a_node_that_is_not_the_publishers(tmp_path: Path, key: str) -> None:
    site = varied_site(tmp_path)
    with federation(2) as (first, second), kubo(key=key) as client:
        root = site.publish(first)["root"]
        site.wait_on(second, 60.0)
        first.stop()
        client.do("connect", second.address)
        client.do("pin", root)
        client.do("get", root, tmp_path / "out")
        assert digests(tmp_path / "out") == digests(site.dir)


def test_helia_fetches_a_site_from_a_node_that_is_not_the_publishers(tmp_path: Path) -> None:
    site = sample_site(tmp_path)
    with federation(2) as (first, second):
        root = site.publish(first)["root"]
        site.wait_on(second)
        first.stop()
        assert helia_files(second.address, root) == digests(site.dir)


@pytest.mark.parametrize("what", ["site", "file"])
def test_a_client_gets_nothing_refused_from_one_node_and_all_of_it_from_another(tmp_path: Path, what: str) -> None:
    site = sample_site(tmp_path)
    with federation(2) as (first, second):
        root = site.publish(first)["root"]
        site.wait_on(second)
        page = str(Cid.of(RAW, (site.dir / "pages/3.html").read_bytes()))
        target, refused = {"site": (site.id, root), "file": (f"/ipfs/{page}", page)}[what]
        fednode("block", target, "--reason", "test", *second.at)
        with pytest.raises(ClientFailed, match=f"Failed to load block for {refused}"):
            helia_files(second.address, root, timeout_ms=4000)
        assert helia_files(first.address, root) == digests(site.dir)
        fednode("unblock", target, *second.at)
        assert helia_files(second.address, root) == digests(site.dir)


@pytest.mark.parametrize("join", ["public", "lan"])
def test_helia_finds_a_site_by_its_root_and_by_its_name(tmp_path: Path, join: str) -> None:
    site = sample_site(tmp_path)
    with federation(2, network_join=join, hosting_mode="none") as (publisher, other):
        root = site.publish(publisher)["root"]

        def find(what: str, name: str) -> list[dict[str, object]]:
            (found,) = helia("helia_dht_find.mjs", other.address, what, name, "--proto", PROTOCOLS[join])
            assert isinstance(found, list)
            return found

        provider = eventually(lambda: find("--find", root))[0]
        assert f"{provider['addrs'][0]}/p2p/{provider['id']}" == publisher.address  # type: ignore[index]
        assert eventually(lambda: find("--get-ipns", site.id))[0]["bytes"]


def test_kubo_finds_a_site_through_a_node_that_does_not_have_it(tmp_path: Path) -> None:
    site = sample_site(tmp_path)
    with federation(1, network_join="lan", hosting_mode="none") as (middle,), daemon_folder() as folder:
        host = Daemon("host", folder, bootstrap=middle.address, network_join="lan")
        try:
            host.start()
            root = site.publish(host)["root"]
            with kubo() as client, kubo(key="rsa") as other:
                other.do("connect", host.address)
                client.do("connect", middle.address)
                client.do("pin", root)
                client.do("get", root, tmp_path / "out")
                assert eventually(lambda: client.do("findpeer", other.peer)["addrs"])
        finally:
            host.stop()
    assert digests(tmp_path / "out") == digests(site.dir)
