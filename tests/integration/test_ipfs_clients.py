"""Kubo, Helia and go-libp2p read what fednode serves, and fednode what they have, without knowing what fednode is.

Those that take longest, or show what another shows nearly, are large: the rest of this file is to stay below 90 s.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from cli.demo.nodes import DemoFailed, fednode
from protocol.cid import RAW, Cid
from tests.integration.daemons import Daemon, Site, daemon_folder, eventually, federation, sample_site
from tests.integration.go_libp2p import GoNode
from tests.integration.ipfs_clients import MISSING, P2PD, ClientFailed, digests, helia, installed, kubo

pytestmark = [pytest.mark.integration, pytest.mark.skipif(not installed(), reason=MISSING)]

PROTOCOLS = {"public": "/ipfs/kad/1.0.0", "lan": "/ipfs/lan/kad/1.0.0"}


def varied_site(folder: Path) -> Site:
    """Files of no, one and several blocks, an empty folder's neighbour, and a folder that is a HAMT."""
    site = sample_site(folder)
    site.write("empty.txt", b"")
    site.write("three blocks.bin", bytes(range(251)) * 10_000)
    for number in range(3000):
        site.write(f"many/{'x' * 60}-{number}.txt", f"{number}")
    return site


def foreign_tree(folder: Path) -> Path:
    """A folder for others to add: a file of many small chunks, and names in several scripts."""
    tree = folder / "tree"
    for number in range(40):
        path = tree / f"pages/страница {number}.html".replace(" ", "-")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"<p>{number}")
    (tree / "large.bin").write_bytes(bytes(range(253)) * 12_000)
    return tree


@pytest.mark.parametrize("key", ["ed25519", pytest.param("rsa", marks=pytest.mark.large)])
def test_kubo_pins_a_site_from_a_node_that_is_not_the_publishers(tmp_path: Path, key: str) -> None:
    site = varied_site(tmp_path) if key == "rsa" else sample_site(tmp_path)
    with federation(2) as (first, second), kubo(key=key) as client:
        root = site.publish(first)["root"]
        site.wait_on(second, 60.0)
        first.stop()
        client.do("connect", second.address)
        client.do("pin", root)
        client.do("get", root, tmp_path / "out")
        assert digests(tmp_path / "out") == digests(site.dir)


def test_helia_reads_a_site_from_any_node_and_nothing_that_the_node_refuses(tmp_path: Path) -> None:
    site = sample_site(tmp_path)
    with federation(2) as (first, second):
        root = site.publish(first)["root"]
        site.wait_on(second)
        page = str(Cid.of(RAW, (site.dir / "pages/3.html").read_bytes()))
        for target, refused in ((site.id, root), (f"/ipfs/{page}", page)):
            fednode("block", target, "--reason", "test", *second.at)
            with helia(deadline_s=3) as client:
                client.do("connect", second.address)
                with pytest.raises(ClientFailed, match=f"Failed to load block for {refused}"):
                    client.do("files", root)
            fednode("unblock", target, *second.at)
        first.stop()
        with helia() as client:
            assert client.do("connect", second.address) == {"encryption": "/noise", "muxer": "/yamux/1.0.0"}
            assert client.do("files", root) == digests(site.dir)


@pytest.mark.parametrize("join", ["public", pytest.param("lan", marks=pytest.mark.large)])
def test_helia_finds_a_site_by_its_root_and_by_its_name(tmp_path: Path, join: str) -> None:
    site = sample_site(tmp_path)
    with federation(2, network_join=join, hosting_mode="none") as (publisher, other):
        root = site.publish(publisher)["root"]
        with helia(dht=PROTOCOLS[join]) as client:
            client.do("connect", other.address)

            def look() -> None:
                found = client.do("providers", root)
                assert found is not None
                assert f"{found['addresses'][0]}/p2p/{found['id']}" == publisher.address
                assert client.do("get-ipns", site.id) == f"/ipfs/{root}"

            eventually(look)


@pytest.mark.large
def test_helia_resolves_our_record_through_a_dht_server_of_go_libp2p(tmp_path: Path) -> None:
    site = sample_site(tmp_path)
    with (
        daemon_folder() as folder,
        GoNode(P2PD, folder, dht_server=True) as middle,
        federation(1, network_join="public", network_bootstrap=middle.address) as (host,),
        helia(dht=PROTOCOLS["public"]) as client,
    ):
        root = site.publish(host)["root"]
        client.do("connect", middle.address)

        def look() -> None:
            assert client.do("get-ipns", site.id) == f"/ipfs/{root}"

        eventually(look)


@pytest.mark.large
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
                assert eventually(lambda: client.do("findpeer", other.peer))
        finally:
            host.stop()
    assert digests(tmp_path / "out") == digests(site.dir)


@contextmanager
def flipping_proxy(daemon: Daemon) -> Iterator[str]:
    """URL of a gateway that hands on what the daemon says, one bit of each block another one."""
    host, _, port = daemon.gateway.rpartition(":")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not self.path.startswith("/ipfs/"):  # it knows of no honest gateway
                self.send_error(404)
                return
            with closing(HTTPConnection(host, int(port))) as upstream:
                upstream.request("GET", self.path, headers={"Accept": self.headers["Accept"]})
                answer = upstream.getresponse()
                body = bytearray(answer.read())
            if "format=raw" in self.path:
                body[-1] ^= 1
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers["Content-Type"])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with suppress(ConnectionError):  # the reader has seen enough
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Not on the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_verified_fetch_reads_a_site_by_http_alone_and_takes_no_damaged_block(tmp_path: Path) -> None:
    site = sample_site(tmp_path)
    large = hashlib.sha256((site.dir / "large.bin").read_bytes()).hexdigest()
    with federation(1) as (host,):
        root = site.publish(host)["root"]
        url = f"http://127.0.0.1:{host.gateway.rpartition(':')[2]}"
        with helia(deadline_s=8) as client, flipping_proxy(host) as liar:
            for name in (f"ipfs://{root}/large.bin", f"ipns://{site.id}/large.bin"):
                assert client.do("verified", url, name) == {"status": 200, "sha256": large}
            with pytest.raises(ClientFailed):
                client.do("verified", liar, f"ipfs://{root}/large.bin")


