"""docs/spec/gateway.md states the limits that the code has."""

from __future__ import annotations

from pathlib import Path

from node.gateway.backend import BACKEND_MESSAGE_MAX_BYTES
from node.gateway.content_types import SNIFF_BYTES
from node.gateway.failures import CACHE_CONTROL, SANDBOX
from node.gateway.limits import LISTING_ENTRIES_MAX, PATH_SEGMENTS_MAX, SYMLINKS_MAX, FetchLimits, Limits

SPEC = (Path(__file__).parents[3] / "docs/spec/gateway.md").read_text()


def test_the_spec_states_the_limits() -> None:
    limits, fetch = Limits(), FetchLimits()
    burst = limits.address_requests_per_s * limits.address_burst_s
    for said in (
        f"| request line | {limits.request_line_max_bytes // 1024} KiB |",
        f"| request head | {limits.head_max_bytes // 1024} KiB, {limits.headers_max} headers |",
        f"| time for a head, from its first byte | {limits.head_s:.0f} s |",
        f"| idle between requests | {limits.idle_s:.0f} s |",
        f"| no progress while sending | {limits.stall_s:.0f} s |",
        f"| sending one answer | {limits.total_s:.0f} s, and its length",
        f"its length at {limits.slowest_bytes_per_s // 1024} KiB/s |",
        f"| connections | {limits.connections_max} |",
        f"| connections of an address | {limits.address_connections_max} |",
        f"| {limits.address_requests_per_s} a second, {burst:.0f} at once |",
        f"At most {limits.addresses_max} addresses",
        f"At most {limits.rejects_max} connections at a time are told so",
        f"serves on for {limits.alone_s:.0f} s what",
        f"once more, within {limits.retire_wait_s:.0f} s, finishes",
        f"answers on their way, within {limits.retire_answers_s:.0f} s",
        f"| names in a path | {PATH_SEGMENTS_MAX} |",
        f"| stopping | {limits.stop_grace_s:.0f} s for answers",
        f"up to {LISTING_ENTRIES_MAX} entries",
        f"at most {SYMLINKS_MAX} links",
        f"did not come in time ({fetch.first_byte_s:.0f} s)",
        f"at most {BACKEND_MESSAGE_MAX_BYTES})",
        f"first {SNIFF_BYTES} bytes",
        f"`{CACHE_CONTROL}`",
        f"`{SANDBOX}`",
    ):
        assert said in SPEC, said
