"""Numbers for Prometheus: which there are, and their text format (version 0.0.4). Pure.

docs/operators/monitoring.md says what each means and from when on it alarms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal

from node.gateway.counters import LATENCY_BOUNDS_S

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Metric:
    """One name. text: one line."""

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    text: str


METRICS: tuple[Metric, ...] = (
    Metric("fednode_info", "gauge", "Always 1; the version is in its label."),
    Metric("fednode_uptime_seconds", "gauge", "Since the daemon started."),
    Metric("fednode_sites", "gauge", "Sites by state: hosted, fetching, ended, blocked, no_room."),
    Metric("fednode_store_bytes", "gauge", "Disk space by kind: used and reserved count against the quota."),
    Metric("fednode_store_quota_bytes", "gauge", "The bounds of it: for sites, and for the cache."),
    Metric("fednode_store_blocks", "gauge", "Blocks on disk."),
    Metric("fednode_store_damaged_blocks", "gauge", "Blocks on disk that are not what their CID says."),
    Metric("fednode_network_up", "gauge", "1 while the network between nodes runs."),
    Metric("fednode_network_restarts_total", "counter", "How often it had to be started again."),
    Metric("fednode_network_peers", "gauge", "Connected nodes."),
    Metric("fednode_network_connections", "gauge", "Connections to nodes."),
    Metric("fednode_network_refused_connections_total", "counter", "Connections over the limits."),
    Metric("fednode_network_handler_errors_total", "counter", "Streams that ended by a fault of this program."),
    Metric("fednode_bitswap_peers", "gauge", "IPFS peers with a stream open, or with something to get."),
    Metric("fednode_bitswap_fetches", "gauge", "Imports from the IPFS network under way."),
    Metric("fednode_bitswap_blocks_total", "counter", "Blocks by direction: sent, received."),
    Metric("fednode_bitswap_bytes_total", "counter", "Bytes of these."),
    Metric("fednode_bitswap_refused_blocks_total", "counter", "Blocks that peers wanted and that are not given here."),
    Metric("fednode_router_answers_total", "counter", "Questions to routers by outcome: answered, failed."),
    Metric("fednode_members", "gauge", "Nodes whose statements are known, by state: alive, silent."),
    Metric("fednode_sites_lacking_hosts", "gauge", "Hosted sites with fewer hosts than their publishers ask for."),
    Metric("fednode_audits_total", "counter", "Sites that others were to prove, by outcome: proved, failed, silent."),
    Metric("fednode_peer_faults_total", "counter", "What peers did wrong, by code."),
    Metric("fednode_loop_passes_total", "counter", "Passes of the daemon's event loop."),
    Metric("fednode_loop_stalls_total", "counter", "Passes that kept others waiting for more than 20 ms."),
    Metric("fednode_loop_worst_seconds", "gauge", "The longest pass of the last five minutes."),
    Metric(
        "fednode_blocklist_errors", "gauge", "Blocklists that cannot be read now, so that older rules are in force."
    ),
    Metric("fednode_reports_open", "gauge", "Cases of reports and appeals that wait for a decision."),
    Metric("fednode_reports_late", "gauge", "Those that wait for longer than their category should."),
    Metric("fednode_reports_oldest_late_seconds", "gauge", "For how long the one most overdue is late."),
    Metric("fednode_gateway_workers", "gauge", "Gateway workers that are ready."),
    Metric("fednode_gateway_worker_restarts_total", "counter", "How often a worker had to be started again."),
    Metric("fednode_http_connections", "gauge", "Readers' open connections."),
    Metric("fednode_http_rejected_connections_total", "counter", "Readers' connections over the limits."),
    Metric("fednode_http_limited_requests_total", "counter", "Requests that came too fast from one address."),
    Metric("fednode_http_requests_total", "counter", "Requests of readers."),
    Metric("fednode_http_answers_total", "counter", "Answers to readers by class of their status."),
    Metric("fednode_http_failures_total", "counter", "Requests that failed by a fault of this program."),
    Metric("fednode_http_sent_bytes_total", "counter", "Bytes sent to readers, heads included."),
    Metric("fednode_http_latency_seconds", "histogram", "From a request's head to the head of its answer."),
    Metric("fednode_block_cache_hits_total", "counter", "Blocks for readers that were in a worker's memory."),
    Metric("fednode_block_cache_misses_total", "counter", "Blocks for readers that were not."),
    Metric("fednode_block_fetches_total", "counter", "Blocks that readers waited for until another node gave them."),
)

_WORKER_COUNTS = {
    "fednode_gateway_worker_restarts_total": "restarts",
    "fednode_http_connections": "connections",
    "fednode_http_rejected_connections_total": "rejected",
    "fednode_http_limited_requests_total": "limited",
    "fednode_http_requests_total": "requests",
    "fednode_http_failures_total": "failed",
    "fednode_http_sent_bytes_total": "sent_bytes",
    "fednode_block_cache_hits_total": "cache_hits",
    "fednode_block_cache_misses_total": "cache_misses",
    "fednode_block_fetches_total": "fetches",
}

Samples = dict[str, list[str]]


def render(status: Mapping[str, Any], workers: Sequence[Mapping[str, int]], faults: Mapping[str, int]) -> str:
    """All of METRICS. status: the daemon's, as the admin API has it; workers: each one's counts; faults: by code."""
    samples: Samples = {metric.name: [] for metric in METRICS}
    _add_daemon(samples, status)
    for code, count in sorted(faults.items()):
        _add(samples, "fednode_peer_faults_total", count, code=code)
    for index, counts in enumerate(workers):
        _add_worker(samples, str(index), counts)
    lines = []
    for metric in METRICS:
        lines += [f"# HELP {metric.name} {metric.text}", f"# TYPE {metric.name} {metric.kind}", *samples[metric.name]]
    return "\n".join(lines) + "\n"


def _add_daemon(samples: Samples, status: Mapping[str, Any]) -> None:
    store, network, loop = status["store"], status["network"], status["loop"]
    _add(samples, "fednode_info", 1, version=status["version"])
    for state, count in status["sites"].items():
        _add(samples, "fednode_sites", count, state=state)
    for kind in ("used", "reserved", "cache"):
        _add(samples, "fednode_store_bytes", store[f"{kind}_bytes"], kind=kind)
    _add(samples, "fednode_store_quota_bytes", store["quota_bytes"], kind="sites")
    _add(samples, "fednode_store_quota_bytes", store["cache_quota_bytes"], kind="cache")
    members = status["members"]
    _add(samples, "fednode_members", members["alive"], state="alive")
    _add(samples, "fednode_members", members["known"] - members["alive"], state="silent")
    _add(samples, "fednode_sites_lacking_hosts", members["sites_lacking_hosts"])
    for outcome in ("proved", "failed", "silent"):
        _add(samples, "fednode_audits_total", members[f"audits_{outcome}"], outcome=outcome)
    ipfs, reports = status["ipfs"], status["reports"]
    for direction in ("sent", "received"):
        _add(samples, "fednode_bitswap_blocks_total", ipfs[f"{direction}_blocks"], direction=direction)
        _add(samples, "fednode_bitswap_bytes_total", ipfs[f"{direction}_bytes"], direction=direction)
    _add(samples, "fednode_router_answers_total", ipfs["router_answers"], outcome="answered")
    _add(samples, "fednode_router_answers_total", ipfs["router_failures"], outcome="failed")
    plain: dict[str, float] = {
        "fednode_bitswap_peers": ipfs["peers"],
        "fednode_bitswap_fetches": ipfs["fetches"],
        "fednode_bitswap_refused_blocks_total": ipfs["refused_blocks"],
        "fednode_uptime_seconds": status["uptime_s"],
        "fednode_store_blocks": store["blocks"],
        "fednode_store_damaged_blocks": store["corrupt_blocks"],
        "fednode_network_up": int(network["state"] == "running"),
        "fednode_network_restarts_total": network["restarts"],
        "fednode_network_peers": network["peers"],
        "fednode_network_connections": network["connections"],
        "fednode_network_refused_connections_total": network["refused_connections"],
        "fednode_network_handler_errors_total": network["handler_errors"],
        "fednode_loop_passes_total": loop["passes"],
        "fednode_loop_stalls_total": loop["stalls"],
        "fednode_loop_worst_seconds": loop["recent_worst_ms"] / 1000,
        "fednode_blocklist_errors": sum(entry["error"] is not None for entry in status["blocklists"]),
        "fednode_reports_open": reports["open"],
        "fednode_reports_late": reports["late"],
        "fednode_reports_oldest_late_seconds": reports["oldest_late_s"],
        "fednode_gateway_workers": sum(worker["state"] == "ready" for worker in status["gateway"]["workers"]),
    }
    for name, value in plain.items():
        _add(samples, name, value)


def _add_worker(samples: Samples, worker: str, counts: Mapping[str, int]) -> None:
    for name, count in _WORKER_COUNTS.items():
        _add(samples, name, counts.get(count, 0), worker=worker)
    for group in range(2, 6):
        value = counts.get(f"answers_{group}xx", 0)
        _add(samples, "fednode_http_answers_total", value, worker=worker, status=f"{group}xx")
    latencies = [counts.get(f"latency_{index}", 0) for index in range(len(LATENCY_BOUNDS_S) + 1)]
    bounds = [*map(str, LATENCY_BOUNDS_S), "+Inf"]
    for bound, total in zip(bounds, accumulate(latencies), strict=True):
        _add(samples, "fednode_http_latency_seconds", total, "_bucket", worker=worker, le=bound)
    _add(samples, "fednode_http_latency_seconds", counts.get("latency_us", 0) / 1e6, "_sum", worker=worker)
    _add(samples, "fednode_http_latency_seconds", sum(latencies), "_count", worker=worker)


def _add(samples: Samples, name: str, value: float, suffix: str = "", **labels: str) -> None:
    pairs = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    samples[name].append(f"{name}{suffix}{{{pairs}}} {value}" if pairs else f"{name}{suffix} {value}")


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
