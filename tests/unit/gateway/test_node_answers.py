"""What the node says of itself to readers and to machines."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio.testing

from tests.unit.gateway.nodes import Node, new_key, running_node


async def test_about(tmp_path: Path) -> None:
    settings = {"node_name": "n", "contact": "ops@example.org", "policy_url": "https://example.org/policy"}
    more = {"hosting_mode": "follow", "peer_id": "12D3", "addresses": ("/ip4/1.2.3.4/tcp/1/p2p/12D3",)}
    async with running_node(tmp_path, **settings, **more) as node:
        site, _ = node.publish(new_key(), {"a": b""})
        node.publish(new_key(), {"a": b""})
        node.block(site)
        answer = await node.ask("GET", "localhost", "/.well-known/fednode")
    assert answer.headers["content-type"] == "application/json"
    about = json.loads(answer.text)
    assert about.pop("software")["name"] == "fednode"
    assert about == {
        "name": "n",
        "contact": "ops@example.org",
        "policy": "https://example.org/policy",
        "hosting": "follow",
        "lists": [],
        "peer_id": "12D3",
        "addresses": ["/ip4/1.2.3.4/tcp/1/p2p/12D3"],
        "sites": 1,
    }


async def test_security_txt(tmp_path: Path) -> None:
    async with running_node(tmp_path, contact="ops@example.org", policy_url="https://example.org/p") as node:
        answer = await node.ask("GET", "localhost", "/.well-known/security.txt")
    lines = dict(line.split(": ", 1) for line in answer.text.splitlines())
    assert (lines["Contact"], lines["Policy"]) == ("mailto:ops@example.org", "https://example.org/p")
    expires = datetime.strptime(lines["Expires"], "%Y-%m-%dT%H:%M:%S%z")
    assert timedelta(days=30) < expires - datetime.now(UTC) < timedelta(days=366)


async def test_no_contact_no_security_txt(tmp_path: Path) -> None:
    async with running_node(tmp_path) as node:
        assert (await node.ask("GET", "localhost", "/.well-known/security.txt")).status == 404


async def test_robots_and_the_sites_own_files(node: Node) -> None:
    assert "Disallow: /ipns/" in (await node.ask("GET", "localhost", "/robots.txt")).text
    site, _ = node.publish(new_key(), {"robots.txt": b"mine", "a": b""})
    assert (await node.get(site, "/robots.txt")).body == b"mine"
    assert (await node.get(site, "/.well-known/fednode")).status == 404


@pytest.mark.parametrize("on", [False, True])
async def test_access_log(tmp_path: Path, caplog: pytest.LogCaptureFixture, on: bool) -> None:
    caplog.set_level(logging.INFO, "node.gateway.access_log")
    async with running_node(tmp_path, access_log=on) as node:
        site, _ = node.publish(new_key(), {"index.html": b"x"})
        await node.get(site, "/?q=secret", Referer="http://secret/", User_Agent="secret", Cookie="secret")
        await trio.testing.wait_all_tasks_blocked()  # counted once it is sent
        records = [record for record in caplog.records if record.name == "node.gateway.access_log"]
        assert len(records) == on
        for record in records:
            assert record.getMessage().startswith(f"GET {site}.ipns.localhost:{node.port}/ 200 ")
            assert not any(word in repr(vars(record)) for word in ("secret", "127.0.0.1"))


async def test_answers_are_counted(node: Node) -> None:
    site, _ = node.publish(new_key(), {"index.html": b"x" * 1000})
    for target in ("/", "/", "/none"):
        await node.get(site, target)
    await trio.testing.wait_all_tasks_blocked()
    counts = node.server.counters.as_flat()
    assert (counts["answers_2xx"], counts["answers_4xx"], counts["answers_5xx"]) == (2, 1, 0)
    assert sum(counts[name] for name in counts if name.startswith("latency_") and name != "latency_us") == 3
    assert counts["sent_bytes"] > 2000
    assert node.app.counts()["cache_hits"] >= 1
