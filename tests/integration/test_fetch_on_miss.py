"""A reader asks a node for a site that it does not host."""

from __future__ import annotations

import http.client
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
import trio

from cli.demo.nodes import fednode
from node.replication.drawing import STALL_S
from protocol.builder import CHUNK_BYTES
from tests.integration.daemons import Daemon, daemon_folder, eventually, federation, sample_site
from tests.integration.loopback import DEADLINE_S, on_loopback
from tests.unit.gateway.dns_server import dns_server
from tests.unit.replication.hosts import Host
from tests.unit.replication.kit import TreeSite

pytestmark = [pytest.mark.integration]


def test_a_site_hosted_elsewhere_is_fetched_verified_and_answered(tmp_path: Path) -> None:
    site = sample_site(tmp_path)
    with federation(1) as (host,), daemon_folder() as folder, dns_server() as dns:
        # Full of nothing: it may host any site, and has room for none, so that every answer is fetched.
        quota = {"hosting_quota_bytes": "1 KiB", "gateway_dns_servers": dns.address}
        reader = Daemon("reader", folder, bootstrap=host.address, **quota)
        reader.start()
        try:
            dns.txt["_dnslink.blog.example.org"] = [f"dnslink=/ipns/{site.id}"]
            site.publish(host, "--domain", "blog.example.org")
            site.wait_on(reader)
            home = site.files()["/index.html"]
            assert reader.get("blog.example.org", "/").body == home
            tls = "/.well-known/fednode/tls?domain="
            with urlopen(f"http://{reader.gateway}{tls}blog.example.org", timeout=DEADLINE_S) as answer:
                assert answer.read() == b"yes\n"
            with pytest.raises(HTTPError, match="404") as caught:
                urlopen(f"http://{reader.gateway}{tls}other.example.org", timeout=DEADLINE_S)
            caught.value.close()
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


@asynccontextmanager
async def reader_of(*hosts: Host, **settings: str) -> AsyncIterator[Daemon]:
    """A daemon that hosts nothing and is connected with all of the hosts."""
    wanted = {"hosting_mode": "none", "gateway_fetch_on_miss": "all"} | settings
    with daemon_folder() as folder:
        daemon = Daemon("reader", folder, **wanted)
        await trio.to_thread.run_sync(daemon.start)
        try:
            async with trio.open_nursery() as nursery:
                for host in hosts:
                    await nursery.start(keep_connected, host, daemon.address)
                yield daemon
                nursery.cancel_scope.cancel()
        finally:
            await trio.to_thread.run_sync(daemon.stop)


async def keep_connected(
    host: Host, address: str, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    async with on_loopback(host) as network:
        await network.connect(address, deadline_s=DEADLINE_S)
        task_status.started()
        await trio.sleep_forever()


class Download:
    """A GET that goes on in a thread. `first` is set with the first byte; `content` is None if the answer was cut."""

    def __init__(self, daemon: Daemon, site: TreeSite, path: str) -> None:
        self.first = trio.Event()
        self.content: bytes | None = None
        self._daemon, self._site, self._path = daemon, site, path

    async def run(self) -> None:
        token = trio.lowlevel.current_trio_token()
        await trio.to_thread.run_sync(self._get, token)

    def _get(self, token: trio.lowlevel.TrioToken) -> None:
        host, _, port = self._daemon.gateway.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=DEADLINE_S)
        try:
            name = f"{self._site.signed.site}.ipns.localhost:{port}"
            connection.request("GET", self._path, headers={"Host": name})
            response = connection.getresponse()
            begin = response.read(1)
            token.run_sync_soon(self.first.set)
            self.content = begin + response.read()
        except (OSError, http.client.HTTPException):
            self.content = None
        finally:
            connection.close()


def big(blocks: int) -> bytes:
    return random.Random(blocks).randbytes(blocks * CHUNK_BYTES)


async def test_the_first_byte_of_a_large_file_comes_long_before_the_last() -> None:
    content = big(64)
    host = Host(TreeSite({"big.bin": content}), stall_after=32)
    async with reader_of(host) as daemon, trio.open_nursery() as nursery:
        download = Download(daemon, host.site, "/big.bin")
        nursery.start_soon(download.run)
        with trio.fail_after(STALL_S - 2):
            await download.first.wait()
        host.go_on.set()
    assert download.content == content


