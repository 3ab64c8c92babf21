"""A real node with what an operator has to decide on, and the console of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from cli.demo.nodes import fednode
from tests.integration.daemons import Daemon, Site, federation

REPORTS = "/.well-known/fednode/reports"
EVIL = "<script>document.title='broken'</script><img src=x onerror=\"document.title='broken'\">\"'&\u202egnp.exe\u0007"


@dataclass(frozen=True)
class World:
    """sites: published here; the last one has a domain."""

    daemon: Daemon
    sites: list[Site]
    folder: Path

    def report(self, site: Site, category: str, why: str, **more: str) -> None:
        said = {"where": f"/ipns/{site.id}", "category": category, "why": why, **more}
        httpx.post(f"http://{self.daemon.gateway}{REPORTS}", json=said, trust_env=False).raise_for_status()

    def run(self, *arguments: str) -> dict[str, Any]:
        return fednode(*arguments, *self.daemon.at)

    def state(self, site: Site) -> str:
        return str(self.run("show", site.id)["state"])

    def open_cases(self) -> list[dict[str, Any]]:
        return list(self.run("reports", "list")["cases"])


@contextmanager
def world(folder: Path, count: int = 5) -> Iterator[World]:
    """Sites, reports in several categories, a list, a rule."""
    with federation(1, hosting_mode="open") as (daemon,):
        sites = []
        for number in range(count):
            site = Site(folder / str(number))
            site.write("index.html", f"<title>{number}</title><p>Site {number}")
            site.write("pictures/large.bin", bytes([number]) * 300_000 * (number + 1))
            options = ["--domain", "garden.example", "--domain", "www.garden.example"] if number == count - 1 else []
            site.publish(daemon, *options)
            sites.append(site)
        found = World(daemon, sites, folder)
        for number, category in enumerate(("malware", "copyright", "spam", "privacy")):
            found.report(sites[number], category, f"Report {number}: {EVIL}", contact=f"a{number}@example.org {EVIL}")
        found.report(sites[0], "malware", "It asks for passwords of a bank.\nSee the second page.", evidence=EVIL)
        yield found


@contextmanager
def console(at: list[str], *options: str) -> Iterator[str]:
    """`fednode console` of a node; the one-time address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", "console", "--json", *at, *options], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        said = ""
        while not said.rstrip().endswith("}"):
            line = process.stdout.readline()
            assert line, "the console ended"
            said += line
        yield str(json.loads(said)["url"])
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()
