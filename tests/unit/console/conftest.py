"""A console in front of a daemon of real parts, and a browser that keeps cookies."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest

from cli.console.app import create_app
from cli.console.guard import Keys
from cli.main import run
from config.keyfile import create_key
from node.casework.book import ReportBook
from node.casework.model import read_report
from protocol.site_id import SiteId
from tests.unit.cli.small_daemon import SmallDaemon, small_daemon

PORT = 4321
ORIGIN = f"http://127.0.0.1:{PORT}"
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>\u202eexe.gnp\u200b&amp;"


@dataclass
class Node:
    """sites: two published ones."""

    daemon: SmallDaemon
    sites: list[str] = field(default_factory=list)

    def report(self, subject: str, category: str = "spam", why: str = "it is spam") -> None:
        book = ReportBook(self.daemon.paths.reports, now_s=lambda: 1_700_000_000)
        book.add([read_report({"where": subject, "category": category, "why": why, "contact": EVIL})])
        book.close()


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with TemporaryDirectory(prefix="fed-") as name, small_daemon(Path(name) / "data") as daemon:
        found = Node(daemon)
        for number in ("one", "two"):
            folder = Path(name) / number
            folder.mkdir()
            (folder / "index.html").write_text(f"<p>{number}")
            key = Path(name) / f"{number}.pem"
            found.sites.append(publish(folder, key, daemon))
        yield found


def publish(folder: Path, key: Path, daemon: SmallDaemon) -> str:
    site = str(SiteId.of(create_key(key)))
    assert run(["publish", str(folder), "--key", str(key), "--data-dir", str(daemon.paths.data_dir)]) == 0
    return site


@dataclass
class Visitor:
    """Somebody with a browser; `keys` are those of the console."""

    http: httpx.AsyncClient
    keys: Keys
    used: list[int]

    @property
    def base(self) -> str:
        return f"/{self.keys.room}/"

    async def enter(self) -> httpx.Response:
        return await self.http.get(f"/open?token={self.keys.once}")

    async def get(self, path: str, **query: str) -> httpx.Response:
        return await self.http.get(self.base + path, params=query)

    async def post(self, path: str, **fields: str | list[str]) -> httpx.Response:
        """As a form of a page would."""
        return await self.http.post(
            self.base + path, data={"csrf": self.keys.csrf} | fields, headers={"Origin": ORIGIN}
        )

    async def follow(self, answer: httpx.Response) -> str:
        """The page that an action leads to."""
        assert answer.status_code == 303, answer.text
        shown = await self.http.get(answer.headers["location"])
        assert shown.status_code == 200, shown.text
        return shown.text


def visitor_of(socket: Path, log: Path) -> Visitor:
    keys, used = Keys(), list[int]()
    app = create_app(socket, log, keys, PORT, lambda: used.append(1))
    http = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=ORIGIN)
    return Visitor(http, keys, used)


@pytest.fixture
async def outside(node: Node) -> AsyncIterator[Visitor]:
    """Not let in yet."""
    found = visitor_of(node.daemon.paths.admin_socket, node.daemon.paths.decisions)
    async with found.http:
        yield found


@pytest.fixture
async def visitor(outside: Visitor) -> Visitor:
    assert (await outside.enter()).status_code == 200
    return outside


def forms(page: str) -> list[dict[str, str]]:
    """The hidden fields of each form, with its address as `@`."""
    found = []
    for action, body in re.findall(r'<form method="post" action="([^"]*)"[^>]*>(.*?)</form>', page, re.DOTALL):
        hidden = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', body)
        found.append({"@": unescape(action)} | {unescape(name): unescape(value) for name, value in hidden})
    return found