async def test_readers_of_one_file_cost_one_fetch() -> None:
    content = big(12)
    host = Host(TreeSite({"big.bin": content}), pace_s=0.02)
    async with reader_of(host, gateway_workers="2") as daemon:
        downloads = [Download(daemon, host.site, "/big.bin") for _ in range(4)]
        async with trio.open_nursery() as nursery:
            for download in downloads:
                nursery.start_soon(download.run)
    assert [download.content == content for download in downloads] == [True] * 4
    assert sorted(host.sent) == sorted(host.site.blocks)


async def test_a_host_that_stalls_does_not_keep_the_reader_waiting() -> None:
    content = big(12)
    site = TreeSite({"big.bin": content})
    hosts = [Host(site, stall_after=4), Host(site, pace_s=0.01)]
    async with reader_of(*hosts) as daemon:
        download = Download(daemon, site, "/big.bin")
        with trio.fail_after(STALL_S - 2):
            await download.run()
    assert download.content == content


async def test_the_cache_stays_within_its_quota() -> None:
    files = {f"{number}.bin": random.Random(number).randbytes(4 * CHUNK_BYTES) for number in range(6)}
    host = Host(TreeSite(files))
    async with reader_of(host, gateway_cache_bytes="12 MiB") as daemon:
        for name, content in files.items():
            answer = await trio.to_thread.run_sync(daemon.get, str(host.site.signed.site), f"/{name}")
            assert (answer.status, answer.body) == (200, content)
            store = (await trio.to_thread.run_sync(daemon.status))["store"]
            assert store["cache_bytes"] <= store["cache_quota_bytes"] == 12 * CHUNK_BYTES
        before = len(host.sent)
        answer = await trio.to_thread.run_sync(daemon.get, str(host.site.signed.site), "/5.bin")
        assert answer.body == files["5.bin"]
        assert len(host.sent) == before, "what came last is still there"
        answer = await trio.to_thread.run_sync(daemon.get, str(host.site.signed.site), "/0.bin")
        assert answer.body == files["0.bin"]
        assert len(host.sent) > before, "what came first had to go"


async def test_a_refusal_in_mid_fetch_cuts_the_answer_and_the_fetch() -> None:
    host = Host(TreeSite({"big.bin": big(64)}), pace_s=0.1)
    async with reader_of(host) as daemon:
        async with trio.open_nursery() as nursery:
            download = Download(daemon, host.site, "/big.bin")
            nursery.start_soon(download.run)
            await download.first.wait()
            site = str(host.site.signed.site)
            await trio.to_thread.run_sync(lambda: fednode("block", site, *daemon.at))
        assert download.content is None
        kept, before = await cached_bytes(daemon), -1
        while kept != before:  # what was on its way may still come
            await trio.sleep(0.5)  # in which five more would have come
            kept, before = await cached_bytes(daemon), kept
        assert len(host.sent) < len(host.site.blocks)
        assert (await trio.to_thread.run_sync(daemon.get, site, "/big.bin")).status == 410


async def cached_bytes(daemon: Daemon) -> int:
    return int((await trio.to_thread.run_sync(daemon.status))["store"]["cache_bytes"])


@pytest.mark.large
async def test_a_reader_of_a_site_whose_hosts_are_silent_is_told_in_time() -> None:
    site = TreeSite({"index.html": b"home"})
    async with reader_of(Host(site, stall_after=0), Host(site, stall_after=0)) as daemon:
        with trio.fail_after(30.0):
            host, _, port = daemon.gateway.rpartition(":")
            connection = http.client.HTTPConnection(host, int(port), timeout=60)
            connection.request("GET", "/", headers={"Host": f"{site.signed.site}.ipns.localhost:{port}"})
            response = await trio.to_thread.run_sync(connection.getresponse)
            page = response.read().decode()
            connection.close()
    assert response.status == 504
    assert "in time" in page
