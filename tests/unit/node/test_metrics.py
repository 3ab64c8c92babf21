"""Metrics: the format, and that docs/operators/monitoring.md names them all."""

from __future__ import annotations

import re
from pathlib import Path

import trio
from prometheus_client.parser import text_string_to_metric_families

from node.gateway.counters import AnswerCounters
from node.metrics import METRICS, render
from node.metrics_server import serve_metrics
from tests.unit.gateway.http_client import fetch

DOCS = (Path(__file__).parents[3] / "docs/operators/monitoring.md").read_text("utf-8")
STATUS = {
    "version": '1.0"x\\',
    "uptime_s": 5,
    "sites": {"hosted": 2, "fetching": 0, "ended": 0, "blocked": 1},
    "store": {
        "used_bytes": 10,
        "reserved_bytes": 0,
        "quota_bytes": 100,
        "cache_bytes": 1,
        "cache_quota_bytes": 50,
        "blocks": 3,
        "corrupt_blocks": 0,
    },
    "members": {
        "known": 5,
        "alive": 4,
        "sites_lacking_hosts": 1,
        "audits_proved": 9,
        "audits_failed": 1,
        "audits_silent": 2,
    },
    "ipfs": {
        "peers": 2,
        "sent_blocks": 5,
        "sent_bytes": 5000,
        "refused_blocks": 1,
        "received_blocks": 3,
        "received_bytes": 3000,
        "fetches": 1,
        "router_answers": 4,
        "router_failures": 0,
    },
    "network": {
        "state": "running",
        "restarts": 0,
        "peers": 1,
        "connections": 1,
        "refused_connections": 0,
        "handler_errors": 0,
    },
    "loop": {"passes": 9, "stalls": 1, "recent_worst_ms": 21.5},
    "blocklists": [{"error": None}, {"error": "gone"}],
    "reports": {"open": 4, "late": 2, "oldest_late_s": 7200},
    "gateway": {"workers": [{"state": "ready"}, {"state": "waiting"}]},
}


def rendered() -> str:
    counters = AnswerCounters()
    for status, latency_s in ((200, 0.0004), (206, 0.02), (404, 0.02), (503, 99.0)):
        counters.add(status, 100, latency_s)
    return render(STATUS, [{"requests": 4, "restarts": 1, **counters.as_flat()}, {}], {"bad-signature": 3})


def test_another_parser_reads_what_we_write() -> None:
    families = {family.name: family for family in text_string_to_metric_families(rendered())}
    assert {name.removesuffix("_total") for name in (metric.name for metric in METRICS)} == set(families)
    found = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families.values()
        for sample in family.samples
    }
    assert found["fednode_info", '1.0"x\\'] == 1
    assert found["fednode_sites", "hosted"] == 2
    assert found["fednode_http_answers_total", "0", "2xx"] == 2
    assert found["fednode_http_sent_bytes_total", "0"] == 400
    assert found["fednode_peer_faults_total", "bad-signature"] == 3
    assert found["fednode_blocklist_errors",] == 1
    assert found["fednode_loop_worst_seconds",] == 0.0215
    latency = families["fednode_http_latency_seconds"].samples
    buckets = {
        sample.labels["le"]: sample.value
        for sample in latency
        if sample.labels.get("worker") == "0" and "le" in sample.labels
    }
    assert (buckets["0.001"], buckets["0.01"], buckets["0.025"], buckets["30.0"], buckets["+Inf"]) == (1, 1, 3, 3, 4)
    assert found["fednode_http_latency_seconds_count", "0"] == 4


def test_every_metric_is_documented_and_no_other() -> None:
    assert re.findall(r"^\| `(fednode_\w+)`", DOCS, re.MULTILINE) == [metric.name for metric in METRICS]


async def test_over_http(nursery: trio.Nursery, unused_port: int) -> None:
    async def collect() -> str:
        return rendered()

    await nursery.start(serve_metrics, collect, [f"127.0.0.1:{unused_port}"])
    answer = await fetch(unused_port, "/metrics", "x")
    assert (answer.status, answer.text) == (200, rendered())
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert (await fetch(unused_port, "/", "x")).status == 404
    await nursery.start(serve_metrics, collect, [])
