"""The official cases of ipfs/gateway-conformance against a real daemon: `./dev conformance`, or by hand

    python -m tests.conformance.gateway_suite [--only REGEX] [-v]

The cases (as data) with their fixtures, and the driver that asks them, are not in this repository: FEDNODE_FIXTURES
names the folder that holds `fixtures/gateway` and `interop`; without it, `../shared` beside the checkout.
docs/spec/gateway.md, 13, has what the suite is, and what this gateway declines.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cli.demo.nodes import DemoFailed, fednode
from tests.integration.daemons import Daemon
from tests.unit.gateway.dns_server import DnsServer, dns_server

CHECKOUT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("FEDNODE_FIXTURES") or CHECKOUT.parent / "shared")
FIXTURES = SHARED / "fixtures" / "gateway"
DRIVER = SHARED / "interop" / "gw_cases.py"
EXPECTED = Path(__file__).with_name("gateway_expected.json")
SUBDOMAIN_HOST = "example.com"
RUN_S = 300


@dataclass(frozen=True)
class Case:
    """One case and how it went. verdict: pass, FAIL, or skip (the driver cannot ask it)."""

    name: str
    verdict: str
    why: tuple[str, ...]

    @property
    def group(self) -> str:
        return self.name.partition("/")[0]


def is_there() -> bool:
    """Whether the cases and the driver are on this machine."""
    return DRIVER.is_file() and (FIXTURES / "cases.jsonl").is_file()


@contextmanager
def gateway(folder: Path) -> Iterator[Daemon]:
    """A daemon that has the suite's trees and names, imported as an operator does, and its domains in DNS."""
    linked = json.loads((FIXTURES / "dnslinks.json").read_text())["domains"]
    with dns_server() as dns:
        _link(dns, linked)
        settings = {
            "gateway_domains": f"{SUBDOMAIN_HOST},localhost",
            "gateway_dns_servers": dns.address,
            "gateway_tree_domains": ",".join(linked),
            "gateway_trusted_proxies": "127.0.0.1",
            "gateway_address_requests_per_s": "0",
        }
        daemon = Daemon("conformance", folder, **settings)
        try:
            daemon.start()
            _load(daemon)
            yield daemon
        finally:
            daemon.stop()


def _link(dns: DnsServer, linked: dict[str, str]) -> None:
    for name, target in linked.items():
        dns.txt[f"_dnslink.{name}"] = [f"dnslink={target}"]


def _load(daemon: Daemon) -> None:
    fednode("import", str(FIXTURES / "fixtures.car"), "--partial", *daemon.at)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(partial(_load_record, daemon), sorted(FIXTURES.glob("*.ipns-record"))))


def _load_record(daemon: Daemon, record: Path) -> None:
    # The suite has records that must not be taken: with broken signatures, or of version 1 alone.
    with suppress(DemoFailed):
        fednode("import", str(record), "--name", record.name.partition("_")[0], *daemon.at)


def run(daemon: Daemon, *, only: str = "") -> list[Case]:
    """Asks every case whose name fits."""
    port = daemon.gateway.rpartition(":")[2]
    asked, out = daemon.data_dir / "asked.jsonl", daemon.data_dir / "cases.json"
    with (FIXTURES / "cases.jsonl").open() as lines:
        asked.write_text("".join(json.dumps(_direct(json.loads(line))) + "\n" for line in lines))
    command = [sys.executable, str(DRIVER), str(asked), f"http://127.0.0.1:{port}"]
    command += ["--sub", f"http://{SUBDOMAIN_HOST}:{port}", "--json", str(out)]
    subprocess.run(
        [*command, "--only", only] if only else command, stdout=subprocess.DEVNULL, timeout=RUN_S, check=False
    )
    return [_case(row) for row in json.loads(out.read_text())]


def _direct(case: dict[str, Any]) -> dict[str, Any]:
    """Where the gateway is the reader's HTTP proxy, the request has an absolute URL, which the driver can send as well.

    Tunnels (CONNECT) are left to it: it skips them.
    """
    for request in case["requests"]:
        if request.get("proxy") and request["path"].startswith("http://"):
            del request["proxy"]
    return case


def _case(row: dict[str, object]) -> Case:
    why = row["why"]
    return Case(
        f"{row['test']}/{row['name']}", str(row["verdict"]), tuple(map(str, why)) if isinstance(why, list) else ()
    )


def expected() -> dict[str, str]:
    """The cases that this gateway does not pass, and why."""
    found: dict[str, str] = json.loads(EXPECTED.read_text())
    return found


def surprises(cases: list[Case], known: dict[str, str]) -> list[str]:
    """What went otherwise than the list of expected failures says."""
    names = {case.name for case in cases}
    lost = [f"not asked any more: {name}" for name in known if name not in names]
    failed = [
        f"fails: {case.name}: {'; '.join(case.why)[:300]}"
        for case in cases
        if case.verdict != "pass" and case.name not in known
    ]
    passed = [f"passes now: {case.name}" for case in cases if case.verdict == "pass" and case.name in known]
    return failed + passed + lost


def table(cases: list[Case]) -> str:
    """How many of each group passed."""
    total, passed = Counter(case.group for case in cases), Counter(c.group for c in cases if c.verdict == "pass")
    rows = [f"{group:48} {passed[group]:4} of {count:4}" for group, count in total.items()]
    return "\n".join([*rows, f"{'together':48} {sum(passed.values()):4} of {len(cases):4}"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="REGEX", help="cases whose name it is found in")
    parser.add_argument("-v", action="store_true", help="show every failure, expected ones too")
    options = parser.parse_args()
    if not is_there():
        sys.stderr.write(f"error: there are no cases in {FIXTURES}, or no driver {DRIVER}\n")
        sys.stderr.write("hint: FEDNODE_FIXTURES names the folder that has both\n")
        return 2
    with tempfile.TemporaryDirectory(prefix="fednode-conformance-") as folder, gateway(Path(folder)) as daemon:
        cases = run(daemon, only=options.only)
    known = expected()
    write = sys.stdout.write
    write(table(cases) + "\n")
    for case in cases:
        if options.v and case.verdict != "pass":
            write(f"{case.verdict} {case.name}: {'; '.join(case.why)[:600]}\n")
    found = surprises(cases, {} if options.only else known)
    write("\n".join([*found, ""]) if found else "as expected\n")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
