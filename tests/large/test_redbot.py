"""redbot, which knows HTTP's rules by heart, finds no fault with what the gateway answers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from cli.demo.nodes import fednode
from tests.integration.daemons import Daemon, Site, federation

pytestmark = [pytest.mark.large]

KINDS = [
    "html",
    "text",
    "listing",
    "redirect",
    "404",
    "410",
    "451",
    "400",
    "block",
    "car",
    "record",
    "front",
    "about",
    "report",
]
# Headers of a preflight in every answer: the official gateway cases ask for them.
LET_BE = {"CORS_PREFLIGHT_ONLY"}


@pytest.fixture(scope="module")
def redbot() -> str:
    program = os.environ.get("FEDNODE_REDBOT") or shutil.which("redbot")
    if program is None:
        pytest.skip("needs redbot: pip install redbot in a venv of its own, and FEDNODE_REDBOT=…/bin/redbot")
    return program


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Under the address, since redbot asks DNS for every name, localhost too."""
    with federation(1) as (daemon,):
        site, *refused = [made(daemon, tmp_path_factory.mktemp("site")) for _ in range(3)]
        fednode("block", refused[0].id, *daemon.at)
        fednode("block", refused[1].id, "--legal", *daemon.at)
        with urlopen(f"http://{daemon.gateway}/ipns/{site.id}/files/", timeout=60) as answer:
            root = answer.headers["X-Ipfs-Roots"].partition(",")[0]
        node, of = f"http://{daemon.gateway}", f"http://{daemon.gateway}/ipns/{site.id}"
        yield {
            "html": f"{of}/",
            "text": f"{of}/files/a.txt",
            "listing": f"{of}/files/",
            "redirect": f"{of}/files",
            "404": f"{of}/nowhere",
            "410": f"{node}/ipns/{refused[0].id}/",
            "451": f"{node}/ipns/{refused[1].id}/",
            "400": f"{node}/ipfs/nonsense",
            "block": f"{node}/ipfs/{root}?format=raw",
            "car": f"{node}/ipfs/{root}?format=car",
            "record": f"{of}?format=ipns-record",
            "front": f"{node}/",
            "about": f"{node}/.well-known/fednode",
            "report": f"{node}/.well-known/fednode/reports",
        }


def made(daemon: Daemon, folder: Path) -> Site:
    site = Site(folder)
    site.write("index.html", "<!doctype html><html lang=en><title>A page</title><p>" + "words " * 900)
    site.write("files/a.txt", "text " * 1000)
    site.publish(daemon)
    return site


@pytest.mark.parametrize("kind", KINDS)
def test_no_rule_of_http_is_broken(redbot: str, urls: dict[str, str], kind: str) -> None:
    done = subprocess.run([redbot, "-o", "har", urls[kind]], capture_output=True, text=True, timeout=120, check=True)
    entries = json.loads(done.stdout)["log"]["entries"]
    notes = [note for entry in entries for note in entry["_red_messages"]]
    assert notes, "it looked at something"
    assert [note for note in notes if note["level"] == "BAD" and note["note_id"] not in LET_BE] == []
    if kind.isdigit():
        assert entries[0]["response"]["status"] == int(kind)
    if kind in ("html", "text"):
        assert "RANGE_CORRECT" in {note["note_id"] for note in notes}