def test_a_block_that_is_damaged_on_disk_is_sent_to_nobody(tmp_path: Path) -> None:
    site = sample_site(tmp_path)
    page = (site.dir / "pages/3.html").read_bytes()
    with federation(1) as (host,):
        root = site.publish(host)["root"]
        host.stop()
        flip(host.data_dir / "store", page)
        host.start()
        with helia(deadline_s=3) as client:
            client.do("connect", host.address)
            with pytest.raises(ClientFailed, match=str(Cid.of(RAW, page))):
                client.do("files", root)


def flip(store: Path, block: bytes) -> None:
    """One bit of the block, wherever in the store's packs it is."""
    for pack in store.rglob("*.car"):
        raw = bytearray(pack.read_bytes())
        at = raw.find(block)
        if at >= 0:
            raw[at] ^= 1
            pack.write_bytes(raw)
            return
    raise AssertionError("no pack has the block")


@pytest.mark.parametrize("maker", [pytest.param("kubo ed25519", marks=pytest.mark.large), "kubo rsa", "helia"])
def test_a_tree_of_others_is_imported_and_served(tmp_path: Path, maker: str) -> None:
    tree = foreign_tree(tmp_path)
    with federation(1) as (host,):
        with helia() if maker == "helia" else kubo(key=maker.split()[1]) as client:
            root = client.do("serve" if maker == "helia" else "add", tree)
            found = fednode("import", f"/ipfs/{root}", "--from", client.address, *host.at)
            assert (found["state"], found["received_bytes"]) == ("done", found["size_bytes"])
        again = fednode("import", f"/ipfs/{root}", *host.at)
        assert (again["state"], again["received_blocks"]) == ("done", 0)
        with helia() as reader:
            reader.do("connect", host.address)
            assert reader.do("files", root) == digests(tree)


def test_a_name_of_js_ipns_is_resolved_through_the_dht_and_imported(tmp_path: Path) -> None:
    tree = foreign_tree(tmp_path)
    with federation(1, network_join="public") as (host,), helia(dht=PROTOCOLS["public"]) as client:
        root = client.do("serve", tree)
        name = client.do("make-ipns", tmp_path / "record", f"/ipfs/{root}")
        client.do("connect", host.address)
        client.do("put-ipns", name, tmp_path / "record")
        found = fednode("import", f"/ipns/{name}", "--from", client.address, *host.at)
        assert (found["state"], found["root"]) == ("done", root)


def test_a_name_is_resolved_through_a_router(tmp_path: Path) -> None:
    site = sample_site(tmp_path)
    with federation(1) as (router,), daemon_folder() as folder:
        root = site.publish(router)["root"]
        url = f"http://127.0.0.1:{router.gateway.rpartition(':')[2]}"
        guest = Daemon("guest", folder, hosting_mode="none", network_routers=url)
        try:
            guest.start()
            found = fednode("import", f"/ipns/{site.id}", *guest.at)
            assert (found["state"], found["root"]) == ("done", root)
            with pytest.raises(DemoFailed):
                fednode("import", "/ipns/k51qzi5uqu5dgutdk6i1ynyzgkqngpha5xpgia3a5qqp4jsh0u4csozksxel2r", *guest.at)
        finally:
            guest.stop()


def page(daemon: Daemon, path: str) -> tuple[int, bytes]:
    """Status and body of what a reader asks for by path."""
    host, _, port = daemon.gateway.rpartition(":")
    with closing(HTTPConnection(host, int(port), timeout=60)) as reader:
        reader.request("GET", path)
        answer = reader.getresponse()
        return answer.status, answer.read()


@pytest.mark.parametrize("key", ["rsa", pytest.param("ed25519", marks=pytest.mark.large)])
def test_readers_get_a_tree_of_kubo_that_was_never_imported(tmp_path: Path, key: str) -> None:
    tree = foreign_tree(tmp_path)
    with kubo(key=key) as client, daemon_folder() as folder, helia(dht=PROTOCOLS["lan"]) as publisher:
        root = client.do("add", tree)
        name = publisher.do("make-ipns", tmp_path / "record", f"/ipfs/{root}", key)
        publisher.do("connect", client.address)
        publisher.do("put-ipns", name, tmp_path / "record")
        settings = {"network_join": "lan", "hosting_mode": "none", "gateway_fetch_on_miss": "all"}
        host = Daemon("host", folder, bootstrap=client.address, **settings)
        host.start()
        try:
            for path in sorted(path for path in tree.rglob("*") if path.is_file()):
                at = quote(path.relative_to(tree).as_posix())
                for place in (f"/ipns/{name}/{at}", f"/ipfs/{root}/{at}"):
                    assert page(host, place) == (200, path.read_bytes())
            store = host.status()["store"]
            assert (store["used_bytes"], store["cache_bytes"] > 3_000_000) == (0, True)
            fednode("block", f"/ipns/{name}", *host.at)
            assert page(host, f"/ipns/{name}/large.bin")[0] == 410
            assert page(host, f"/ipfs/{root}/large.bin")[0] == 200
            fednode("block", f"/ipfs/{root}", *host.at)
            assert page(host, f"/ipfs/{root}/large.bin")[0] == 410
        finally:
            host.stop()
