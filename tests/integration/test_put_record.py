"""A record that a page of the web hands to one node leads the readers of another to what it names."""

from __future__ import annotations

import http.client
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cli.demo.nodes import Answer, fednode
from protocol import ipns
from protocol.site_id import SiteId
from tests.integration.daemons import Daemon, federation, sample_site

pytestmark = [pytest.mark.integration]
REQUEST_S = 60.0


def ask(daemon: Daemon, method: str, path: str, body: bytes | None = None) -> Answer:
    host, _, port = daemon.gateway.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=REQUEST_S)
    try:
        headers = {"Host": "127.0.0.1:1"} | ({"Content-Type": ipns.MEDIA_TYPE} if body else {})
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return Answer(answer.status, answer.read())
    finally:
        connection.close()


def test_a_record_is_taken_found_and_followed(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    name = SiteId.of(key)
    site = sample_site(tmp_path)
    with federation(2, network_join="public", hosting_mode="none", gateway_take_records="true") as (taker, reader):
        root = site.publish(taker)["root"]
        fednode("import", f"/ipfs/{root}", "--from", taker.address, *reader.at)
        until_s = int(time.time()) + 900
        record = ipns.create(key, value=f"/ipfs/{root}/pages".encode(), sequence=1, validity_s=until_s, ttl_s=60)
        assert ask(taker, "PUT", f"/routing/v1/ipns/{name}", record).status == 200
        assert ask(taker, "GET", f"/routing/v1/ipns/{name}").body == record
        other = SiteId.of(Ed25519PrivateKey.generate())
        assert ask(taker, "PUT", f"/routing/v1/ipns/{other}", record).status == 400
        assert ask(reader, "GET", f"/ipns/{name}/3.html") == Answer(200, b"<p>Page 3</p>")
