"""The built-in sample site: whole in itself, in the wheel, and published once."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest
import trio

from cli.sample import SAMPLE_DIR, publish_sample
from tests.unit.cli.conftest import Fednode
from tests.unit.cli.small_daemon import SmallDaemon

PAGES = sorted(path.relative_to(SAMPLE_DIR).as_posix() for path in SAMPLE_DIR.rglob("*.html"))
MISSING_ON_PURPOSE = "/no/such/page"


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in ("href", "src") and value]
        if tag not in ("meta", "link", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_it_has_what_a_sample_should_show() -> None:
    files = {path.relative_to(SAMPLE_DIR).as_posix() for path in SAMPLE_DIR.rglob("*") if path.is_file()}
    assert {"index.html", "404.html", "about.html", "style.css", "lighthouse.svg", "greetings/grüße.html"} <= files


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    links = Links()
    links.feed((SAMPLE_DIR / page).read_text("utf-8"))
    links.close()
    assert links.open == []
    assert links.found
    for link in links.found:
        address = urljoin(f"http://site/{page}", link)
        assert address.startswith("http://site/"), "the sample must work offline"
        path = unquote(urlsplit(address).path)
        target = SAMPLE_DIR / path.removeprefix("/")
        if path.endswith("/"):
            target /= "index.html"
        assert target.is_file() or path == MISSING_ON_PURPOSE, link


def test_links_are_relative_so_that_any_address_works() -> None:
    for page in PAGES:
        links = Links()
        links.feed((SAMPLE_DIR / page).read_text("utf-8"))
        assert page == "404.html" or not [link for link in links.found if link.startswith("/")]


def test_it_is_published_once(
    fednode: Fednode, home: Path, daemon: SmallDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        trio.run(publish_sample, daemon.config)
    assert capsys.readouterr().err == ""
    (record,) = fednode("sites", "--json").json["sites"]
    assert (record["state"], record["head"]["seq"]) == ("hosted", 1)
    assert daemon.paths.sample_key.exists()
    assert not (home / "config/fednode/keys").exists()


def test_a_node_that_refuses_its_sample_says_so(
    fednode: Fednode, daemon: SmallDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    trio.run(publish_sample, daemon.config)
    site = fednode("sites", "--json").json["sites"][0]["site"]
    fednode("block", site, "--reason", "enough", "--drop", "--yes")
    trio.run(publish_sample, daemon.config)
    assert "this node refused the sample site: enough" in capsys.readouterr().err
