"""docs/spec/gateway.md states what sites may steer."""

from __future__ import annotations

import re
from pathlib import Path

from node.gateway import certificate_budget, dns, dns_cache, domains, node_answers
from node.gateway.encodings import SUFFIXES
from protocol import limits
from protocol.dnslink import RECURSION_MAX
from protocol.redirects import REDIRECTS, REWRITES
from protocol.site_headers import ALLOWED, SHARED_MAX_AGE_S

SPEC = (Path(__file__).parents[3] / "docs/spec/gateway.md").read_text("utf-8")


def section(number: int) -> str:
    return SPEC.partition(f"\n## {number}. ")[2].partition("\n## ")[0]


def test_redirects() -> None:
    said = {
        int(status) for row in re.findall(r"^\| ([0-9].*?) \|", section(8), re.M) for status in re.findall(r"\d+", row)
    }
    assert said == REDIRECTS | REWRITES
    assert f"at most {limits.REDIRECTS_MAX_BYTES // 1024} KiB" in section(8)


def test_headers() -> None:
    listed = section(9).partition("no others: ")[2].partition(".\n")[0]
    assert set(re.findall(r"`([^`]+)`", listed)) == set(ALLOWED.values())
    assert f"`s-maxage={SHARED_MAX_AGE_S}`" in section(9)
    assert f"at most {limits.SITE_HEADERS_VALUE_MAX_CHARS} characters" in section(9)
    assert f"all of one answer {limits.SITE_HEADERS_ANSWER_MAX_CHARS}" in section(9)
    assert f"the file {limits.SITE_HEADERS_MAX_BYTES // 1024} KiB" in section(9)


def test_precompressed_files() -> None:
    assert all(f"`{suffix}`" in section(10) for suffix in SUFFIXES.values())
    assert " before ".join(["br goes", *list(SUFFIXES)[1:]]) in section(10).replace("\n", " ")


def test_domains_and_the_node_itself() -> None:
    assert f"within {dns.ANSWER_S:.0f} s" in section(11)
    assert f"at least {dns_cache.TTL_MIN_S:.0f} s and at most {dns_cache.TTL_MAX_S // 3600:.0f} hour" in section(11)
    assert f"{dns_cache.ABSENT_S:.0f} s if it says nothing" in section(11).replace("\n", " ")
    assert f"nobody answers, for {dns_cache.FAILED_S:.0f} s" in section(11)
    assert dns_cache.STALE_S == 3600
    at_once = int(domains.STRANGE_PER_S * domains.STRANGE_BURST_S)
    assert f"{domains.STRANGE_PER_S} a second, {at_once} at once" in section(11).replace("\n", " ")
    assert f"{certificate_budget.NEW_PER_HOUR} new names an hour" in section(12).replace("\n", " ")
    assert f"{RECURSION_MAX} times at most" in section(11)
    assert f"good for {node_answers.SECURITY_VALID_DAYS} days" in section(12)
    for path in (node_answers.ABOUT, node_answers.TLS, node_answers.SECURITY, node_answers.ROBOTS):
        assert f"`{path}" in section(12)
