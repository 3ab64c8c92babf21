"""What a reader sees in a browser, through a node that is not the publisher's."""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.demo.nodes import fednode
from cli.demo.scenario import SAMPLE
from tests.browser.chromium import dump_dom, screenshot
from tests.integration.daemons import Daemon, Site, federation

pytestmark = [pytest.mark.integration, pytest.mark.browser]

# Where a person can look at the pictures after a run.
PICTURES = Path(os.environ.get("FEDNODE_PICTURES", "/tmp/fednode-pictures"))  # noqa: S108 - pictures of tests


@pytest.fixture(scope="module")
def daemons() -> Iterator[list[Daemon]]:
    with federation(2) as found:
        yield found


@pytest.fixture(scope="module")
def pictures() -> Path:
    PICTURES.mkdir(parents=True, exist_ok=True)
    return PICTURES


@pytest.fixture
def sample(daemons: list[Daemon], tmp_path: Path) -> Site:
    site = Site(tmp_path)
    shutil.copytree(SAMPLE, site.dir, dirs_exist_ok=True)
    site.publish(daemons[0])
    site.wait_on(daemons[1])
    return site


PROBE = """<!doctype html><title>probe</title><link rel=stylesheet href=style.css>
<img id=picture src="b%C3%BCld.svg"><p id=result>waiting</p><script>
addEventListener("load", async () => {
  const told = [];
  told.push(getComputedStyle(document.querySelector("#result")).color);
  told.push(document.querySelector("#picture").naturalWidth);
  told.push((await (await fetch("data.json")).json()).answer);
  told.push((await fetch("missing.html")).status);
  const part = await fetch("data.json", {headers: {Range: "bytes=0-3"}});
  told.push(part.status + ":" + (await part.text()).length);
  localStorage.setItem("mark", "set by " + location.host);
  told.push(localStorage.length);
  document.querySelector("#result").textContent = told.join("|");
});</script>"""


def test_styles_images_scripts_and_ranges_work_from_another_node(daemons: list[Daemon], tmp_path: Path) -> None:
    site = Site(tmp_path / "one")
    site.write("index.html", PROBE)
    site.write("style.css", "#result { color: rgb(1, 2, 3) }")
    site.write("büld.svg", '<svg xmlns="http://www.w3.org/2000/svg" width="37" height="10"></svg>')
    site.write("data.json", '{"answer": 42}')
    site.publish(daemons[0])
    site.wait_on(daemons[1])
    page = dump_dom(daemons[1].url(site.id), tmp_path / "profile")
    assert "rgb(1, 2, 3)|37|42|404|206:4|1" in page


def test_two_sites_do_not_share_storage(daemons: list[Daemon], tmp_path: Path) -> None:
    seen = []
    for name in ("one", "two"):
        site = Site(tmp_path / name)
        site.write(
            "index.html",
            "<p id=n></p><script>localStorage.setItem(Math.random(), 1);"
            "document.querySelector('#n').textContent = 'items:' + localStorage.length</script>",
        )
        site.publish(daemons[0])
        seen.append(dump_dom(daemons[0].url(site.id), tmp_path / "one profile for both"))
    assert all("items:1" in page for page in seen), seen


def test_the_sample_site_looks_like_a_site(daemons: list[Daemon], sample: Site, tmp_path: Path, pictures: Path) -> None:
    picture = screenshot(daemons[1].url(sample.id), tmp_path / "profile", pictures / "sample.png")
    assert colours(picture) > 200
    assert "One light can go out" in dump_dom(daemons[1].url(sample.id), tmp_path / "profile")


def test_a_refused_site_and_a_missing_page_explain_themselves(
    daemons: list[Daemon], sample: Site, tmp_path: Path, pictures: Path
) -> None:
    profile = tmp_path / "profile"
    fednode("block", sample.id, "--reason", "a reason to be read", *daemons[1].at)
    url = daemons[1].url(sample.id)
    screenshot(url, profile, pictures / "refused.png")
    screenshot(url, profile, pictures / "refused-phone.png", width=390, height=700)
    assert "a reason to be read" in dump_dom(url, profile)
    fednode("unblock", sample.id, *daemons[1].at)
    screenshot(url + "nowhere/", profile, pictures / "missing.png")


def colours(png: bytes) -> int:
    """How many different bytes the picture's rows are made of: a blank page has a handful."""
    data = b"".join(body for kind, body in _chunks(png) if kind == b"IDAT")
    return len(set(zlib.decompress(data)))


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at < len(png):
        length = int.from_bytes(png[at : at + 4], "big")
        yield png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        at += 12 + length
